"""A transfer's two ends in one test: a connected pair of sockets and a file."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.live import eventually
from zc_response.planning import Segment, Slice
from zc_response.policy import Policy
from zc_response.report import Tally
from zc_response.sources import FileSource, open_stream
from zc_response.transmit import Access, Body, Strategy, Transfer, source_of

CONTENT = bytes(range(256)) * 4096  # 1 MiB in which every 256 bytes tell their place


@contextlib.contextmanager
def connected() -> Iterator[tuple[socket.socket, socket.socket]]:
    """A TCP connection over loopback: our end (non-blocking) and the peer's.

    The peer's buffer is small, so that a large body cannot vanish into it.
    """
    with socket.create_server(("127.0.0.1", 0)) as listener:
        peer = socket.socket()
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        peer.connect(listener.getsockname())
        ours, _ = listener.accept()
    ours.setblocking(False)
    peer.settimeout(10)
    with ours, peer:
        yield ours, peer


@contextlib.contextmanager
def open_file(path: Path, content: bytes = CONTENT) -> Iterator[FileSource]:
    path.write_bytes(content)
    with FileSource.open(path) as source:
        source.is_kept = True  # as that of most responses
        yield source


def whole(source: FileSource) -> Slice:
    return Slice(source, 0, source.facts.size)


def tally_of(segments: list[Segment], strategy: Strategy) -> Tally:
    return Tally(
        path="file",
        status=200,
        promised=sum(map(len, segments)),
        strategy=strategy,
        reason="the test says so",
        guard="count",
    )


@contextlib.contextmanager
def transfer_of(
    segments: list[Segment],
    ours: socket.socket,
    strategy: Strategy = Strategy.SENDFILE,
    step_bytes: int = 64 * 1024,
    **settings: Any,
) -> Iterator[tuple[Transfer, Tally]]:
    """A transfer over `ours`, and its account, until the block ends.

    The settings are its policy's. What is to be spliced comes out of a pipe.
    """
    tally = tally_of(segments, strategy)
    access = Access(fileno=ours.fileno)
    policy = Policy(step_bytes=step_bytes, **settings)
    if strategy is Strategy.SPLICE:
        with piped(segments) as pipe:
            body = Body.of_stream(open_stream(pipe), policy)
            with contextlib.closing(Transfer(body, access, policy, tally)) as transfer:
                yield transfer, tally
        return
    body = Body(segments, policy)
    holds = tuple(body.holds)
    with contextlib.closing(Transfer(body, access, policy, tally)) as transfer:
        yield transfer, tally
    # A read that is under way ahead of time holds its file until it is over.
    eventually(lambda: all(hold.carrier is None for hold in holds), "the last read")


@contextlib.contextmanager
def piped(segments: list[Segment]) -> Iterator[int]:
    """The end of a pipe into which a thread writes all of them, until it is closed."""
    out, into = os.pipe()

    def write() -> None:
        with (
            open(into, "wb", buffering=0) as file,
            contextlib.suppress(BrokenPipeError),
        ):
            for piece in pieces(segments):
                while piece:
                    piece = piece[file.write(piece) :]

    writer = threading.Thread(target=write)
    writer.start()
    try:
        yield out
    finally:
        writer.join()


def pieces(segments: list[Segment]) -> Iterator[bytes]:
    for segment in segments:
        if isinstance(segment, bytes):
            yield segment
            continue
        source, left = source_of(segment), range(segment.count)
        for done in left[::65536]:
            yield source.read(segment.offset + done, min(65536, segment.count - done))


def receive(peer: socket.socket, count: int) -> bytes:
    received = bytearray()
    while len(received) < count:
        data = peer.recv(count - len(received))
        if not data:
            break
        received += data
    return bytes(received)

"""Each strategy against read and write, on the same kind of socket.

No server and no loop: bodies leave over a TCP connection, one after the other, from
this process, and another one discards them in the kernel. So what is compared is what
the strategies themselves cost, the guard's part included.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from zc_response.cli.bench.disks import Disk
from zc_response.cli.bench.files import MIB, file_name, format_size
from zc_response.cli.bench.records import Measurement, Record
from zc_response.cli.bench.rounds import Bench
from zc_response.cli.bench.stats import rotated
from zc_response.guards import close_all
from zc_response.kernel import sockets
from zc_response.planning import Slice
from zc_response.policy import Policy
from zc_response.report import Tally
from zc_response.sources import FileSource
from zc_response.transmit import Access, Body, Strategy, Transfer, drive_here

BASELINE: Final = "read-write"
TITLES: Final = {
    BASELINE: "read and write, 256 KiB at a time",
    Strategy.SENDFILE.value: "sendfile",
    Strategy.MMAP.value: "mmap and send",
    Strategy.DIRECT.value: "O_DIRECT, two buffers",
    Strategy.COPY.value: "our copy, guarded",
}
COLD_FROM: Final = MIB
"""Smaller files are not measured cold: what is measured then is one wait for a disk."""
_CHUNK: Final = 256 * 1024
_DISCARD: Final = """
import socket, sys
peer = socket.socket(fileno=int(sys.argv[1]))
while peer.recv(1 << 20, socket.MSG_TRUNC):
    pass
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Strategies:
    """What is measured."""

    sizes: Sequence[int]
    rounds: int
    seconds: float
    """How long one strategy sends the same file, again and again, in its turn."""


def measure_strategies(bench: Bench, record: Record, setup: Strategies) -> None:
    """Measure all of it, in rounds in which each strategy has its turn."""
    for size in setup.sizes:
        path = bench.files / file_name(size)
        for is_cold in (False, True) if size >= COLD_FROM else (False,):
            place = f"{format_size(size)}, {'cold' if is_cold else 'hot'}"
            for number in range(setup.rounds):
                for name in rotated(tuple(TITLES), number):
                    values = _turn(name, path, setup.seconds, is_cold=is_cold)
                    record.measurements.append(
                        Measurement(
                            candidate=name, place=place, round=number, values=values
                        )
                    )
                    bench.advance()


def number_of_turns(setup: Strategies) -> int:
    """How many turns that is."""
    places = sum(2 if size >= COLD_FROM else 1 for size in setup.sizes)
    return places * setup.rounds * len(TITLES)


def _turn(name: str, path: Path, seconds: float, *, is_cold: bool) -> dict[str, float]:
    disk = Disk(path=path.parent, kind="")
    sent, wall, cpu = 0, 0.0, 0.0
    send = _read_and_write if name == BASELINE else by(Strategy(name), Policy())
    with FileSource.open(path) as source, discarding() as sock:
        source.is_kept = True
        while wall < seconds:
            if is_cold:
                settle(sock)
                disk.drop_caches(path)
            began, used = time.monotonic(), time.process_time()
            send(source, sock)
            wall += time.monotonic() - began
            cpu += time.process_time() - used
            sent += source.facts.size
    close_all()
    return {"rate": sent / wall, "cpu_per_byte": cpu / sent}


def settle(sock: socket.socket) -> None:
    """Wait until the socket holds no page of the file: those cannot be evicted.

    The last of them are acknowledged when the kernel feels like it.
    """
    until = time.monotonic() + 5
    while sockets.unacknowledged(sock.fileno()) and time.monotonic() < until:
        time.sleep(0.001)


def _read_and_write(source: FileSource, sock: socket.socket) -> None:
    sock.setblocking(True)
    for offset in range(0, source.facts.size, _CHUNK):
        sock.sendall(source.read(offset, _CHUNK))


def by(
    strategy: Strategy, policy: Policy
) -> Callable[[FileSource, socket.socket], None]:
    """What sends a whole file over a socket by that strategy, and no other."""

    def send(source: FileSource, sock: socket.socket) -> None:
        sock.setblocking(False)
        size = source.facts.size
        tally = Tally(
            path=source.path,
            status=200,
            promised=size,
            strategy=strategy,
            reason="",
            guard="",
        )
        body = Body([Slice(source, 0, size)], policy)
        transfer = Transfer(body, Access(fileno=sock.fileno), policy, tally)
        drive_here(transfer, lambda: None)
        if tally.strategy != strategy:
            raise OSError(f"{strategy} is refused here: {tally.reason}")

    return send


@contextmanager
def discarding() -> Iterator[socket.socket]:
    """A connection over loopback to a process that discards what comes."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        peer = socket.create_connection(listener.getsockname())
        ours, _ = listener.accept()
    with peer:
        number = peer.fileno()
        process = subprocess.Popen(
            [sys.executable, "-c", _DISCARD, str(number)], pass_fds=[number]
        )
    try:
        with ours:
            yield ours
    finally:
        process.wait(timeout=60)

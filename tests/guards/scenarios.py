"""What a writer may do to a file while it is sent, and what comes of it.

`trial` plays one scenario: a client asks for a file, reads a little and stops; a writer
in a process of its own does its deed (`tests/guards/writer.py`); then the client takes
all it can get. What it got is told by its content: each byte is old, new, or of a hole.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from itertools import count
from pathlib import Path
from typing import Any, Final

from tests.guards import writer
from tests.guards.writer import new_content
from tests.live import PATIENCE, Client

SIZE: Final = 2 << 20  # more than the buffers of a client that reads nothing
RECEIVE_BUFFER: Final = 16384
READ_BEFORE: Final = 4096  # so that nothing after it can make it all new
READS_ON_AFTER: Final = 0.1
"""Seconds, well within the break budget, after which a slow client reads on."""
_OLD_BYTES: Final = bytes(range(1, 128))  # 127 of them: no page begins like another
_FIONREAD: Final = 0x541B
_QUIET: Final = 0.05  # seconds without a new byte: the sender has stopped
_PIECE: Final = 4096
_MOST_AT_ONCE: Final = 1 << 18
LONGEST_WAIT: Final = 15.0
"""Seconds that a writer is waited for; the kernel itself would let it go after 45."""


@lru_cache(4)
def old_content(size: int) -> bytes:
    """Bytes without their top bit, none of them zero."""
    return (_OLD_BYTES * (size // len(_OLD_BYTES) + 1))[:size]


class Group(Enum):
    """How scenarios differ in what tells of them."""

    OPENS = "A lease tells: it is opened, or truncated by name, while it is sent"
    TELLS = "Its size or mtime tells: a lease is refused, or does not see it"
    BACKDATED = "Its ctime alone tells"
    HIDDEN = "Nothing tells, or not for sure"
    HARMLESS = "Its bytes stay as they are"


@dataclass(frozen=True)
class Scenario:
    """A deed of the writer's, by its name in `writer.DEEDS`, and in words."""

    deed: str
    words: str
    group: Group
    kinds: tuple[str, ...] = ()
    """The filesystems that know it; none stands for all."""


def _all(group: Group, **deeds: str) -> tuple[Scenario, ...]:
    return tuple(Scenario(deed, words, group) for deed, words in deeds.items())


SCENARIOS: Final = (
    *_all(
        Group.OPENS,
        overwrite="overwrite in place, the same length",
        overwrite_by_link="the same by another hard link",
        overwrite_backdated="the same, then set the mtime back",
        rewrite='`open("w")`, write as much of other content',
        truncate="`truncate(2)` to half",
        punch="punch a hole over all of it",
        append="append to it",
    ),
    *_all(
        Group.TELLS,
        truncate_by_reader="`open(2)` with `O_RDONLY` and `O_TRUNC`",
        overwrite_old="overwrite in place, open since before the request",
        punch_old="punch a hole, open since before the request",
        store="store to a mapping made before the request",
    ),
    Scenario(
        "below", "overwrite it in the layer below", Group.TELLS, kinds=("overlay",)
    ),
    *_all(
        Group.BACKDATED,
        overwrite_old_backdated="overwrite, open since before; set the mtime back",
    ),
    *_all(
        Group.HIDDEN,
        overwrite_old_disguised=(
            "overwrite, open since before; set the mtime back; chmod"
        ),
        store_again="store to pages of such a mapping that were stored to before",
    ),
    *_all(
        Group.HARMLESS,
        rename_over="rename another file over it",
        rename_away="rename it away",
        unlink="unlink it",
        link="link it",
        chmod="chmod it to 000",
        touch="touch it (utime)",
    ),
)
assert {each.deed for each in SCENARIOS} == writer.DEEDS.keys()


class Outcome(Enum):
    """What a client got."""

    OLD = "all old"
    NEW = "all new"
    CUT = "old, then cut off"
    MIXED_CUT = "a mixture, cut off"
    MIXED = "a mixture, and looks complete"
    GARBLED = "bytes that are neither, or in the wrong place"


@dataclass(frozen=True)
class Result:
    """What came of a scenario.

    `accepted` is what the kernel held for the client as the writer came, header fields
    included; `not_old` is how many bytes of the body are new, or of a hole.
    """

    outcome: Outcome
    received: int
    not_old: int
    accepted: int
    waited_ms: float
    error: str

    @property
    def is_complete(self) -> bool:
        """True if the client believes to have all of it."""
        return self.outcome in (Outcome.OLD, Outcome.NEW, Outcome.MIXED)


def classify(body: bytes, size: int, *, complete: bool) -> tuple[Outcome, int]:
    """What a body of a file of that size is, and how many bytes of it are not old."""
    old = old_content(size)
    not_old = len(body.translate(None, _OLD_BYTES))
    if body == old[: len(body)]:
        return (Outcome.OLD if complete else Outcome.CUT), 0
    if complete and body == new_content(old):
        return Outcome.NEW, not_old
    if not _is_in_place(body, old):
        return Outcome.GARBLED, not_old
    return (Outcome.MIXED if complete else Outcome.MIXED_CUT), not_old


def _is_in_place(body: bytes, old: bytes) -> bool:
    """True if each byte is the old one, the new one, or zero."""
    new = new_content(old)
    for start in range(0, len(body), _PIECE):
        piece = body[start : start + _PIECE]
        end = start + len(piece)
        if piece not in (old[start:end], new[start:end], bytes(len(piece))):
            known = zip(piece, old[start:end], new[start:end], strict=True)
            if not all(byte in (a, b, 0) for byte, a, b in known):
                return False
    return True


_numbers = count()


@contextlib.contextmanager
def old_file(directory: Path, size: int = SIZE) -> Iterator[Path]:
    """A file of old content; with all that writers make beside it, gone at the end."""
    path = directory / f"file-{next(_numbers)}"
    with path.open("xb") as file:
        file.write(old_content(size))
        file.flush()
        os.fsync(file.fileno())
    try:
        yield path
    finally:
        for each in directory.glob(path.name + "*"):
            each.unlink()


def trial(
    port: int,
    directory: Path,
    deed: str,
    *,
    is_stalled: bool = False,
    size: int = SIZE,
    receive_buffer: int = RECEIVE_BUFFER,
    read_before: int = READ_BEFORE,
) -> Result:
    """Play a scenario on a new file in the directory that the server sends from.

    The client reads on after a moment, or, if it `is_stalled`, once the writer is done.
    Before it stops it reads so many bytes.
    """
    with contextlib.ExitStack() as stack:
        path = stack.enter_context(old_file(directory, size))
        writing = stack.enter_context(_writer(deed, path))
        client = stack.enter_context(Client(port, receive_buffer=receive_buffer))
        client.send(f"/file/{path.name}", {"connection": "close"})
        before = _take(client.socket, read_before)
        accepted = _until_it_stalls(client.socket, port)
        writing.go()
        writing.wait(LONGEST_WAIT if is_stalled else READS_ON_AFTER)
        rest, is_cut = _take_all(client.socket)
        told = writing.told()
    head, _, body = (before + rest).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 "), head
    complete = not is_cut and len(body) == size
    outcome, not_old = classify(body, size, complete=complete)
    return Result(
        outcome, len(body), not_old, accepted, told["waited_ms"], told["error"]
    )


class _Writing:
    """A writer, which waits for the word."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def go(self) -> None:
        """Give the word."""
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()

    def wait(self, seconds: float) -> None:
        """Until it is done, or for so long."""
        assert self._process.stdout is not None
        select.select([self._process.stdout], [], [], seconds)

    def told(self) -> dict[str, Any]:
        """What it has to tell when it is done."""
        self.wait(LONGEST_WAIT)
        assert self._process.stdout is not None
        told: dict[str, Any] = json.loads(self._process.stdout.readline())
        return told


@contextlib.contextmanager
def _writer(deed: str, path: Path) -> Iterator[_Writing]:
    """A writer that has done what it does before the request."""
    command = [sys.executable, "-IS", writer.__file__, deed, str(path)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield _Writing(process)
        finally:
            process.kill()


def _take(sock: socket.socket, count: int) -> bytes:
    parts = bytearray()
    while len(parts) < count:
        data = sock.recv(min(count - len(parts), _MOST_AT_ONCE))
        assert data, f"the answer ended too early: {bytes(parts)!r}"
        parts += data
    return bytes(parts)


def _take_all(sock: socket.socket) -> tuple[bytes, bool]:
    """All that comes until the end, and whether that was an abrupt one."""
    parts = bytearray()
    try:
        while data := sock.recv(_MOST_AT_ONCE):
            parts += data
    except ConnectionResetError:
        return bytes(parts), True
    return bytes(parts), False


def _until_it_stalls(sock: socket.socket, port: int) -> int:
    """Wait until no more comes; how many bytes the kernel holds by then."""
    held = 0
    began = quiet_since = time.monotonic()
    while time.monotonic() - quiet_since < _QUIET:
        assert time.monotonic() - began < PATIENCE, "nothing comes, or no end of it"
        time.sleep(0.01)
        now = _unread(sock) + _queued(port, sock.getsockname()[1])
        if now != held or not now:
            held, quiet_since = now, time.monotonic()
    return held


def _unread(sock: socket.socket) -> int:
    answer = fcntl.ioctl(sock, _FIONREAD, bytes(4))
    return int.from_bytes(answer, sys.byteorder)


def _queued(port: int, peer: int) -> int:
    """Bytes in the send queue of the server's end (proc(5), /proc/net/tcp)."""
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _number, here, there, _state, queues = line.split()[:5]
        if here.endswith(f":{port:04X}") and there.endswith(f":{peer:04X}"):
            return int(queues.partition(":")[0], 16)
    return 0

"""Does one thing to a file that is being sent, and tells how long it had to wait.

    python writer.py <deed> <path>

It prints `ready`, and when a line has come in does the deed and prints a line of JSON:
the milliseconds of its open(2), or of whatever other call changes the file, and what
was refused. It is a program of its own, on the standard library alone, and ends after
`LIFE` seconds whatever happens.

A deed is a generator: what the writer has done before the request comes, and what it
does to the file while it is sent.
"""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

LIFE: Final = 30  # seconds
PAGE: Final = 4096
_TO_NEW: Final = bytes(byte | 0x80 for byte in range(256))
_KEEP_SIZE, _PUNCH_HOLE = 0x1, 0x2  # linux/falloc.h

Deed = Callable[["Clock", str], Iterator[None]]


def new_content(old: bytes) -> bytes:
    """What the writers write: the old content, each byte of it with its top bit set."""
    return old.translate(_TO_NEW)


class Clock:
    """Times the call that may have to wait."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self, function: Callable[..., Any], *arguments: Any) -> Any:
        began = time.perf_counter()
        try:
            return function(*arguments)
        finally:
            self.seconds += time.perf_counter() - began

    def open(self, path: str, flags: int = os.O_WRONLY) -> int:
        fd: int = self(os.open, path, flags)
        return fd


def _new_content_of(path: str) -> bytes:
    with open(path, "rb") as file:
        return new_content(file.read())


def _overwrite(fd: int, data: bytes) -> None:
    assert os.pwrite(fd, data, 0) == len(data)


# Through an open(2) of its own -------------------------------------------------------


def overwrite(timed: Clock, path: str) -> Iterator[None]:
    new = _new_content_of(path)
    yield
    _overwrite(timed.open(path), new)


def overwrite_by_link(timed: Clock, path: str) -> Iterator[None]:
    other = path + ".other-name"
    os.link(path, other)
    yield from overwrite(timed, other)


def rewrite(timed: Clock, path: str) -> Iterator[None]:
    new = _new_content_of(path)
    yield
    _overwrite(timed.open(path, os.O_WRONLY | os.O_TRUNC), new)


def overwrite_backdated(timed: Clock, path: str) -> Iterator[None]:
    new, before = _new_content_of(path), os.stat(path)
    yield
    _overwrite(timed.open(path), new)
    _set_times(path, before)


def _set_times(path: str, status: os.stat_result) -> None:
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def truncate(timed: Clock, path: str) -> Iterator[None]:
    half = os.stat(path).st_size // 2
    yield
    timed(os.truncate, path, half)


def truncate_by_reader(timed: Clock, path: str) -> Iterator[None]:
    yield
    timed.open(path, os.O_RDONLY | os.O_TRUNC)


def punch(timed: Clock, path: str) -> Iterator[None]:
    size = os.stat(path).st_size
    yield
    _punch(timed.open(path), size)


def append(timed: Clock, path: str) -> Iterator[None]:
    new = _new_content_of(path)
    yield
    os.write(timed.open(path, os.O_WRONLY | os.O_APPEND), new)


def below(timed: Clock, path: str) -> Iterator[None]:
    """Write to the file in the upper layer: `root/upper` beside `merged`."""
    merged, name = os.path.split(path)
    yield from overwrite(
        timed, os.path.join(os.path.dirname(merged), "root", "upper", name)
    )


# Through one that was there before ---------------------------------------------------


def overwrite_old(timed: Clock, path: str) -> Iterator[None]:
    new, fd = _new_content_of(path), os.open(path, os.O_WRONLY)
    yield
    timed(_overwrite, fd, new)


def overwrite_old_backdated(timed: Clock, path: str) -> Iterator[None]:
    new, fd, before = _new_content_of(path), os.open(path, os.O_WRONLY), os.stat(path)
    yield
    timed(_overwrite, fd, new)
    _set_times(path, before)


def overwrite_old_disguised(timed: Clock, path: str) -> Iterator[None]:
    yield from overwrite_old_backdated(timed, path)
    os.chmod(path, 0o600)


def punch_old(timed: Clock, path: str) -> Iterator[None]:
    fd, size = os.open(path, os.O_WRONLY), os.stat(path).st_size
    yield
    timed(_punch, fd, size)


def store(timed: Clock, path: str) -> Iterator[None]:
    new, mapping = _new_content_of(path), _mapping(path)
    yield
    timed(mapping.__setitem__, slice(None), new)


def store_again(timed: Clock, path: str) -> Iterator[None]:
    """Into pages that it has stored to before: the kernel does not see it."""
    new, mapping = _new_content_of(path), _mapping(path)
    for offset in range(0, len(mapping), PAGE):
        mapping[offset] = mapping[offset]
    yield
    timed(mapping.__setitem__, slice(None), new)


def _mapping(path: str) -> mmap.mmap:
    fd = os.open(path, os.O_RDWR)
    try:
        return mmap.mmap(fd, 0)
    finally:
        os.close(fd)


# Without a change to its bytes -------------------------------------------------------


def touch(timed: Clock, path: str) -> Iterator[None]:
    yield
    timed(os.utime, path)


def rename_over(timed: Clock, path: str) -> Iterator[None]:
    other = path + ".new"
    with open(other, "xb") as file:
        file.write(_new_content_of(path))
    yield
    timed(os.rename, other, path)


def rename_away(timed: Clock, path: str) -> Iterator[None]:
    yield
    timed(os.rename, path, path + ".away")


def unlink(timed: Clock, path: str) -> Iterator[None]:
    yield
    timed(os.unlink, path)


def link(timed: Clock, path: str) -> Iterator[None]:
    yield
    timed(os.link, path, path + ".link")


def chmod(timed: Clock, path: str) -> Iterator[None]:
    yield
    timed(os.chmod, path, 0)


def _punch(fd: int, size: int) -> None:
    fallocate = ctypes.CDLL(None, use_errno=True).fallocate
    start, length = ctypes.c_int64(0), ctypes.c_int64(size)
    if fallocate(fd, _KEEP_SIZE | _PUNCH_HOLE, start, length):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


DEEDS: Final[dict[str, Deed]] = {
    deed.__name__: deed
    for deed in (
        *(overwrite, overwrite_by_link, rewrite, overwrite_backdated),
        *(truncate, truncate_by_reader, punch, append, below),
        *(
            overwrite_old,
            overwrite_old_backdated,
            overwrite_old_disguised,
            punch_old,
            store,
            store_again,
        ),
        *(touch, rename_over, rename_away, unlink, link, chmod),
    )
}


def main(name: str, path: str) -> None:
    """Get ready, wait for the word, do it, tell."""
    signal.alarm(LIFE)
    timed = Clock()
    deed = DEEDS[name](timed, path)
    next(deed)
    print("ready", flush=True)
    sys.stdin.readline()
    error = ""
    try:
        next(deed, None)
    except OSError as exc:
        error = exc.strerror or str(exc)
    print(json.dumps({"waited_ms": timed.seconds * 1000, "error": error}), flush=True)
    sys.stdin.readline()  # what it has open stays open until the client has all


if __name__ == "__main__":
    main(*sys.argv[1:])

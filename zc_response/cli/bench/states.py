"""What a file that is written to has been like, state by state, in shared memory.

A file is made of a few stretches of equal length, each of which holds one stamp again
and again: eight bytes that no other version of no other file has. Zeros are a hole. So
a state of the file is its length and a stamp for each stretch, and a body that was read
says by itself which state it claims to be.

Each file has one writer. Before each of its calls that change the file (a write, a
truncation, a hole, a rename) it notes the state that the file will be in afterwards.
These are all the states in which the file ever is at rest; in the midst of a call it is
in none of them, and half of an old state with half of a new one is in none of them.
Half-written files are: who truncates a file and takes his time to write it anew shows
everybody an empty file meanwhile, and no server can know better.

Who reads asks for the number of states before the request and after the answer: what
came has to be one of those in between, or the last one before, for the file was surely
like none of them at that time otherwise.
"""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

STRETCHES: Final = 4
STAMP: Final = 8
"""Bytes of a stamp; a file's size is a multiple of them, and of the stretches."""
GRAIN: Final = STRETCHES * STAMP
HOLE: Final = 0
_VERSIONS: Final = 1 << 28
"""As many versions may one file have: a stamp begins with the file's number."""
MOST_STATES: Final = 2_000_000
"""Of one file; the log is sparse, and takes the room of those there are."""
_ENTRY: Final = struct.Struct(f"={1 + STRETCHES}Q")
_HEADER: Final = 8


class State(NamedTuple):
    """A file at rest: how long it is, and the stamp in each of its stretches."""

    length: int
    stamps: tuple[int, ...]


def fresh_stamp(file: int, version: int) -> int:
    """The stamp of a version of a file."""
    if not 0 < version < _VERSIONS or not 0 <= file < 16:
        raise ValueError(f"there is no stamp for version {version} of file {file}")
    return file * _VERSIONS + version


def render(stamp: int, count: int) -> bytes:
    """`count` bytes of a stretch with that stamp."""
    text = b"\0" * STAMP if stamp == HOLE else b"%08x" % stamp
    return text * (count // STAMP)


class Log:
    """The states of one file, in a file that all processes map. Close it."""

    def __init__(self, path: Path, size: int) -> None:
        """`size` is how long the file is when it is whole."""
        self.size = size
        self.stretch = size // STRETCHES
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(fd, _HEADER + MOST_STATES * _ENTRY.size)
            self._map = mmap.mmap(fd, 0)
        finally:
            os.close(fd)
        self._count = memoryview(self._map)[:_HEADER].cast("Q")

    def close(self) -> None:
        """Unmap it."""
        self._count.release()
        self._map.close()

    def __len__(self) -> int:
        return self._count[0]

    def add(self, state: State) -> None:
        """Note the state that the file is about to be in."""
        number = len(self)
        if number >= MOST_STATES:
            raise ValueError("the log of states is full")
        place = _HEADER + number * _ENTRY.size
        _ENTRY.pack_into(self._map, place, state.length, *state.stamps)
        self._count[0] = number + 1  # one store, after the entry is there

    def __getitem__(self, number: int) -> State:
        place = _HEADER + number * _ENTRY.size
        length, *stamps = _ENTRY.unpack_from(self._map, place)
        return State(length, tuple(stamps))

    def between(self, before: int, after: int) -> Iterator[int]:
        """The states that a file may have been in between two moments.

        `before` and `after` are what `len` said: the last state that had been noted
        before may not have come true by then.
        """
        return iter(range(max(0, before - 2), after))


@contextmanager
def opened(path: Path, size: int) -> Iterator[Log]:
    """A log, closed afterwards."""
    log = Log(path, size)
    try:
        yield log
    finally:
        log.close()


# Reading ---------------------------------------------------------------------------


class Seen(NamedTuple):
    """What a body claims that the file was like: a part of it, for a range."""

    length: int
    stamps: dict[int, int]
    """By the number of the stretch."""

    def is_of(self, state: State) -> bool:
        """True if the file in that state has these bytes."""
        return self.length == state.length and all(
            state.stamps[number] == stamp for number, stamp in self.stamps.items()
        )


class MixtureError(Exception):
    """Bytes that no state of a file has."""


def look(length: int, pieces: list[tuple[int, bytes]], stretch: int) -> Seen:
    """What bytes at their offsets, multiples of a stamp, say of a file of that length.

    Raises MixtureError if two stamps are in one stretch.
    """
    stamps: dict[int, int] = {}
    for offset, data in pieces:
        place = 0
        while place < len(data):
            number, inside = divmod(offset + place, stretch)
            part = data[place : place + stretch - inside]
            stamp = _stamp(part)
            if stamps.setdefault(number, stamp) != stamp:
                raise MixtureError(f"stretch {number} has two stamps")
            place += len(part)
    return Seen(length, stamps)


def _stamp(part: bytes) -> int:
    unit = part[:STAMP]
    times, rest = divmod(len(part), STAMP)
    if rest or part != unit * times:
        raise MixtureError(_parts(part))
    if not any(unit):
        return HOLE
    try:
        return int(unit, 16)
    except ValueError:
        raise MixtureError(f"{unit!r} is no stamp") from None


def _parts(part: bytes) -> str:
    """In words, where one stamp ends and another begins."""
    unit = part[:STAMP]
    place = next(
        (at for at in range(0, len(part), STAMP) if part[at : at + STAMP] != unit),
        len(part),
    )
    other = part[place : place + STAMP]
    return f"{place} bytes of {unit!r}, then {other!r} in a stretch of {len(part)}"

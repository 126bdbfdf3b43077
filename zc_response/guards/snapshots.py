"""Private copies of a file that is about to change, made while its writer waits.

Where the filesystem can share data copy on write, a copy of any size takes a moment
(measured for 200 MiB: 0.2 ms on btrfs, 6 ms on xfs). Elsewhere what is still to be sent
is copied into memory. One snapshot serves all who are in the middle of the file.

Slow clients keep a copy in memory for as long as they need it, and the next writer
makes another one necessary. So there is one limit for all copies that are in use.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterable, Sequence
from typing import ClassVar, Final, NamedTuple

from zc_response.kernel import copies
from zc_response.native import Lock, new_lock
from zc_response.sources import SNAPSHOT, FileSource, Fixed

Stretch = tuple[int, int]
"""Bytes of a file: the offset of the first, and that after the last."""

REFLINKS: Final = frozenset(("xfs", "btrfs", "bcachefs", "overlay"))
"""Filesystems that may be able to share data copy on write."""
IN_MEMORY: Final = Fixed(SNAPSHOT, "a copy in memory")
_PIECE: Final = 1024 * 1024  # bytes copied between two looks at the clock


class Snapshot(NamedTuple):
    """A file that nobody else can change, with the old bytes at their old offsets."""

    source: FileSource
    stretches: tuple[Stretch, ...]
    """Where it has them."""

    def covers(self, needs: Iterable[Stretch]) -> bool:
        """True if it has all of these bytes."""
        return all(
            any(start <= need[0] and need[1] <= end for start, end in self.stretches)
            for need in needs
        )


def make(
    source: FileSource, needs: Sequence[Stretch], most_bytes: int, until: float
) -> Snapshot | None:
    """A snapshot with what is needed, or as much of it as can be had.

    Memory takes at most `most_bytes` of them, together with the copies that are in use,
    and only until the moment `until` of `time.monotonic`. None if there is no space, no
    permission, or no time.
    """
    if source.facts.filesystem in REFLINKS:
        try:
            return Snapshot(reflink(source), ((0, source.facts.size),))
        except OSError:
            pass
    with _Reservation(needs, most_bytes) as room:
        try:
            room.copy = _copy(source, room.stretches, until)
        except OSError:
            pass
        return room.copy


def reflink(source: FileSource) -> FileSource:
    """A copy of the whole file on its own filesystem. Raises OSError if it has none.

    It is of one moment: FICLONE takes the inode's lock, which a write(2) holds.
    """
    refusal: OSError | None = None
    for directory in (_directory(source), tempfile.gettempdir()):
        try:
            if os.stat(directory).st_dev != source.facts.device:
                continue
            fd = copies.unnamed_file(directory)
        except OSError as exc:
            refusal = exc
            continue
        try:
            copies.clone(source.fileno(), fd)
        except BaseException:
            os.close(fd)
            raise
        return FileSource(fd, source.path, Fixed(SNAPSHOT, "reflink"))
    raise refusal or OSError(f"no directory for a copy of {source.path}")


class _Reservation:
    """Room in memory for as many of the needs as fit beside the copies in use.

    In its context the copy is made; it takes the room from then on until it is closed.
    """

    _lock: ClassVar[Lock] = new_lock()
    _all: ClassVar[list[_Reservation]] = []

    def __init__(self, needs: Sequence[Stretch], most_bytes: int) -> None:
        self.copy: Snapshot | None = None
        self._is_being_made = True
        self._bytes = 0
        with self._lock:
            self._all[:] = [each for each in self._all if each._is_in_use]
            taken = sum(each._bytes for each in self._all)
            self.stretches = affordable(needs, most_bytes - taken)
            self._bytes = _total(self.stretches)
            self._all.append(self)

    def __enter__(self) -> _Reservation:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._is_being_made = False

    @classmethod
    def forget_after_fork(cls) -> None:
        """In a child: the copies are the parent's, and who made one is not there."""
        cls._lock = new_lock()
        cls._all = []

    @property
    def _is_in_use(self) -> bool:
        return self._is_being_made or (
            self.copy is not None and not self.copy.source.closed
        )


def _directory(source: FileSource) -> str:
    """Where the file lies, whatever it was called when it was opened."""
    try:
        path = os.readlink(f"/proc/self/fd/{source.fileno()}")
    except OSError:
        path = source.path
    return os.path.dirname(path) or "."


def _copy(
    source: FileSource, stretches: tuple[Stretch, ...], until: float
) -> Snapshot | None:
    """The stretches in a sealed file in memory, which is empty in between."""
    if not stretches:
        return None
    fd = copies.memory_file("zc_response snapshot")
    try:
        os.ftruncate(fd, source.facts.size)
        for start, end in stretches:
            os.lseek(fd, start, os.SEEK_SET)
            while start < end:
                if time.monotonic() >= until:
                    os.close(fd)
                    return None
                count = min(_PIECE, end - start)
                copied = copies.append(source.fileno(), fd, start, count)
                if not copied:
                    raise OSError(f"{source.path} ends at byte {start}")
                start += copied
        copies.seal(fd)
    except BaseException:
        os.close(fd)
        raise
    return Snapshot(FileSource(fd, source.path, IN_MEMORY), stretches)


def affordable(needs: Iterable[Stretch], most_bytes: int) -> tuple[Stretch, ...]:
    """As many of the needs as fit into so many bytes, the smallest first.

    What several need is counted, and comes, once.
    """
    chosen: list[Stretch] = []
    for need in sorted(set(needs), key=lambda stretch: stretch[1] - stretch[0]):
        merged = _merged([*chosen, need])
        if _total(merged) > most_bytes:
            break
        chosen = merged
    return tuple(chosen)


def _total(stretches: Iterable[Stretch]) -> int:
    return sum(end - start for start, end in stretches)


def _merged(stretches: Iterable[Stretch]) -> list[Stretch]:
    merged: list[Stretch] = []
    for start, end in sorted(stretches):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_Reservation.forget_after_fork)

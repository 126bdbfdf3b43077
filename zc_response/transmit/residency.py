"""Is it in memory? What can be sent or read without waiting for a disk.

sendfile(2) waits for the disk inside the call, also on a non-blocking socket, and so
does a read. So each step of a transfer asks first, right before it. What there is to
ask, and what is wrong with each answer:

- cachestat(2) is cheap, and never waits. It counts pages that are still being read in.
  Only the file's owner, or who may write it, gets an answer.
- A read with RWF_NOWAIT knows what is still being read in, and answers everybody. But
  it speaks for the page it reads alone, and starts to read that page if it is absent.
- mincore(2) is right, also through overlayfs, where the other two know nothing. It
  costs several times as much, and lies to those whom cachestat refuses.

So a range is resident if all its pages are cached, and the last byte can be read at
once: a disk brings pages in from front to back. Whom cachestat refuses reads a byte of
every stretch that a disk brings in together.

A little more than the range has to be there: the kernel puts a mark before the end of
what it has read ahead, and who sends the marked page makes it read on, which may wait
for a place in the disk's queue.

Where a filesystem cannot tell, or where every question may wait for a server (FUSE,
network), a range counts as cold.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Final

from zc_response.kernel import pages
from zc_response.kernel.pages import PAGE
from zc_response.sources import FileSource

AHEAD: Final = 256 * 1024
"""Bytes after a range that have to be there as well: twice the usual readahead."""
STRETCH: Final = 128 * 1024
"""Bytes that a disk brings in together: the usual readahead."""


class Answer(Enum):
    """How a filesystem answers the question."""

    ALWAYS = auto()
    """Its files are memory."""
    ASK = auto()
    """By cachestat and RWF_NOWAIT."""
    LOOK = auto()
    """By mincore."""
    NEVER = auto()
    """It cannot tell, or not at once."""


ANSWERS: Final[dict[str, Answer]] = {
    "tmpfs": Answer.ALWAYS,
    "ramfs": Answer.ALWAYS,
    "hugetlbfs": Answer.ALWAYS,
    "ext4": Answer.ASK,
    "xfs": Answer.ASK,
    "btrfs": Answer.ASK,
    "f2fs": Answer.ASK,
    "overlay": Answer.LOOK,
    "squashfs": Answer.LOOK,
    "erofs": Answer.LOOK,
}
"""By the filesystem's name; one that is not here is never asked."""


def is_resident(source: FileSource, offset: int, count: int) -> bool:
    """True if sending this range will not wait for a disk."""
    answer = ANSWERS.get(source.facts.filesystem, Answer.NEVER)
    more = min(count + AHEAD, source.facts.size - offset)
    if answer is Answer.ASK:
        return _ask(source.fileno(), offset, count, more)
    if answer is Answer.LOOK:
        return pages.mapped(source.fileno(), offset, more) is True
    return answer is Answer.ALWAYS


def _ask(fd: int, offset: int, count: int, more: int) -> bool:
    try:
        if pages.cached(fd, offset, more) < _pages(offset, more):
            return False
        probes = [offset + count - 1]
    except OSError:  # an older kernel, a filter, somebody else's file
        probes = [*range(offset, offset + count, STRETCH), offset + count - 1]
        probes.append(offset + more - 1)
    try:
        return all(pages.read_nowait(fd, probe, 1) for probe in probes)
    except OSError:
        return False


def read_resident(
    source: FileSource, offset: int, count: int
) -> bytes | bytearray | None:
    """The bytes of a small range; None if they, or the truth, may be on disk only."""
    answer = ANSWERS.get(source.facts.filesystem)
    data: bytes | bytearray
    try:
        if answer is Answer.ASK:
            data = pages.read_nowait(source.fileno(), offset, count)
        elif answer is not Answer.NEVER and is_resident(source, offset, count):
            data = source.read(offset, count)
        else:
            return None
    except OSError:  # whatever it is, a read that may wait will find it again
        return None
    return data if len(data) == count else None


def _pages(offset: int, count: int) -> int:
    return (offset + count - 1) // PAGE - offset // PAGE + 1

"""Behind a download: what it has brought into the page cache leaves it again.

The gentler form of `direct`: a file that was not in memory is sent by any strategy,
read ahead by the kernel, and given up a stretch at a time (POSIX_FADV_DONTNEED). Pages
that a socket or a mapping still holds stay; so each stretch is given up once more with
the next one, and what the client has not taken at the end remains: as much as its
socket holds. Where bytes are read before they are sent, the last pages go before the
last bytes do: who has the whole body may leave at once.

Who else sends the same file finds those pages gone. So a file of which there was
something in memory before is left alone: somebody wants it.
"""

from __future__ import annotations

from typing import Final

from zc_response.kernel import pages
from zc_response.kernel.pages import PAGE
from zc_response.sources import FileSource
from zc_response.transmit.residency import is_resident
from zc_response.transmit.steps import Cursor, Steps, Want

STRETCH: Final = 16 * 1024 * 1024
"""Bytes given up at once: more than a socket holds, and few calls."""


def forgetting(steps: Steps, cursor: Cursor) -> Steps:
    """`steps`, and now and then one more, in a thread: eviction may wait for others."""
    if _is_wanted(cursor.source, cursor.offset, cursor.left):
        yield from steps
        return
    with cursor.source.retain() as source:
        before = done = cursor.offset
        for want in steps:
            is_last = not cursor.left and done < cursor.offset
            if is_last or cursor.offset - done >= STRETCH:
                yield Want.DISK
                pages.forget(source.fileno(), before, cursor.offset - before)
                before, done = done, cursor.offset
            yield want
        if done < cursor.offset:
            yield Want.DISK
            pages.forget(source.fileno(), before, cursor.offset - before)


def _is_wanted(source: FileSource, offset: int, count: int) -> bool:
    """True if half of what comes first is in memory already."""
    first = min(count, STRETCH)
    try:
        return pages.cached(source.fileno(), offset, first) * PAGE * 2 >= first
    except OSError:
        return is_resident(source, offset, first)

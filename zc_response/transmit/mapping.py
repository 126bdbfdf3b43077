"""By value, without reading: the kernel copies mapped pages into the socket.

One copy, as with read and write, but no memory of ours. Once a byte has been sent it
can no longer change; so clients on the same host, who would see sendfile's pages
change, can have this one as long as a lease keeps writers away during the call.

A file that shrinks is noticed in three ways: by its size before a call; by EFAULT, if a
whole page is gone; and by its size after the call, because the last page is filled up
with zeros. What EFAULT says of a file that is long enough is that its disk failed.
"""

from __future__ import annotations

import errno
import os
from contextlib import closing
from typing import Final

from zc_response.errors import TruncatedError
from zc_response.kernel.mappings import Mapping
from zc_response.sources import FileSource
from zc_response.transmit.steps import Cursor, Line, RefusedError, Steps
from zc_response.transmit.straight import straight

WINDOW: Final = 4 * 1024 * 1024
"""Bytes of a file that are mapped at once, if one step does not ask for more: the cost
of a window is that of a system call, so it need not be larger than a step."""


def mmap(line: Line, cursor: Cursor) -> Steps:
    """Send what is left of a slice, a step at a time."""
    with closing(_Window(cursor)) as window:
        yield from straight(line, cursor, "mmap", window.send, window.warm)


class _Window:
    """The part of a file that is mapped now; it moves along."""

    __slots__ = ("_cursor", "_mapping", "_source")

    def __init__(self, cursor: Cursor) -> None:
        self._cursor = cursor
        self._mapping: Mapping | None = None
        self._source: FileSource | None = None

    def warm(self, source: FileSource, offset: int, count: int) -> None:
        self._over(source, offset, count).warm(offset, count)

    def send(self, line: Line, source: FileSource, offset: int, count: int) -> int:
        there = min(count, _size(source) - offset)
        if there <= 0:
            return 0
        mapping = self._over(source, offset, there)
        more = there < self._cursor.left
        try:
            sent = mapping.send(line.socket.fileno(), offset, there, more=more)
        except OSError as exc:
            if exc.errno != errno.EFAULT:
                raise
            _check_size(source, offset + there)
            raise OSError(errno.EIO, os.strerror(errno.EIO), source.path) from exc
        _check_size(source, offset + sent)
        return sent

    def _over(self, source: FileSource, offset: int, count: int) -> Mapping:
        """A mapping of at least this range."""
        mapping = self._mapping
        if mapping is None or source is not self._source:
            return self._move(source, offset, count)
        if not mapping.covers(offset, count):
            return self._move(source, offset, count)
        return mapping

    def _move(self, source: FileSource, offset: int, count: int) -> Mapping:
        self.close()
        try:
            mapping = Mapping(
                source.fileno(), offset, max(count, min(WINDOW, self._cursor.left))
            )
        except OSError as exc:
            raise RefusedError(f"mmap: {exc.strerror}") from exc
        self._mapping, self._source = mapping, source
        return mapping

    def close(self) -> None:
        """Unmap what is mapped."""
        if self._mapping is not None:
            self._mapping.close()
        self._mapping = self._source = None


def _check_size(source: FileSource, end: int) -> None:
    """Raise TruncatedError if the file does not go as far as `end`."""
    size = _size(source)
    if size < end:
        raise TruncatedError(f"{source.path} ended at byte {size} while it was sent")


def _size(source: FileSource) -> int:
    return os.fstat(source.fileno()).st_size

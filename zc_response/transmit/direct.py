"""Around the page cache: a huge file is read by O_DIRECT into memory of our own.

A download of 100 GB would push everybody's files out of the page cache, and use its own
pages once. So the disk writes into two buffers in turn: while one is being sent, the
other is filled, in a thread of the filesystem. They grow as long as the disk is what is
waited for, for larger reads cost less each, and shrink when it is the client: of those
there may be many. Who waits for long for a client gives one of the two back.

open(2) wants offsets, counts and addresses to be multiples of the disk's block; a page
suits every disk. So a read starts at the page before the offset and ends behind the
last byte; at the end of a file the kernel stops by itself. Filesystems that do not have
it say EINVAL, when the file is opened or with the first read.

Bytes are sent only if the file was good until after they had been read, as with `copy`.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from typing import Final

from zc_response.errors import TruncatedError
from zc_response.guards import Hold
from zc_response.kernel import files, sockets
from zc_response.kernel.buffers import aligned
from zc_response.kernel.pages import PAGE
from zc_response.native import new_lock
from zc_response.sources import FileSource
from zc_response.threads import lane
from zc_response.transmit.steps import (
    Cursor,
    Line,
    RefusedError,
    Steps,
    Want,
    until_free,
)

BUFFER: Final = 1024 * 1024
"""Bytes of a buffer at first, and for a client that is slower than the disk."""
LARGEST: Final = 4 * BUFFER
"""Bytes of a buffer for a client that is faster than the disk."""


def direct(line: Line, cursor: Cursor) -> Steps:
    """Send what is left of a slice, a step at a time."""
    with closing(_Reader(cursor)) as reader:
        line.rest = reader.rest
        while cursor.left:
            data = yield from reader.next()
            while data:
                piece = data[: line.pace.step]
                data = data[len(piece) :]
                cursor.offset += len(piece)
                yield from line.write(piece, more=bool(cursor.left))
                if cursor.left:
                    yield Want.TURN


class _Reader:
    """Reads what a cursor is about to send, one buffer ahead of it."""

    def __init__(self, cursor: Cursor) -> None:
        self._cursor = cursor
        self._unbuffered: FileSource | None = None
        self._of: FileSource | None = None
        self._size = BUFFER
        self._sending = self._spare = memoryview(b"")
        self._next_at = cursor.offset
        self._is_closed = False
        self._ahead: _Read | None = self._read_of_next()

    def next(self) -> Generator[Want, None, memoryview]:
        """The next bytes of the slice, good until `next` is called once more.

        Raises TruncatedError if there are none.
        """
        hold, read = self._cursor.hold, self._ahead
        assert read is not None
        is_late = not read.is_done
        if is_late:
            yield Want.DISK
        while (data := read.result()) is None:
            yield from until_free(hold)
            yield Want.DISK
            read = self._ahead = self._read_of_next()
        if not data:
            raise TruncatedError(f"{hold.source.path} ends at byte {self._next_at}")
        self._next_at += len(data)
        if self._sending:
            size = self._size * 2 if is_late else self._size // 2
            self._size = min(max(size, BUFFER), LARGEST)
        self._spare, self._sending = self._sending, read.buffer
        if self._next_at < self._cursor.end:
            self._ahead = read = self._read_of_next()
            lane(hold.source.facts.device).submit(read.work)
        return data

    def _read_of_next(self) -> _Read:
        return _Read(self, self._cursor.hold, self._next_at, self._cursor.end)

    def buffer(self, count: int) -> memoryview:
        """Memory for a read of `count` bytes, or for the first of them."""
        size = min(self._size, count)
        if len(self._spare) != size:
            self._spare = aligned(size)
        return self._spare

    def rest(self) -> None:
        """Give back what has been read ahead: the client will not want it for long."""
        if self._ahead is not None and self._ahead.is_done:
            self._ahead = self._read_of_next()
            self._spare, self._size = memoryview(b""), BUFFER

    def unbuffered(self, source: FileSource) -> FileSource:
        """The same file, opened once more, for this reader alone.

        Who reads from it takes a share of it for that long.
        """
        file = self._unbuffered
        if file is None or self._of is not source:
            self._close_file()
            try:
                file = source.unbuffered()
            except OSError as exc:
                raise RefusedError(f"O_DIRECT: {exc.strerror}") from exc
            self._unbuffered, self._of = file, source
        return file.retain()

    def close(self) -> None:
        """Give up what has not been begun, and the file as soon as nobody reads it."""
        self._is_closed = True
        if self._ahead is not None:
            self._ahead.cancel()
            self._ahead = None
        self._sending = self._spare = memoryview(b"")
        self._close_file()

    def has_read(self) -> None:
        """A read is over, perhaps after all the rest."""
        if self._is_closed:
            self._close_file()

    def _close_file(self) -> None:
        """Give the file back; who reads from it has a share of his own."""
        file, self._unbuffered, self._of = self._unbuffered, None, None
        if file is not None:
            file.release()


class _Read:
    """One read, done by a thread ahead of time or else by who needs it.

    Whichever comes first does it. So who waits for it waits for a disk, and never for a
    thread that has not begun: it cannot be that all threads wait for each other.
    """

    def __init__(self, reader: _Reader, hold: Hold, start: int, end: int) -> None:
        self.buffer = memoryview(b"")
        self._reader, self._hold = reader, hold
        self._start, self._end = start, end
        self._data: memoryview | None = None
        self._error: Exception | None = None
        self._claim, self._under_way = new_lock(), new_lock()
        self._under_way.acquire()
        self.is_done = False

    def work(self) -> None:
        """Do it, unless somebody else does."""
        if not self._claim.acquire(blocking=False):
            return
        try:
            self._data = self._hold.look(self._fill)
        except Exception as exc:
            self._error = exc
        self.is_done = True
        self._under_way.release()
        self._reader.has_read()

    def result(self) -> memoryview | None:
        """What it has got; None while somebody waits to write. Raises as that did."""
        self.work()
        with self._under_way:
            pass
        if self._error is not None:
            raise self._error
        return self._data

    def cancel(self) -> None:
        """Never begin."""
        self._claim.acquire(blocking=False)

    def _fill(self, source: FileSource) -> memoryview:
        start, end = self._start, self._end
        skipped = start % PAGE
        self.buffer = self._reader.buffer(_up(end - start + skipped))
        file = self._reader.unbuffered(source)
        try:
            taken = files.read_into(file.fileno(), self.buffer, start - skipped)
        except OSError as exc:
            if exc.errno in sockets.REFUSED:
                raise RefusedError(f"O_DIRECT: {exc.strerror}") from exc
            raise
        finally:
            file.release()
        return self.buffer[skipped : min(taken, skipped + end - start)]


def _up(count: int) -> int:
    """The next multiple of a page."""
    return -(-count // PAGE) * PAGE

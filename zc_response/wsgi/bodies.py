"""Bodies that are iterables like any other, and can leave by zero copy.

The first chunk of such a body is an object of its own kind, which remembers where it
comes from. Middleware that changes a body makes other objects of its chunks; so whoever
receives the very first chunk as it was knows that nobody in between has changed it, and
may send the rest by a shorter way.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import suppress
from typing import Any, Protocol

from zc_response.errors import DisconnectedError, StartsAnewError
from zc_response.guards import read_borrowed
from zc_response.planning import Segment, Slice
from zc_response.policy import Policy
from zc_response.sources import (
    FileSource,
    Stream,
    Streamable,
    discard,
    open_files,
    open_stream,
)
from zc_response.transmit import gather_at_once


class FirstChunk(bytes):
    """The first bytes of a body.

    A subclass, and not simply an object that is remembered: of plain bytes many an
    operation that finds nothing to do (`replace`, `strip`, `b"".join`, a slice of all)
    returns the very object that it was given. Whoever puts one word in the place of
    another would so hand the first chunk on as it was, and change those that follow.
    """

    body: ZeroCopyBody

    @classmethod
    def of(cls, body: ZeroCopyBody, data: bytes) -> FirstChunk:
        """`data`, which begins `body`."""
        chunk = cls(data)
        chunk.body = body
        return chunk


class ZeroCopyBody:
    """An iterable over bytes that can also say which segments they are."""

    def __iter__(self) -> Iterator[bytes]:
        raise NotImplementedError

    def take(self, count: int | None, policy: Policy) -> Sequence[Segment] | None:
        """The next `count` bytes of it as segments (None: all that are left).

        None if it has to be iterated. Else it is at its end now, and the sources are
        open until it is closed.
        """
        raise NotImplementedError

    def at_once(self, count: int, policy: Policy) -> bytes | bytearray | None:
        """All of it, which are `count` bytes, if they are good and in memory.

        Nothing has happened to it then, either way.
        """
        return None

    def close(self) -> None:
        """Give back what it holds (PEP 3333)."""


class Readable(Protocol):
    """A file-like object, as PEP 3333 wants it."""

    def read(self, size: int, /) -> bytes:
        """The next bytes."""


class FileWrapper(ZeroCopyBody):
    """`wsgi.file_wrapper`: from where the file stands, to its end.

    It can be sought, as far as the file can, so that ranges need not be read up to
    their beginning.
    """

    def __init__(self, filelike: Any, block_size: int = 8192) -> None:
        self._file = filelike
        self._block_size = block_size
        self._source: FileSource | None = None
        self._start = -1  # of the first chunk, until there is another
        self._is_over = False
        if not hasattr(filelike, "close"):
            self._close_file: Callable[[], object] = _nothing
        else:
            self._close_file = filelike.close

    def __iter__(self) -> FileWrapper:
        return self

    def __next__(self) -> bytes:
        if self._is_over:
            raise StopIteration
        start = self._position() if self._start == -1 else -2
        data = self._file.read(self._block_size)
        if not data:
            raise StopIteration
        if not isinstance(data, bytes | bytearray | memoryview):
            raise TypeError(
                f"a body is made of bytes, but {self._file!r} gives "
                f"{type(data).__name__}; open it with mode 'rb'"
            )
        self._start = start
        return FirstChunk.of(self, bytes(data)) if start >= 0 else bytes(data)

    def _position(self) -> int:
        """Where the file stands; -2 if its bytes can only be had by reading."""
        file = real_file(self._file)
        try:
            return file.tell() if file is not None else -2
        except OSError:  # a pipe
            return -2

    def take(self, count: int | None, policy: Policy) -> Sequence[Segment] | None:
        """See `ZeroCopyBody`."""
        file = real_file(self._file)
        if file is None or self._start == -2 or self._is_over:
            return None
        try:
            start = self._start if self._start >= 0 else file.tell()
            source = _share(self._file, file, policy)
        except (OSError, ValueError):
            return None
        rest = max(source.facts.size - start, 0)
        count = rest if count is None else count
        if count > rest:  # whoever iterates will find out, and be told by the server
            source.release()
            return None
        self._source = source
        self._is_over = True
        return [Slice(source, start, count)] if count else []

    def at_once(self, count: int, policy: Policy) -> bytes | bytearray | None:
        """See `ZeroCopyBody`."""
        file = real_file(self._file)
        if file is None or self._start != -1 or file.writable():
            return None
        try:
            return read_borrowed(file.fileno(), file.tell(), count, policy.integrity)
        except (OSError, ValueError):
            return None

    def seekable(self) -> bool:
        """True if the file can be sought."""
        check = getattr(self._file, "seekable", None)
        return bool(check()) if check is not None else hasattr(self._file, "seek")

    def seek(self, *where: int) -> int:
        """Move the file, as `io.IOBase.seek` does."""
        position: int = self._file.seek(*where)
        return position

    def tell(self) -> int:
        """Where the file stands."""
        position: int = self._file.tell()
        return position

    def fileno(self) -> int:
        """The file's descriptor. Whoever wraps bodies leaves those alone that have it.

        It is no promise that the body is what the descriptor gives.
        """
        number: int = self._file.fileno()
        return number

    def close(self) -> None:
        """Close the file."""
        if self._source is not None:
            self._source.release()
            self._source = None
        self._close_file()


def real_file(filelike: Any) -> io.FileIO | io.BufferedIOBase | None:
    """The file of the operating system that `filelike` is, or stands for.

    None if its bytes may be others than those behind its descriptor: a text file, a
    GzipFile, anything that has a `fileno` and reads in a way of its own.
    """
    if isinstance(filelike, tempfile._TemporaryFileWrapper):
        filelike = filelike.file
    # A proxy (Django's File) hands out the methods of the file itself.
    found = getattr(getattr(filelike, "read", None), "__self__", None)
    if isinstance(found, io.FileIO):
        return found if _reads_as(found, io.FileIO) else None
    for kind in (io.BufferedReader, io.BufferedRandom):
        if isinstance(found, kind) and _reads_as(found, kind):
            raw: object = found.raw
            is_plain = isinstance(raw, io.FileIO) and _reads_as(raw, io.FileIO)
            return found if is_plain else None
    return None


def source_behind(filelike: Any, policy: Policy) -> FileSource | None:
    """A share of the source of all that `filelike` would give.

    None if it has none, or does not stand at its beginning: then its bytes are had by
    reading it. It may wait for a disk.
    """
    file = real_file(filelike)
    try:
        if file is None or not file.readable() or file.tell() != 0:
            return None
        return _share(filelike, file, policy)
    except (OSError, ValueError):  # such as a pipe, or one that is closed
        return None


def _share(
    filelike: Any, file: io.FileIO | io.BufferedIOBase, policy: Policy
) -> FileSource:
    """A share of the source of a real file, kept open if its name will be there."""
    if file.writable():
        file.flush()
    name = getattr(file, "name", "")
    is_brief = isinstance(filelike, tempfile._TemporaryFileWrapper)
    path = name if isinstance(name, str) and not is_brief else ""
    return open_files(policy).of_descriptor(file.fileno(), path)


def _reads_as(file: object, kind: Any) -> bool:
    """True if the file's own class has not changed how it is read."""
    own: Any = type(file)
    return own is kind or all(
        getattr(own, name) is getattr(kind, name)
        for name in ("read", "readinto", "readall")
        if hasattr(kind, name)
    )


class SegmentsBody(ZeroCopyBody):
    """A body that has been planned: what `read` makes of the segments, or they."""

    def __init__(
        self,
        segments: Sequence[Segment],
        read: Callable[[Sequence[Segment]], Generator[bytes, None, None]],
        close: Callable[[], object],
        *,
        marks: bool,
    ) -> None:
        """`marks` its first chunk: servers that do not know of that may be strict."""
        self._segments = segments
        self._read = read
        self._close = close
        self._chunks: Generator[bytes, None, None] | None = None
        self._is_first, self._is_taken = marks, False

    def __iter__(self) -> SegmentsBody:
        return self

    def __next__(self) -> bytes:
        if self._is_taken:
            raise StopIteration
        if self._chunks is None:
            self._chunks = self._read(self._segments)
        data = next(self._chunks)
        is_first, self._is_first = self._is_first, False
        return FirstChunk.of(self, data) if is_first else data

    def take(self, count: int | None, policy: Policy) -> Sequence[Segment] | None:
        """See `ZeroCopyBody`."""
        if count is not None and count != sum(map(len, self._segments)):
            return None
        self._is_taken = True
        if self._chunks is not None:
            with suppress(StartsAnewError):
                self._chunks.throw(StartsAnewError())
        return self._segments

    def at_once(self, count: int, policy: Policy) -> bytes | bytearray | None:
        """See `ZeroCopyBody`."""
        if self._chunks is not None or count != sum(map(len, self._segments)):
            return None
        return gather_at_once(self._segments, policy)

    def close(self) -> None:
        """Give the sources back."""
        if self._chunks is not None:
            self._chunks.close()
        self._close()


class StreamBody:
    """A body that is a stream, which is opened when it is asked for.

    `read` makes chunks of it. What that gets beside the stream it calls now and then:
    it raises DisconnectedError when nobody wants them any more.
    """

    def __init__(
        self,
        content: Streamable,
        read: Callable[[Stream, Callable[[], None]], Generator[bytes, None, None]],
    ) -> None:
        self._content: Streamable | None = content
        self._read = read
        self._chunks: Generator[bytes, None, None] | None = None
        self._is_closed = False

    def open(self) -> Stream:
        """The stream, which is the caller's from now on.

        Raises what `open_stream` does.
        """
        content, self._content = self._content, None
        if content is None:
            raise RuntimeError("a stream is read once, and this one has been")
        return open_stream(content)

    def __iter__(self) -> StreamBody:
        return self

    def __next__(self) -> bytes:
        if self._chunks is None:
            self._chunks = self._read(self.open(), self._check)
        return next(self._chunks)

    def _check(self) -> None:
        if self._is_closed:
            raise DisconnectedError("nobody wants it any more")

    def close(self) -> None:
        """End what has been begun; a command that has not is not."""
        self._is_closed = True
        if self._chunks is not None:
            with suppress(ValueError):  # a thread is in there, which finds out itself
                self._chunks.close()
        content, self._content = self._content, None
        if content is not None:
            discard(content)


def _nothing() -> None:
    """There is nothing to be closed."""

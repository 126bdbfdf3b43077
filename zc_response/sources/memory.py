"""Bytes that an application has made, kept where nobody can change them any more.

A memory file has no name, and after it has been sealed no process can write to it,
through whatever descriptor. So it can be sent by reference any number of times, to any
client, and nothing has to watch over it. A process that is forked inherits the
descriptor, and shares the memory. Nothing here moves the descriptor's offset once the
file is done, for that is shared as well.

Where the kernel has no such thing, or a filter refuses it, a file without a name takes
its place, on disk; nobody else has that open either.

It knows how such a file is made and owned; what is sent of it, and how, others decide.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import tempfile
from datetime import datetime
from mimetypes import guess_type
from types import TracebackType
from typing import Final, NamedTuple
from weakref import WeakSet

from zc_response.kernel import copies
from zc_response.planning import EntityTag, etag_from_content
from zc_response.sources.file import (
    PRIVATE,
    SEALED,
    FileSource,
    Fixed,
    Validators,
)

_PIECE: Final = 1024 * 1024
_DIGEST: Final = 16  # bytes of a SHA-256: no two contents share them
_NAME: Final = 60  # characters; memfd_create(2) takes 249 bytes


class MemoryFile:
    """An immutable file in memory: `MemoryFile(data)`, or written by `open`.

    It is sent like any file, by `FileResponse(memory_file)` and
    `send_file(memory_file)`: by sendfile(2), with ranges and preconditions. Make it
    once and send it as often as you like, also from the workers that are forked
    afterwards: they share one copy.

    `media_type` is guessed by `name` if it is not given; `name` is what reports and
    /proc call it. The entity-tag comes from the content (SHA-256: at about 1.5 GB a
    second, in the thread that makes the file), so every process that makes the same
    bytes makes the same tag; an `etag`, without quotes, saves that, and must then be
    another for other bytes. There is no Last-Modified unless `last_modified` is given
    (a datetime, or seconds since the epoch): two files made within one second would
    share it. `coding` is the content coding of the bytes, if they are compressed; then
    responses say so in Content-Encoding.

    The memory is given back when nobody refers to the file and the last transfer is
    over, or by `close`. Raises OSError where there is no room or no descriptor left,
    and ValueError for an `etag` or a `coding` that cannot be one.
    """

    __slots__ = ("__weakref__", "_held", "_source", "coding", "media_type", "name")

    def __init__(
        self,
        data: bytes | bytearray | memoryview,
        media_type: str | None = None,
        *,
        name: str = "",
        etag: str | None = None,
        last_modified: datetime | float | None = None,
        coding: str = "",
    ) -> None:
        about = _About.of(media_type, name, etag, last_modified, coding)
        blank = _Blank.make(name)
        try:
            _write(blank.fd, data)
        except BaseException:
            os.close(blank.fd)
            raise
        self._take(blank, about)

    @classmethod
    def open(
        cls,
        media_type: str | None = None,
        *,
        name: str = "",
        etag: str | None = None,
        last_modified: datetime | float | None = None,
        coding: str = "",
    ) -> Draft:
        """A binary file to write into, sealed when it is closed.

        The arguments are those of the class.

            with MemoryFile.open("application/pdf") as draft:
                pdf.save(draft)
            return FileResponse(draft.memory_file)
        """
        return Draft(_About.of(media_type, name, etag, last_modified, coding))

    def _take(self, blank: _Blank, about: _About) -> None:
        """Seal what has been written; the descriptor is ours from now on."""
        try:
            fixed = _seal(blank)
            what = about.etag or _digest(blank.fd)
            tag = etag_from_content(what, suffix=about.coding)
        except BaseException:
            os.close(blank.fd)
            raise
        self.name, self.media_type = about.name, about.media_type
        self.coding = about.coding
        validators = Validators(tag, about.last_modified)
        path = f"<memory file {about.name!r}>" if about.name else "<memory file>"
        self._source = FileSource(blank.fd, path, fixed, validators)
        self._held = [self._source]  # the share that is ours, until `close`
        _all.add(self)

    # What it is ----------------------------------------------------------------------

    @property
    def size(self) -> int:
        """Its length in bytes."""
        return self._source.facts.size

    @property
    def etag(self) -> str:
        """Its entity-tag, with quotes (RFC 9110 section 8.8.3)."""
        validators = self._source.validators
        assert validators is not None
        assert validators.etag is not None
        return validators.etag

    @property
    def guard(self) -> str:
        """`sealed`; `private` where the kernel would not have that."""
        assert self._source.fixed is not None
        return self._source.fixed.guard

    @property
    def reason(self) -> str:
        """Why it is not sealed, or nothing."""
        assert self._source.fixed is not None
        return self._source.fixed.reason

    def read(self, offset: int = 0, count: int = -1) -> bytes:
        """`count` bytes from `offset` on, or all the rest. ValueError if closed."""
        end = self.size if count < 0 else min(offset + count, self.size)
        pieces = []
        with self.share() as source:
            while offset < end:
                pieces.append(source.read(offset, end - offset))
                offset += len(pieces[-1])
        return b"".join(pieces)

    # Who has it ----------------------------------------------------------------------

    def share(self) -> FileSource:
        """One more share, to be released by who asked. ValueError if it is closed."""
        return self._open().retain()

    def fileno(self) -> int:
        """Its descriptor, to read from by offset. Raises ValueError if it is closed."""
        return self._open().fileno()

    def _open(self) -> FileSource:
        if self.closed:
            raise ValueError(f"{self!r} is closed")
        return self._source

    @property
    def closed(self) -> bool:
        """True if it can be sent no more; transfers under way go on."""
        return not self._held

    def close(self) -> None:
        """Give the memory back as soon as no transfer needs it."""
        with contextlib.suppress(IndexError):  # closed before
            self._held.pop().release()

    def __enter__(self) -> MemoryFile:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def __del__(self) -> None:
        with contextlib.suppress(AttributeError):  # it has never been made
            self.close()

    def __repr__(self) -> str:
        what = f"{self.size} bytes of {self.media_type}"
        return f"<MemoryFile {self.name!r}: {what}, {self.guard}>"


class Draft(io.BufferedRandom):
    """A memory file that is being written: a binary file that can be sought and read.

    Closing it makes the file, `memory_file`. If its context ends with an exception, or
    nobody closes it, nothing is made of it.
    """

    def __init__(self, about: _About) -> None:
        self._about = about
        self._blank: _Blank | None = _Blank.make(about.name)
        self._made: MemoryFile | None = None
        super().__init__(io.FileIO(self._blank.fd, "r+b", closefd=False))

    @property
    def memory_file(self) -> MemoryFile:
        """What has been made of it. Raises ValueError until it is closed."""
        if self._made is None:
            raise ValueError("the draft is not closed yet, or was given up")
        return self._made

    def close(self) -> None:
        """Seal what has been written. Raises OSError if there is no room for it."""
        if self.closed:
            return
        try:
            super().close()  # what it has buffered is written
        except BaseException:
            self.discard()
            raise
        blank, self._blank = self._blank, None
        if blank is not None:
            self._made = MemoryFile.__new__(MemoryFile)
            self._made._take(blank, self._about)

    def discard(self) -> None:
        """Make nothing of it; it is closed then."""
        blank, self._blank = self._blank, None
        if not self.closed:
            with contextlib.suppress(OSError):  # what it has buffered is of no use
                super().close()
        if blank is not None:  # not before: a number that is free may be anybody's
            os.close(blank.fd)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.discard()

    def __del__(self) -> None:
        with contextlib.suppress(AttributeError):  # it has never been opened
            self.discard()


class _About(NamedTuple):
    """What is said of a file's bytes."""

    name: str
    media_type: str
    etag: str
    last_modified: int | None
    coding: str

    @classmethod
    def of(
        cls,
        media_type: str | None,
        name: str,
        etag: str | None,
        last_modified: datetime | float | None,
        coding: str,
    ) -> _About:
        if EntityTag.parse(f'"{etag or ""}:{coding}"') is None:
            raise ValueError(f"{etag!r} with {coding!r} cannot be an entity-tag")
        if isinstance(last_modified, datetime):
            last_modified = last_modified.timestamp()
        seconds = None if last_modified is None else int(last_modified)
        kind = media_type or guess_type(name)[0] or "application/octet-stream"
        return cls(name, kind, etag or "", seconds, coding)


class _Blank(NamedTuple):
    """An empty file, and why it is not one in memory."""

    fd: int
    reason: str

    @classmethod
    def make(cls, name: str) -> _Blank:
        """Raises OSError if the system has neither memory nor a directory for it."""
        try:
            fd = copies.memory_file(f"zc_response {name[:_NAME]}".rstrip())
            return cls(fd, "")
        except OSError as exc:
            reason = f"memfd_create: {exc.strerror}"
        return cls(copies.nameless_file(tempfile.gettempdir()), reason)


def _write(fd: int, data: bytes | bytearray | memoryview) -> None:
    view = memoryview(data).cast("B")
    while view:
        view = view[os.write(fd, view[: 1 << 30]) :]


def _seal(blank: _Blank) -> Fixed:
    if blank.reason:
        return Fixed(PRIVATE, blank.reason)
    try:
        copies.seal(blank.fd)
    except OSError as exc:
        return Fixed(PRIVATE, f"F_ADD_SEALS: {exc.strerror}")
    return Fixed(SEALED)


def _digest(fd: int) -> str:
    """Of what is there now that nobody can change it."""
    found, offset = hashlib.sha256(), 0
    while piece := os.pread(fd, _PIECE, offset):
        found.update(piece)
        offset += len(piece)
    return found.digest()[:_DIGEST].hex()


_all: WeakSet[MemoryFile] = WeakSet()
"""Those of this process that are open."""


def _keep_after_fork() -> None:
    for each in _all:
        each._source.renew_lock_after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_keep_after_fork)

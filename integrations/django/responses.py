"""Answering a request with a file: Django's responses, prepared for what was asked.

A response of Django's does not know the request. It is told by whoever has it: the
middleware, `serve`, or Django itself when the view is done (see `Told.render`).
Only then is it decided what is sent, from the facts of the open file, and before any
other middleware sees the response.
"""

from __future__ import annotations

import inspect
import io
import logging
import os
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Any, ClassVar, Final

import django.http
from asgiref.sync import sync_to_async
from django.core.files import File
from django.http import HttpRequest
from django.http.response import ResponseHeaders

from zc_response.derived import Selected, compressed, snapshot_of
from zc_response.errors import SourceError
from zc_response.integrations.django.files import (
    KeptFile,
    require_binary,
    source_of,
    stored,
)
from zc_response.planning import Plan, Segment, Slice, plain_name, plan
from zc_response.policy import Policy, default_policy
from zc_response.representation import is_settled, represent
from zc_response.sources import FileSource, MemoryFile
from zc_response.wsgi import EXCHANGE, SegmentsBody, read_segments, real_file

logger: Final = logging.getLogger("zc_response")
_READERS: Final = ("wsgiref.", "werkzeug.")
"""The modules of file wrappers that read, as we do, and do not see a file shrink.

Neither does waitress's, but that one holds no thread while a client is slow.
"""


def _sends_files(environ: Any) -> bool:
    """True if the server has a file wrapper which may be more than a reader."""
    wrapper = None if environ is None else environ.get("wsgi.file_wrapper")
    module = getattr(wrapper, "__module__", None) or ""
    return wrapper is not None and not module.startswith(_READERS)


class PlannedBody(SegmentsBody):
    """A planned body, as Django's `file_to_stream`: what `wsgi.file_wrapper` gets."""

    def __init__(
        self, segments: Sequence[Segment], policy: Policy, status: int, *, marks: bool
    ) -> None:
        super().__init__(
            segments,
            lambda segments: read_segments(segments, policy, status),
            _nothing,
            marks=marks,
        )
        self.segments = segments

    def close(self) -> None:
        """Give back what was read, and forget whose body it was.

        Django puts the response's own `close` in this one's place: a cycle, which only
        the garbage collector would take apart, at some cost to each request.
        """
        self.__dict__.pop("close", None)
        super().close()

    def read(self, size: int = -1) -> bytes:
        """The next bytes, for a file wrapper that is not ours; `size` is no limit."""
        return next(self, b"")

    def fileno(self) -> int:
        """The file's descriptor. Whoever wraps bodies leaves those alone that have it.

        It is no promise that the body is what the descriptor gives.
        """
        slices = (piece for piece in self.segments if isinstance(piece, Slice))
        source = next(slices, None)
        if source is None or not isinstance(source.source, FileSource):
            raise io.UnsupportedOperation("fileno")
        return source.source.fileno()


class _Held:
    """What a response has open: given back once, whoever says so how often."""

    __slots__ = ("_file", "_sources")

    def __init__(self, source: FileSource, file: Any) -> None:
        self._sources = [source]
        self._file = file

    def add(self, source: FileSource) -> None:
        """Have another share given back with the first."""
        self._sources.append(source)

    def release(self) -> None:
        """Close the file object, and give back the shares of sources."""
        sources, self._sources = self._sources, []
        for source in sources:
            source.release()
        if sources:
            self._file.close()


_Answer = tuple[Plan, dict[str, Any], dict[object, Any]]


class Told:
    """A streaming response of Django's that is told of the request it answers."""

    is_async: bool
    status_code: int
    streaming_content: Any
    headers: Any
    _iterator: Any

    def answer(self, request: Any) -> None:
        """Become the answer to `request`; the second time nothing happens."""
        raise NotImplementedError

    @property
    def render(self) -> Any:
        """Nothing: there is no such attribute, as in Django.

        But that is what Django asks for when the view is done, with the request at
        hand, before any middleware sees the response; and so does a decorator that is
        made of a middleware. It is the one moment that an answer can be given without
        a setting, a middleware or a changed signature.
        """
        request = sys._getframe(1).f_locals.get("request")
        if isinstance(request, HttpRequest):
            self.answer(request)
        raise AttributeError(f"{type(self).__name__!r} object has no 'render'")

    async def __aiter__(self) -> AsyncGenerator[bytes, None]:
        """The body piece by piece, read in Django's thread for the request."""
        if self.is_async:
            async for part in self.streaming_content:
                yield part
            return
        parts = iter(self.streaming_content)
        following = sync_to_async(lambda: next(parts, None))
        while (part := await following()) is not None:
            yield part


class Prepared(Told):
    """What is added to a streaming response of Django's that has a file.

    `policy`, a class attribute, replaces the settings from the environment in a
    subclass.
    """

    policy: ClassVar[Policy | None] = None

    block_size = 4096
    file_to_stream: Any = None
    _reason_phrase: str | None
    _resource_closers: list[Any]

    _source: FileSource | None = None
    _found = ("", False)  # the coding of its bytes, and whether there are others
    _held: _Held | None = None

    def take_up(self, filelike: Any) -> None:
        """Have the bytes come from the file behind `filelike`, if there is one.

        It may wait for a disk.
        """
        source = source_of(filelike, self._settings)
        if source is not None:
            self._source = source
            self._held = _Held(source, filelike)
            self._resource_closers.append(self._held.release)

    def answer(self, request: Any) -> None:
        """Become the answer to `request`: whole, partial, or none (RFC 9110).

        It never waits. The second time nothing happens, nor if the view has decided
        itself: by a status, a Content-Range, a Content-Length of its own.
        """
        source, self._source = self._source, None
        if source is None or self.file_to_stream is None or not self._is_plain(source):
            return
        environ = getattr(request, "environ", None)
        found = self._select(request, source)
        made, fields, memo = self._plan(request, found)
        if made.status != self.status_code:
            self.status_code, self._reason_phrase = made.status, None
        self.headers._store = dict(fields)
        if environ is not None and EXCHANGE in environ:
            environ[EXCHANGE].expect(memo)
        self._install(made, environ, is_file=found.source is source)

    def _select(self, request: Any, source: FileSource) -> Selected:
        """The file, or a compressed variant of it if there is one, and of use."""
        found, settings = Selected(source, *self._found), self._settings
        if not settings.compress_bytes or self._held is None:
            return found
        headers = tuple(self.headers._store.values())
        accepted = request.META.get("HTTP_ACCEPT_ENCODING", "")
        source.retain()
        found = compressed(found, headers, accepted, settings)
        self._held.add(found.source)
        return found

    def _is_plain(self, source: FileSource) -> bool:
        length = self.headers.get("Content-Length")
        return (
            self.status_code == 200
            and "Content-Range" not in self.headers
            and (length is None or length == str(source.facts.size))
        )

    def _plan(self, request: Any, found: Selected) -> _Answer:
        """The plan, its header fields as Django keeps them, and a memo for servers.

        One without conditions is made once a file.
        """
        source, coding, _ = found
        settings, headers = self._settings, tuple(self.headers._store.values())
        conditions, key = _conditions(request), None
        if not conditions and is_settled(source.facts.mtime_ns):
            made_by = (request.method, settings.etag, settings.max_parts)
            key = (headers, *made_by, *found[1:])
            known: _Answer | None = source.memo.get(key)
            if known is not None:
                return known
        what = represent(source, found.fields(headers), settings, coding=coding)
        made = plan(request.method, conditions, what, max_parts=settings.max_parts)
        answer: _Answer = made, ResponseHeaders(dict(made.headers))._store, {}
        if key is not None:
            source.remember(key, answer)
        return answer

    def _install(self, made: Plan, environ: Any, *, is_file: bool) -> None:
        """Have the body be that of the plan; `is_file` if its bytes are the file's."""
        is_hooked = environ is not None and EXCHANGE in environ
        if not made.segments:
            self.streaming_content = ()
            # On an event loop that may wait for a server; Django closes in a thread.
            if environ is not None and self._held is not None:
                self._held.release()
        elif is_file and made.status == 200 and not is_hooked and _sends_files(environ):
            self._leave_to_server()
        else:
            body = PlannedBody(
                made.segments, self._settings, made.status, marks=is_hooked
            )
            self._iterator = body
            self._resource_closers.append(body.close)
            # A file wrapper of somebody else would read it in small pieces.
            is_handed_on = environ is None or is_hooked
            self.file_to_stream = body if is_handed_on else None

    def _leave_to_server(self) -> None:
        """A whole file is sent by the server's own file wrapper."""
        if isinstance(self.file_to_stream, KeptFile):
            with suppress(OSError):
                self.file_to_stream = self.file_to_stream.reopen()
                self._resource_closers.append(self.file_to_stream.close)

    @property
    def _settings(self) -> Policy:
        return self.policy or default_policy()

    # What others ask of a response ---------------------------------------------------

    def has_header(self, header: str) -> bool:
        """True if the field is set.

        A part is not to be compressed: its bytes are those of Content-Range; nor is
        what has no content. Whoever compresses asks first whether that has been done.
        """
        is_final = self.status_code in _NOT_ENCODED
        if is_final and header.lower() == "content-encoding":
            return True
        return header in self.headers

    __contains__ = has_header

    def __del__(self) -> None:
        """Close the file of a response that a middleware has replaced by its own."""
        if self._held is not None:
            self._held.release()


class FileResponse(Prepared, django.http.FileResponse):
    """Django's FileResponse: its arguments, its attributes, another way to send.

    Instead of a file it takes a `MemoryFile`, which stays the caller's. With `snapshot`
    it sends a private copy of the file as it is now, whatever happens to it later;
    where there is no room for one, the answer is 503.

    Raises ValueError for a file that is closed, or opened in text mode, and for a
    snapshot of what is no file of the operating system.
    """

    as_attachment: bool
    filename: str
    _no_explicit_content_type: bool
    _snapshot = False

    def __init__(
        self,
        *args: Any,
        as_attachment: bool = False,
        filename: str = "",
        snapshot: bool = False,
        **kwargs: Any,
    ) -> None:
        self._snapshot = snapshot
        super().__init__(
            *args, as_attachment=as_attachment, filename=filename, **kwargs
        )

    def _set_streaming_content(self, value: Any) -> None:
        self._source = None
        value = stored(value, self._settings) or value
        if isinstance(value, MemoryFile):
            value = KeptFile.of(value)
        elif self._snapshot and hasattr(value, "read"):
            value = self._copy(value)
        if hasattr(value, "read"):
            self.take_up(value)
            if self._source is None:
                require_binary(value)
        super()._set_streaming_content(value)

    def _copy(self, file: Any) -> Any:
        """A private copy of the file as it is now; nothing, and 503, without room."""
        source = source_of(file, self._settings)
        if source is None:
            raise ValueError(f"there can be no snapshot of {file!r}")
        try:
            with source:
                copy = KeptFile(snapshot_of(source, self._settings))
        except SourceError as exc:
            if exc.status != 503:
                raise
            logger.warning("answering 503: %s", exc)
            self.status_code, self.headers["Retry-After"] = 503, "1"
            return ()
        finally:
            file.close()
        copy.name = getattr(file, "name", "")
        return copy

    def set_headers(self, filelike: Any) -> None:
        """Set Content-Length, Content-Type and Content-Disposition, as Django does.

        What no header field can hold is taken from the file's name.
        """
        name = getattr(filelike, "name", "")
        name = self.filename or (name if isinstance(name, str) else "")
        if self._source is not None:
            guess = self._no_explicit_content_type
            self.headers._store.update(_fields(name, self.as_attachment, guess))
            if isinstance(filelike, KeptFile) and filelike.memory is not None:
                self._describe(filelike.memory)
            self.headers["Content-Length"] = str(self._source.facts.size)
            return
        given, self.filename = self.filename, _plain(name)
        super().set_headers(filelike)
        self.filename = given

    def _describe(self, memory: MemoryFile) -> None:
        """What a memory file says of its bytes."""
        if self._no_explicit_content_type:
            self.headers["Content-Type"] = memory.media_type
        if memory.coding:
            self.headers["Content-Encoding"] = memory.coding


def _plain(name: str) -> str:
    """The name that a response speaks of, without what no header field can hold."""
    name = os.path.basename(name)
    if name.isascii() and name.isprintable():
        return name
    return plain_name(name) or "_"


@lru_cache(maxsize=1024)
def _fields(name: str, as_attachment: bool, guess: bool) -> dict[str, tuple[str, str]]:
    """What Django's own response says of a file of that name, as Django keeps it."""
    name = _plain(name)
    own = django.http.FileResponse(as_attachment=as_attachment, filename=name)
    own._no_explicit_content_type = guess
    own.headers = ResponseHeaders({})
    own.set_headers(io.BytesIO())
    del own.headers["Content-Length"]
    fields: dict[str, tuple[str, str]] = own.headers._store
    return fields


# Stock responses -------------------------------------------------------------------


def adopt(response: Any) -> bool:
    """Make a response of Django's one of ours, if a file is what it sends.

    It may wait for a disk. True if `answer` is the next thing to do.
    """
    if isinstance(response, Prepared):
        return True
    if not response.streaming or response.is_async:
        return False
    file = _file_of(response)
    if file is None:
        return False
    kind: Any = type(response)
    response.__class__ = _adopted(kind)
    if real_file(file) is not None:
        response.file_to_stream = file
        response.take_up(file)
    return True


def _file_of(response: Any) -> Any:
    """The file object that a response would read to its end, if it is one."""
    file = getattr(response, "file_to_stream", None)
    if file is not None:
        return file
    content = response._iterator
    if real_file(content) is not None:  # which is its own iterator, by lines
        return content
    is_lines = getattr(content, "gi_code", None) is _LINES
    if is_lines and inspect.getgeneratorstate(content) == inspect.GEN_CREATED:
        return content.gi_frame.f_locals["self"]
    return None


_NOT_ENCODED: Final = frozenset((206, 304, 412, 416))
_LINES: Final = File.__iter__.__code__
"""What a Django file is iterated by."""


@lru_cache(maxsize=256)
def _adopted(kind: Any) -> Any:
    """A class of responses with what `Prepared` adds."""
    if kind is django.http.FileResponse:
        return FileResponse
    return type(kind.__name__, (_Adopted, kind), {"__module__": kind.__module__})


class _Adopted(Prepared):
    def _set_streaming_content(self, value: Any) -> None:
        self._source = None
        self.file_to_stream = None
        super()._set_streaming_content(value)  # type: ignore[misc]


def _conditions(request: Any) -> dict[str, str]:
    fields = request.META
    return {name: fields[key] for key, name in _CONDITIONS if key in fields}


_CONDITIONS: Final = (
    ("HTTP_RANGE", "range"),
    ("HTTP_IF_MATCH", "if-match"),
    ("HTTP_IF_NONE_MATCH", "if-none-match"),
    ("HTTP_IF_MODIFIED_SINCE", "if-modified-since"),
    ("HTTP_IF_UNMODIFIED_SINCE", "if-unmodified-since"),
    ("HTTP_IF_RANGE", "if-range"),
)


def _nothing() -> None:
    """The response closes it all."""

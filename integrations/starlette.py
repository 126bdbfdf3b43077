"""Starlette and FastAPI: drop-in `FileResponse` and `StaticFiles`, and `PipeResponse`.

The first two are subclasses of Starlette's own, with the same signatures and
attributes. What differs: the file is opened before the response starts and stays open
until it has been sent, so header fields and body are of one file; preconditions, single
and multiple ranges follow RFC 9110; a file that cannot be served is answered with the
status that says so (404, 403, 503).

`PipeResponse` is a StreamingResponse whose bytes come from a pipe, and do not enter
Python on their way to the client.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Hashable,
    Mapping,
)
from contextlib import aclosing
from dataclasses import replace
from functools import lru_cache, partial
from mimetypes import guess_type
from typing import Any, ClassVar, Final, NamedTuple, TypeVar

import anyio
import anyio.to_thread
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException
from starlette.responses import (
    FileResponse as StarletteFileResponse,
    PlainTextResponse,
    Response,
    StreamingResponse,
)
from starlette.staticfiles import StaticFiles as StarletteStaticFiles
from starlette.types import Receive, Scope, Send

from zc_response.asgi import (
    Answer,
    begin,
    conditions,
    elsewhere,
    is_driven,
    is_small,
    offer,
    read_stream,
    respond,
    respond_past,
    respond_small,
    respond_stream,
)
from zc_response.derived import Selected, best_beside, compressed, opened, snapshot_of
from zc_response.errors import (
    FileChangedError,
    FileMissingError,
    FilesystemTimeoutError,
    SourceError,
)
from zc_response.planning import (
    Headers,
    content_disposition,
    has_no_body,
    http_date,
    plan,
)
from zc_response.policy import Policy, default_policy
from zc_response.representation import entity_tag, is_settled, represent
from zc_response.sources import (
    PROCESSES,
    Facts,
    FileSource,
    MemoryFile,
    OpenFiles,
    Stream,
    Streamable,
    discard,
    open_files,
    open_stream,
    place_of,
)

__all__ = ["FileResponse", "PipeResponse", "StaticFiles"]

logger: Final = logging.getLogger("zc_response")

_T = TypeVar("_T")
# Fields that the plan will set itself, once the file is open.
_ACCEPT_RANGES: Final = frozenset(((b"accept-ranges", b"bytes"),))
_RETRY: Final = {"retry-after": "1"}
_ATTEMPTS: Final = 4
"""How often a file is looked at anew that is written to in that very moment."""


class FileResponse(StarletteFileResponse):
    """Starlette's FileResponse: its arguments, its attributes, another way to send.

    `policy`, a class attribute, replaces the settings from the environment in a
    subclass. `max_rate`, an attribute of class or response, is the most bytes a second
    that it is sent at (None: what the policy says).

    Instead of a path it takes a `MemoryFile`, which stays the caller's. With `snapshot`
    it sends a private copy, made when the response begins, whatever happens to the file
    later; where there is no room for one, the answer is 503.
    """

    policy: ClassVar[Policy | None] = None
    max_rate: int | None = None

    def __init__(
        self,
        path: str | os.PathLike[str] | MemoryFile,
        status_code: int = 200,
        headers: Mapping[str, str] | None = None,
        media_type: str | None = None,
        background: BackgroundTask | None = None,
        filename: str | None = None,
        stat_result: os.stat_result | None = None,
        content_disposition_type: str = "attachment",
        *,
        snapshot: bool = False,
    ) -> None:
        self._memory = path if isinstance(path, MemoryFile) else None
        if media_type is None:
            media_type = _media_type(path, filename)
        self._settings = self.policy or default_policy()
        self._snapshot = snapshot
        self._root = ""  # the directory that the file must lie in, if there is one
        self._encoded = self._settings.precompressed == "always"
        self._preliminary = _ACCEPT_RANGES
        self._known: FileSource | None = None  # the file, if it has just been found
        super().__init__(
            path,  # type: ignore[arg-type]  # Starlette only keeps it
            status_code,
            headers,
            media_type,
            background,
            stat_result=stat_result,
        )
        self.filename = filename
        if filename is not None:
            disposition = content_disposition(content_disposition_type, filename)
            self.headers.setdefault("content-disposition", disposition)

    def set_stat_headers(self, stat_result: os.stat_result) -> None:
        """Show what `stat_result` says, until the file is open and says it itself."""
        given = {name for name, _ in self.raw_headers}
        fields = _stat_fields(Facts.of(stat_result), self._settings.etag)
        shown = [field for field in fields if field[0] not in given]
        self.raw_headers.extend(shown)
        self._preliminary |= frozenset(shown)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request (ASGI)."""
        if scope["type"] != "http":  # a denied websocket gets Starlette's own answer
            await self._deny(scope, receive, send)
            return
        request = conditions(scope)
        accepted = request.pop("accept-encoding", "")
        encodings = accepted if self._encoded else None
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                selected = self._recall(encodings) or await self._open(encodings)
            except SourceError as exc:
                await self._refuse(exc, scope, receive, send)
                return
            selected = self._compressed(selected, accepted)
            try:
                with selected.source as source:
                    answer = self._answer(scope["method"].upper(), request, selected)
                    settings = self._settings
                    if self.max_rate is not None:
                        settings = replace(settings, max_rate=self.max_rate)
                    path = source.path
                    sending = respond_past(scope, send, answer, path, settings)
                    if sending is None:
                        sending = self._send(
                            scope, receive, send, answer, path, settings
                        )
                    await sending
                break
            except FileChangedError as exc:  # before anything was sent
                self._known = None
                if attempt == _ATTEMPTS:
                    await self._refuse(exc, scope, receive, send)
                    return
        if self.background is not None:
            await self.background()

    async def _deny(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._memory is None:
            await super().__call__(scope, receive, send)
            return
        content, headers = self._memory.read(), dict(self.headers)
        response = Response(content, self.status_code, headers)
        await response(scope, receive, send)

    async def _send(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        answer: Answer,
        path: str,
        settings: Policy,
    ) -> None:
        if is_small(answer, settings):
            try:
                await respond_small(scope, send, answer, path, settings, _in_thread)
            except FilesystemTimeoutError as exc:  # before anything was sent
                await self._refuse(exc, scope, receive, send)
            return
        scope, exchange = offer(scope, send, settings)
        if exchange is not None:
            send = exchange.send
        responding = respond(scope, send, answer, path, settings, _in_thread)
        if answer.plan.segments and _needs_watch(scope, settings):
            await _until_disconnect(responding, receive)
        else:
            await responding

    def _recall(self, encodings: str | None) -> Selected | None:
        """What is to be sent, if that can be told without waiting for a disk."""
        if self._memory is not None:
            return Selected(self._memory.share(), self._memory.coding)
        if self._snapshot:
            return None
        files, known = open_files(self._settings), self._known
        if known is not None:
            source: FileSource | None = known.retain()
        else:
            source = files.fresh(os.fspath(self.path), self._root)
        if source is None:
            return None
        # The file lies on a local filesystem, and so do those beside it.
        return best_beside(files.fresh, self._root, source, encodings)

    async def _open(self, encodings: str | None) -> Selected:
        """What is to be sent, opened in a thread."""
        path, files = os.fspath(self.path), open_files(self._settings)

        def open_it() -> Selected:
            selected = opened(files, path, self._root, encodings)
            if self._snapshot:
                with selected.source as source:
                    copy = snapshot_of(source, self._settings, selected.coding)
                return selected._replace(source=copy)
            return selected

        return await _in_thread(
            place_of(path),
            open_it,
            timeout=self._settings.stall_timeout,
            discard=lambda selected: selected.source.release(),
        )

    def _compressed(self, selected: Selected, accepted: str) -> Selected:
        """A compressed variant in its place, if there is one and that is of use."""
        if not self._settings.compress_bytes or self.status_code != 200:
            return selected
        return compressed(selected, self._view_headers(), accepted, self._settings)

    def _answer(
        self, method: str, request: Mapping[str, str], selected: Selected
    ) -> Answer:
        """The plan for this request; one without conditions is made once a file."""
        settings, (source, coding, vary) = self._settings, selected
        key = None
        if not request and is_settled(source.facts.mtime_ns):
            kind = (method, self.status_code, coding, vary)
            key = (kind, settings.etag, settings.max_parts, *self.raw_headers)
            made: Answer | None = source.memo.get(key)
            if made is not None:
                return made
        headers = selected.fields(self._view_headers())
        status = self.status_code
        what = represent(source, headers, settings, status=status, coding=coding)
        answer = Answer.of(plan(method, request, what, max_parts=settings.max_parts))
        if key is not None:
            source.remember(key, answer)
        return answer

    def _view_headers(self) -> Headers:
        """The header fields that the view has set."""
        return tuple(
            (field[0].decode("latin-1"), field[1].decode("latin-1"))
            for field in self.raw_headers
            if field not in self._preliminary
        )

    async def _refuse(
        self, error: SourceError, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Answer that the file cannot be served, and tell the log why."""
        logger.warning("answering %d: %s", error.status, error)
        headers = _RETRY if error.status == 503 else None
        refusal = HTTPException(error.status, headers=headers)
        if "starlette.exception_handlers" in scope:  # let the application word it
            raise refusal from error
        response = PlainTextResponse(refusal.detail, error.status, headers)
        await response(scope, receive, send)


def _media_type(path: str | os.PathLike[str] | MemoryFile, filename: str | None) -> str:
    if isinstance(path, MemoryFile):
        return path.media_type
    return _guess(filename or os.fspath(path))


@lru_cache(4096)
def _guess(name: str) -> str:
    """The media type that a file's name speaks of."""
    return guess_type(name)[0] or "application/octet-stream"


@lru_cache(1024)
def _stat_fields(facts: Facts, etag: str) -> tuple[tuple[bytes, bytes], ...]:
    """The header fields that Starlette makes of a stat result, for whoever looks."""
    second = facts.mtime_ns // 1_000_000_000
    fields = [
        (b"content-length", str(facts.size).encode()),
        (b"last-modified", http_date(second).encode()),
    ]
    tag = entity_tag(facts, etag)
    if tag is not None:
        fields.append((b"etag", tag.encode()))
    return tuple(fields)


# Opening files ---------------------------------------------------------------------


async def _in_thread(
    filesystem: Hashable,
    function: Callable[[], _T],
    *,
    timeout: float,
    discard: Callable[[_T], object] | None = None,
) -> _T:
    """`elsewhere`, on whichever loop this is."""
    if _is_asyncio():
        return await elsewhere(filesystem, function, timeout=timeout, discard=discard)
    return await anyio.to_thread.run_sync(function)


def _is_asyncio() -> bool:
    """False on trio, which has threads of its own."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _needs_watch(scope: Scope, settings: Policy) -> bool:
    """True if nobody but us would notice that the client leaves."""
    return not is_driven(scope, settings) and _is_old(scope)


def _is_old(scope: Scope) -> bool:
    """True if the server's `send` does not raise when the client has left."""
    version = scope.get("asgi", {}).get("spec_version", "2.0")
    return tuple(map(int, version.split("."))) < (2, 4)


async def _until_disconnect(work: Awaitable[None], receive: Receive) -> None:
    """Await `work`, but stop when the client leaves."""
    failure: Exception | None = None
    async with anyio.create_task_group() as group:

        async def watch() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            group.cancel_scope.cancel()

        group.start_soon(watch)
        try:
            await work
        except Exception as exc:  # outside the group, which would wrap it
            failure = exc
        group.cancel_scope.cancel()
    if failure is not None:
        raise failure


class StaticFiles(StarletteStaticFiles):
    """Starlette's StaticFiles: its arguments, its answers, another way to send.

    Files are opened by the kernel's own resolution below the directory, so that no
    symbolic link leads out of it, not even one that is put there in that moment
    (unless `follow_symlink` asks for it). One that is in use is found again without a
    thread.
    """

    policy: ClassVar[Policy | None] = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request (ASGI): at once, if it is for a file that is in use."""
        is_own = type(self).get_response is StaticFiles.get_response
        if is_own and self.config_checked and scope.get("method") in ("GET", "HEAD"):
            path = self.get_path(scope)
            found = self._recall(path) if _is_plain(path) else None
            if found is not None:
                full_path, source = found
                with source:
                    response = self.file_response(full_path, source.status, scope)
                    if type(response) is FileResponse and response.path == full_path:
                        response._known = source
                    await response(scope, receive, send)
                return
        await super().__call__(scope, receive, send)

    async def get_response(self, path: str, scope: Scope) -> Response:
        """The response for a path; Starlette's own lookup for all but plain files."""
        if scope["method"] in ("GET", "HEAD") and _is_plain(path):
            found = self._recall(path) or await self._look_up(path)
            if found is not None:
                full_path, source = found
                with source:
                    return self.file_response(full_path, source.status, scope)
        return await super().get_response(path, scope)

    def _recall(self, path: str) -> _Found | None:
        """The file of that path, if it is in use and still the file of that name.

        In the first directory only: of one in another it is not known at once whether
        the first has got a file of that name meanwhile.
        """
        directory = os.fspath(self.all_directories[0])
        full_path = os.path.join(directory, path)
        source = self._files().fresh(full_path, self._root(directory))
        return None if source is None else _Found(full_path, source)

    async def _look_up(self, path: str) -> _Found | None:
        """The file of that path; None if there may be something else."""
        try:
            return await _in_thread(
                place_of(os.path.join(self.all_directories[0], path)),
                partial(self._open, path),
                timeout=self._settings().stall_timeout,
                discard=lambda found: found.source.release(),
            )
        except FileMissingError as exc:
            if self.html:
                return None
            raise HTTPException(404) from exc
        except FilesystemTimeoutError as exc:
            raise HTTPException(exc.status, headers=_RETRY) from exc
        except SourceError:
            return None

    def _open(self, path: str) -> _Found:
        files = self._files()
        missing: FileMissingError | None = None
        for directory in self.all_directories:
            full_path = os.path.join(directory, path)
            try:
                source = files.open(full_path, self._root(os.fspath(directory)))
            except FileMissingError as exc:
                missing = exc
            else:
                return _Found(full_path, source)
        raise missing or FileMissingError(errno.ENOENT, os.strerror(errno.ENOENT), path)

    def _settings(self) -> Policy:
        return self.policy or default_policy()

    def _files(self) -> OpenFiles:
        return open_files(self._settings())

    def _root(self, directory: str) -> str:
        return "" if self.follow_symlink else directory

    def file_response(
        self,
        full_path: str | os.PathLike[str],
        stat_result: os.stat_result,
        scope: Scope,
        status_code: int = 200,
    ) -> Response:
        """The response for a file that was found; 304 is decided when it is sent."""
        response = FileResponse(full_path, status_code, stat_result=stat_result)
        response._settings = settings = self._settings()
        response._encoded = settings.precompressed != "never"
        if not self.follow_symlink:
            response._root = self._directory_of(os.fspath(full_path))
        return response

    def _directory_of(self, path: str) -> str:
        """The directory that a path which was found lies in."""
        directories = [os.fspath(directory) for directory in self.all_directories]
        for directory in directories:
            if _lies_in(path, directory):
                return directory
        real = (os.path.realpath(directory) for directory in directories)
        return next((each for each in real if _lies_in(path, each)), directories[0])


def _is_plain(path: str) -> bool:
    """True if a path from a URL, joined to a directory, cannot lie beside it."""
    return not path.startswith(("/", "\\", ".."))


def _lies_in(path: str, directory: str) -> bool:
    return path.startswith(directory.rstrip(os.sep) + os.sep)


class _Found(NamedTuple):
    """A file that a static path led to."""

    full_path: str
    source: FileSource


# Pipes -----------------------------------------------------------------------------


class PipeResponse(StreamingResponse):
    """Starlette's StreamingResponse, from a pipe that the kernel empties by itself.

        return PipeResponse(["tar", "-c", "photos"], media_type="application/x-tar")

    `content` is a command (a list of strings), which is started when the response is
    sent, and not at all for HEAD; or a `subprocess.Popen` with `stdout=PIPE`; a binary
    file object, a socket or a descriptor; or a function that returns one of these. It
    is the response's from then on, which closes it, ends the process if the client
    leaves (SIGTERM, after two seconds SIGKILL), and waits for it.

    A header field Content-Length is a promise: a producer that writes more or less than
    that, or ends with another status than 0, ends the connection visibly (RST, and no
    last chunk). Without it the body is chunked.

    When it is sent, before the response has begun, NotStreamError is raised for what is
    neither a pipe nor a connected socket, and ProducerError for a command that cannot
    be started, or fails before its first byte and within `first_byte_wait`. `policy`, a
    class attribute, replaces the settings from the environment.
    """

    policy: ClassVar[Policy | None] = None

    def __init__(
        self,
        content: Streamable,
        status_code: int = 200,
        headers: Mapping[str, str] | None = None,
        media_type: str | None = None,
        background: BackgroundTask | None = None,
    ) -> None:
        self._content = content
        self._settings = self.policy or default_policy()
        super().__init__(self._chunks(), status_code, headers, media_type, background)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request (ASGI)."""
        if scope["type"] != "http":  # a denied websocket gets Starlette's own answer
            await super().__call__(scope, receive, send)
            return
        if has_no_body(scope["method"].upper(), self.status_code):
            discard(self._content)
            await send(self._start())
            await send({"type": "http.response.body", "body": b""})
        else:
            with await self._open() as stream:
                await begin(stream, self._settings, _Waiting())
                await self._send(stream, scope, receive, send)
        if self.background is not None:
            await self.background()

    async def _send(
        self, stream: Stream, scope: Scope, receive: Receive, send: Send
    ) -> None:
        settings = self._settings
        scope, exchange = offer(scope, send, settings)
        if exchange is not None:
            send = exchange.send
        responding = respond_stream(
            scope, send, self._start(), stream, self._promised, settings, _Waiting()
        )
        if is_driven(scope, settings):
            await responding
        else:  # a producer may be silent for long, and then no `send` tells of the end
            await _until_disconnect(responding, receive)

    @property
    def _promised(self) -> int | None:
        length = self.headers.get("content-length")
        return int(length) if length is not None else None

    def _start(self) -> dict[str, Any]:
        return {
            "type": "http.response.start",
            "status": self.status_code,
            "headers": self.raw_headers,
        }

    async def _open(self) -> Stream:
        """The stream; a process is started in a thread."""
        return await _in_thread(
            PROCESSES,
            partial(open_stream, self._content),
            timeout=0,
            discard=Stream.close,
        )

    async def _chunks(self) -> AsyncIterator[bytes]:
        """For whoever iterates over the body himself."""
        stream, status = await self._open(), self.status_code
        promised, waiting = self._promised, _Waiting()
        pieces = read_stream(stream, self._settings, status, promised, waiting)
        async with aclosing(pieces):
            async for piece in pieces:
                yield piece


class _Waiting:
    """Waiting, on whichever loop this is."""

    async def until_readable(self, fd: int) -> None:
        await anyio.wait_readable(fd)

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(seconds)

    async def at_most(self, seconds: float, work: Coroutine[Any, Any, None]) -> None:
        with anyio.move_on_after(seconds):
            await work

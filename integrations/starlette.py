"""Starlette and FastAPI: drop-in `FileResponse` and `StaticFiles`.

Both are subclasses of Starlette's own, with the same signatures and attributes. What
differs: the file is opened before the response starts and stays open until it has been
sent, so header fields and body are of one file; preconditions, single and multiple
ranges follow RFC 9110; a file that cannot be served is answered with the status that
says so (404, 403, 503).
"""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Awaitable, Callable, Mapping
from mimetypes import guess_type
from typing import ClassVar, Final

import anyio
import anyio.to_thread
from starlette.background import BackgroundTask
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import (
    FileResponse as StarletteFileResponse,
    PlainTextResponse,
    Response,
)
from starlette.staticfiles import StaticFiles as StarletteStaticFiles
from starlette.types import Receive, Scope, Send

from zc_response.asgi import Answer, conditions, has_zero_copy, offer, respond
from zc_response.errors import FileMissingError, SourceError
from zc_response.planning import (
    SUFFIXES,
    Headers,
    choose_coding,
    content_disposition,
    http_date,
    plan,
    vary_on_encoding,
)
from zc_response.policy import Policy, default_policy
from zc_response.representation import entity_tag, is_settled, represent
from zc_response.sources import Facts, FileSource, Root, open_files

__all__ = ["FileResponse", "StaticFiles"]

logger: Final = logging.getLogger("zc_response")

Opener = Callable[[str], FileSource]


class FileResponse(StarletteFileResponse):
    """Starlette's FileResponse: its arguments, its attributes, another way to send.

    `policy`, a class attribute, replaces the settings from the environment in a
    subclass.
    """

    policy: ClassVar[Policy | None] = None

    def __init__(
        self,
        path: str | os.PathLike[str],
        status_code: int = 200,
        headers: Mapping[str, str] | None = None,
        media_type: str | None = None,
        background: BackgroundTask | None = None,
        filename: str | None = None,
        stat_result: os.stat_result | None = None,
        content_disposition_type: str = "attachment",
    ) -> None:
        if media_type is None:
            media_type = guess_type(filename or path)[0] or "application/octet-stream"
        self._settings = self.policy or default_policy()
        self._open: Opener = open_files(
            self._settings.open_files, self._settings.open_files_idle
        ).open
        self._encoded = self._settings.precompressed == "always"
        # Fields that the plan will set itself, once the file is open.
        self._preliminary = {(b"accept-ranges", b"bytes")}
        super().__init__(
            path, status_code, headers, media_type, background, stat_result=stat_result
        )
        self.filename = filename
        if filename is not None:
            disposition = content_disposition(content_disposition_type, filename)
            self.headers.setdefault("content-disposition", disposition)

    def set_stat_headers(self, stat_result: os.stat_result) -> None:
        """Show what `stat_result` says, until the file is open and says it itself."""
        given = set(self.raw_headers)
        etag = entity_tag(Facts.of(stat_result), self._settings)
        mtime = stat_result.st_mtime_ns // 1_000_000_000
        self.headers.setdefault("content-length", str(stat_result.st_size))
        self.headers.setdefault("last-modified", http_date(mtime))
        if etag is not None:
            self.headers.setdefault("etag", etag)
        self._preliminary |= set(self.raw_headers) - given

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request (ASGI)."""
        if scope["type"] != "http":  # a denied websocket gets Starlette's own answer
            await super().__call__(scope, receive, send)
            return
        scope, exchange = offer(scope, send, self._settings)
        if exchange is not None:
            send = exchange.send
        request = conditions(scope)
        try:
            source, coding, vary = self._select(request.pop("accept-encoding", ""))
        except SourceError as exc:
            await self._refuse(exc, scope, receive, send)
            return
        with source:
            method = scope["method"].upper()
            answer = self._answer(method, request, source, coding, vary)
            await self._send(answer, source.path, scope, receive, send)
        if self.background is not None:
            await self.background()

    def _select(self, accept_encoding: str) -> tuple[FileSource, str, bool]:
        """The open file to send, its content coding, and whether others exist."""
        path = os.fspath(self.path)
        source = self._open(path)
        if not self._encoded:
            return source, "", False
        try:
            beside = [c for c in SUFFIXES if os.path.exists(path + SUFFIXES[c])]
            coding = choose_coding(accept_encoding, beside) or ""
            variant = self._open_variant(path, coding, source) if coding else None
        except BaseException:
            source.release()
            raise
        if variant is None:
            return source, "", bool(beside)
        source.release()
        return variant, coding, True

    def _open_variant(
        self, path: str, coding: str, original: FileSource
    ) -> FileSource | None:
        """The encoded file, unless it is out of reach or older than the original."""
        try:
            variant = self._open(path + SUFFIXES[coding])
        except SourceError:
            return None
        # In whole seconds: tools that copy a tree keep no more of the order.
        second = 1_000_000_000
        if variant.facts.mtime_ns // second < original.facts.mtime_ns // second:
            variant.release()
            return None
        return variant

    def _answer(
        self,
        method: str,
        request: Mapping[str, str],
        source: FileSource,
        coding: str,
        vary: bool,
    ) -> Answer:
        """The plan for this request; one without conditions is made once a file."""
        settings = self._settings
        key = None
        if not request and is_settled(source):
            kind = (method, self.status_code, coding, vary)
            key = (kind, settings.etag, settings.max_parts, *self.raw_headers)
            if key in source.memo:
                made: Answer = source.memo[key]
                return made
        headers = self._representation_headers(coding, vary)
        status = self.status_code
        selected = represent(source, headers, settings, status=status, coding=coding)
        answer = Answer.of(
            plan(method, request, selected, max_parts=settings.max_parts)
        )
        if key is not None:
            source.remember(key, answer)
        return answer

    def _representation_headers(self, coding: str, vary: bool) -> Headers:
        headers = MutableHeaders(
            raw=[field for field in self.raw_headers if field not in self._preliminary]
        )
        if coding:
            headers["content-encoding"] = coding
        if vary:
            headers["vary"] = vary_on_encoding(headers.get("vary"))
        return tuple(
            (name.decode("latin-1"), value.decode("latin-1"))
            for name, value in headers.raw
        )

    async def _send(
        self, answer: Answer, path: str, scope: Scope, receive: Receive, send: Send
    ) -> None:
        settings = self._settings
        sending = respond(
            scope, send, answer, path, settings, in_thread=anyio.to_thread.run_sync
        )
        if (
            answer.plan.segments
            and not has_zero_copy(scope, settings)
            and _is_old(scope)
        ):
            await _until_disconnect(sending, receive)
        else:
            await sending

    async def _refuse(
        self, error: SourceError, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Answer that the file cannot be served, and tell the log why."""
        logger.warning("answering %d: %s", error.status, error)
        headers = {"retry-after": "1"} if error.status == 503 else None
        refusal = HTTPException(error.status, headers=headers)
        if "starlette.exception_handlers" in scope:  # let the application word it
            raise refusal from error
        response = PlainTextResponse(refusal.detail, error.status, headers)
        await response(scope, receive, send)


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
    (unless `follow_symlink` asks for it).
    """

    policy: ClassVar[Policy | None] = None

    def file_response(
        self,
        full_path: str | os.PathLike[str],
        stat_result: os.stat_result,
        scope: Scope,
        status_code: int = 200,
    ) -> Response:
        """The response for a file that was found; 304 is decided when it is sent."""
        response = FileResponse(full_path, status_code, stat_result=stat_result)
        response._settings = settings = self.policy or default_policy()
        response._encoded = settings.precompressed != "never"
        if not self.follow_symlink:
            response._open = self._open_confined
        return response

    def _open_confined(self, path: str) -> FileSource:
        """Open a path that a lookup gave, below the directory it was found in."""
        for directory in self.all_directories:
            root = os.path.realpath(directory)
            if path.startswith(root + os.sep):
                return Root(root).open(os.path.relpath(path, root))
        raise FileMissingError(errno.ENOENT, "lies in no directory served here", path)

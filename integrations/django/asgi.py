"""Django's ASGI handler, which hands bodies on instead of reading them into memory."""

from __future__ import annotations

import logging
from functools import lru_cache
from typing import Any, Final

import django
from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIHandler as DjangoHandler
from django.http import HttpResponse

from zc_response.asgi import (
    Answer,
    AsyncioWaiting,
    Fields,
    Message,
    Receive,
    Scope,
    Send,
    begin,
    elsewhere,
    is_small,
    offer,
    respond,
    respond_past,
    respond_small,
    respond_stream,
)
from zc_response.errors import FileChangedError, FilesystemTimeoutError, SourceError
from zc_response.integrations.django.pipes import open_in_thread, promised
from zc_response.integrations.django.responses import PlannedBody, Prepared, adopt
from zc_response.planning import Plan, Segment, Slice, has_no_body
from zc_response.policy import Policy, default_policy
from zc_response.sources import FileSource
from zc_response.wsgi import FileWrapper, StreamBody

logger: Final = logging.getLogger("zc_response")


def get_asgi_application() -> Any:
    """Django's ASGI application, as `django.core.asgi.get_asgi_application` makes it.

    File responses, stock ones too, are handed on by pathsend where the server (or a
    hook of ours) understands that.
    """
    django.setup(set_prefix=False)
    return ASGIHandler()


class _Way:
    """A `send` that still knows its scope."""

    __slots__ = ("scope", "send")

    def __init__(self, scope: Scope, send: Send) -> None:
        self.scope = scope
        self.send = send

    async def __call__(self, message: Message) -> None:
        await self.send(message)


class ZeroCopy:
    """What is added to Django's handlers."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request (ASGI)."""
        exchange = None
        if scope["type"] == "http":
            scope, exchange = offer(scope, send, default_policy())
        if exchange is None:
            await super().__call__(scope, receive, send)  # type: ignore[misc]
            return
        await super().__call__(scope, receive, exchange.send)  # type: ignore[misc]
        if exchange.is_holding:
            await exchange.release_start()

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request; here, behind everybody who instruments Django."""
        await super().handle(scope, receive, _Way(scope, send))  # type: ignore[misc]

    async def send_response(self, response: Any, send: Any) -> None:
        """Send a response: its file, if it still has one, else what it iterates."""
        if response.streaming and isinstance(send, _Way):
            if isinstance(response._iterator, StreamBody):
                await self._send_stream(response, response._iterator, send)
                return
            body = await _body_of(response)
            if body is not None:
                try:
                    await _send_file(response, body, send)
                    return
                except FileChangedError as exc:  # before anything was sent
                    response = _refusal(exc)
                finally:
                    body.close()
        await super().send_response(response, send)  # type: ignore[misc]

    async def _send_stream(self, response: Any, body: StreamBody, way: _Way) -> None:
        """Send what comes out of a pipe, or say that nothing ever will."""
        scope, policy, waiting = way.scope, _policy(response), AsyncioWaiting()
        start = {
            "type": "http.response.start",
            "status": response.status_code,
            "headers": list(_fields(response)),
        }
        if has_no_body(scope["method"], response.status_code):
            body.close()
            await way.send(start)
            await way.send({"type": "http.response.body", "body": b""})
            return
        try:
            stream = await open_in_thread(body)
            try:
                await begin(stream, policy, waiting)
            except BaseException:
                stream.close()
                raise
        except Exception:
            logger.exception("answering 500: a pipe could not be sent")
            await super().send_response(HttpResponse(status=500), way)  # type: ignore[misc]
            return
        length = promised(response.headers)
        with stream:
            await respond_stream(
                scope, way.send, start, stream, length, policy, waiting
            )


class ASGIHandler(ZeroCopy, DjangoHandler):
    """Django's own, by zero copy."""


class _Body:
    """The segments that a response stands for, as long as they are open."""

    def __init__(self, segments: Any, wrapper: FileWrapper | None = None) -> None:
        self.segments: tuple[Segment, ...] = tuple(segments)
        self._wrapper = wrapper

    def close(self) -> None:
        """Give back what was opened for it; the rest is the response's."""
        if self._wrapper is not None:
            self._wrapper.close()


async def _body_of(response: Any) -> _Body | None:
    """The body of a response as segments; None if it has to be iterated."""
    file = getattr(response, "file_to_stream", None)
    if isinstance(file, PlannedBody):
        return _Body(file.segments)
    if response.is_async or (isinstance(response, Prepared) and file is None):
        return None
    return await sync_to_async(_opened)(response)


def _opened(response: Any) -> _Body | None:
    """The same for a file that nobody has planned with; it may wait for a disk."""
    if not adopt(response) or response.file_to_stream is None:
        return None
    length = response.headers.get("Content-Length")
    wrapper = FileWrapper(response.file_to_stream)
    count = None if length is None else int(length)
    segments = wrapper.take(count, _policy(response))
    return None if segments is None else _Body(segments, wrapper)


async def _send_file(response: Any, body: _Body, way: _Way) -> None:
    scope, send, policy = way.scope, way.send, _policy(response)
    segments = body.segments if scope["method"] != "HEAD" else ()
    made = Plan(status=response.status_code, headers=(), segments=segments)
    answer = Answer(made, _kept(_fields(response)), len(made))
    path = _path(body.segments)
    sending = respond_past(scope, send, answer, path, policy)
    if sending is None:
        way_of = respond_small if is_small(answer, policy) else respond
        sending = way_of(scope, send, answer, path, policy, elsewhere)
    try:
        await sending
    except FilesystemTimeoutError as exc:
        if not is_small(answer, policy):
            raise
        raise FileChangedError.of(path) from exc  # before anything was sent


def _fields(response: Any) -> Fields:
    """The header fields as Django's handler makes them."""
    fields = [
        (name.encode("ascii"), value.encode("latin-1"))
        for name, value in response.items()
    ]
    fields += [
        (b"Set-Cookie", cookie.output(header="").encode("ascii").strip())
        for cookie in response.cookies.values()
    ]
    return tuple(fields)


@lru_cache(maxsize=1024)
def _kept(fields: Fields) -> Fields:
    """One tuple for all that are equal: servers remember what they made of it."""
    return fields


def _policy(response: Any) -> Policy:
    policy: Policy | None = getattr(response, "policy", None)
    return policy or default_policy()


def _path(segments: tuple[Segment, ...]) -> str:
    for segment in segments:
        if isinstance(segment, Slice) and isinstance(segment.source, FileSource):
            return segment.source.path
    return ""


def _refusal(error: SourceError) -> HttpResponse:
    logger.warning("answering %d: %s", error.status, error)
    return HttpResponse(status=error.status, headers={"Retry-After": "1"})

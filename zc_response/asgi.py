"""The ASGI side, for any server and framework: offering zero copy, and asking for it.

`ZeroCopyMiddleware` looks for the server's connection behind `send`. Where it finds
one it knows, it announces `http.response.pathsend` and `http.response.zerocopysend`
in `scope["extensions"]`, and executes them. `respond` is the other end: it sends a
plan by the best message that the scope offers, and by copying where it offers none.

One response is one pathsend message: of all messages that name a file it is the only
one that BaseHTTPMiddleware and GZipMiddleware let through. What it cannot say (ranges,
several of them, a file that is open already) travels with it under a key of our own.

This module knows no server: a server's integration hands it a `Connection`.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import os
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from types import MethodType
from typing import Any, Final, NamedTuple, Protocol, TypeVar

from zc_response.errors import DisconnectedError, TransferError
from zc_response.guards import COUNT
from zc_response.planning import Plan, Segment, Slice
from zc_response.policy import Policy, default_policy
from zc_response.report import Tally
from zc_response.sources import FileSource
from zc_response.transmit import (
    Access,
    Cursor,
    Strategy,
    Transfer,
    choose,
    drive,
    read,
)

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

logger: Final = logging.getLogger("zc_response")

EXTENSION: Final = "zc_response"
"""The key in `scope["extensions"]` that says a hook of ours is there, and what stands
in the way of zero copy, if anything does."""
SEGMENTS: Final = "zc_response.segments"
"""The key in a pathsend message under which the body's segments travel."""

_PATHSEND: Final = "http.response.pathsend"
_ZEROCOPYSEND: Final = "http.response.zerocopysend"


class Connection(Protocol):
    """What a server's integration gives: one request's side of its connection."""

    @property
    def obstacle(self) -> str:
        """Why nobody may write to this connection's socket; empty if we may."""

    @property
    def disconnected(self) -> bool:
        """True when the client is known to have left."""

    def bodiless(self, status: int) -> bool:
        """True if no body may follow this status and request method."""

    async def drain(self) -> None:
        """Wait until the server's own write buffer is empty."""

    async def head(self, send: Send, start: Message) -> bytes:
        """Pass `start` to the server, and return the bytes it would have written."""

    def frame(self, count: int) -> tuple[bytes, bytes]:
        """Tell the server of `count` body bytes; return what goes around them."""

    def access(self) -> Access:
        """The socket, duplicated; or why that was not possible."""

    def abort(self) -> None:
        """Drop the connection at once."""


class ZeroCopyMiddleware:
    """Wraps an ASGI application so that its file responses leave by zero copy.

    Put it around the application, or add it by Starlette's `add_middleware`. Where the
    server is not one it knows, or the connection is encrypted, everything goes on as
    without it; the logger `zc_response` says so, once for each reason.
    """

    def __init__(self, app: App, policy: Policy | None = None) -> None:
        self.app = app
        self.policy = policy or default_policy()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request (ASGI)."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        scope, exchange = offer(scope, send, self.policy)
        if exchange is None:
            await self.app(scope, receive, send)
        else:
            await self.app(scope, receive, exchange.send)
            await exchange.release_start()


def offer(scope: Scope, send: Send, policy: Policy) -> tuple[Scope, Exchange | None]:
    """Announce zero copy in a copy of `scope`, if it can be had behind `send`.

    The exchange that comes with it executes what is announced: its `send` replaces the
    one given. None if nothing is announced, or somebody has done it already.
    """
    extensions = scope.get("extensions") or {}
    if EXTENSION in extensions or _PATHSEND in extensions:
        return scope, None
    connection, obstacle = _find_connection(send)
    if not policy.zero_copy:
        obstacle = "switched off"
    offers: dict[str, Any] = {EXTENSION: {"obstacle": obstacle}}
    exchange = None
    if connection is not None and not obstacle:
        offers |= {_PATHSEND: {}, _ZEROCOPYSEND: {}}
        exchange = Exchange(connection, send, policy)
    return {**scope, "extensions": {**extensions, **offers}}, exchange


# Finding the connection ------------------------------------------------------------

_SERVERS: Final = {"uvicorn": "zc_response.integrations.uvicorn"}
"""The package that the server's `send` comes from, and the integration that knows it.

An integration has a function `connect(send)`, which returns a `Connection`, or in a
few words why there is none.
"""

_PASS_THROUGH: Final = {
    # Wrappers of `send` that hand on every message that carries a body as it is, and
    # the name under which they keep the `send` they wrap. Behind any other wrapper we
    # must not look: it may be there to change the body.
    "starlette.middleware.errors:ServerErrorMiddleware.__call__.<locals>._send": "send",
    "starlette._exception_handler:"
    "wrap_app_handling_exceptions.<locals>.wrapped_app.<locals>.sender": "send",
    "starlette.middleware.sessions:SessionMiddleware.__call__.<locals>.send_wrapper": (
        "send"
    ),
    "starlette.middleware.cors:CORSMiddleware.send": "send",
    "uvicorn.middleware.message_logger:"
    "MessageLoggerMiddleware.__call__.<locals>.inner_send": "send",
}


def _find_connection(send: Any) -> tuple[Connection | None, str]:
    """The connection behind `send`, or None and what stands in the way."""
    inner = _unwrap(send)
    owner = type(getattr(inner, "__self__", None))
    connect = _connectors.get(owner.__module__) or _connector(owner.__module__)
    if connect is None:
        found: Connection | str = f"no way known to write behind {_name(inner)}"
    else:
        found = connect(inner)
    if isinstance(found, str):
        _say_once(found)
        return None, found
    return found, found.obstacle


_Connector = Callable[[Any], "Connection | str"]
_connectors: dict[str, _Connector] = {}


def _connector(module: str) -> _Connector | None:
    """The `connect` of the integration that knows the server `module` belongs to."""
    integration = _SERVERS.get(module.partition(".")[0])
    if integration is None:
        return None
    connect: _Connector = importlib.import_module(integration).connect
    return _connectors.setdefault(module, connect)


def _unwrap(send: Any) -> Any:
    """The innermost `send` that can be reached through pass-through wrappers."""
    while type(send) is not MethodType:
        function = getattr(send, "func", send)  # functools.partial
        kept = _PASS_THROUGH.get(_name(function))
        if kept is None:
            return send
        if function is not send:
            send = send.keywords[kept]
        else:
            cells = dict(zip(send.__code__.co_freevars, send.__closure__, strict=True))
            send = cells[kept].cell_contents
    return send


def _name(function: Any) -> str:
    module = getattr(function, "__module__", "?")
    return f"{module}:{getattr(function, '__qualname__', repr(function))}"


_said: set[str] = set()


def _say_once(obstacle: str) -> None:
    if obstacle not in _said:
        _said.add(obstacle)
        logger.info("zero copy is not possible: %s; bodies are copied", obstacle)


# Executing the messages ------------------------------------------------------------


class Exchange:
    """The way of one response's messages from the application to the server.

    A start message that announces its Content-Length is held back until the message
    after it, as the ASGI specification asks of servers. So a file that turns out to be
    missing or changed can still become an error, and header and body can leave in one
    segment. Every other message passes at once.
    """

    __slots__ = (
        "_busy",
        "_connection",
        "_owed",
        "_policy",
        "_send",
        "_start",
        "_status",
    )

    def __init__(self, connection: Connection, send: Send, policy: Policy) -> None:
        self._connection = connection
        self._send = send
        self._policy = policy
        self._start: Message | None = None
        self._status = 0
        self._owed: int | None = None
        self._busy = False

    async def send(self, message: Message) -> None:
        """The `send` that the application sees (ASGI)."""
        if self._busy:
            raise RuntimeError("a file is being sent; await that `send` first")
        kind = message["type"]
        if kind == _PATHSEND:
            await self._pathsend(message)
        elif kind == _ZEROCOPYSEND:
            await self._zerocopysend(message)
        elif kind == "http.response.start" and self._start is None:
            await self._hold(message)
        else:
            if kind == "http.response.body" and self._owed is not None:
                self._owed -= len(message.get("body", b""))
            await self.release_start()
            await self._send(message)

    async def _hold(self, start: Message) -> None:
        self._status = start["status"]
        self._owed = _content_length(start)
        self._start = start
        if self._owed is None:
            await self.release_start()

    async def release_start(self) -> None:
        """Let the server have the start message, if it is still held back."""
        start, self._start = self._start, None
        if start is not None:
            await self._send(start)

    async def _pathsend(self, message: Message) -> None:
        segments = message.get(SEGMENTS)
        if segments is not None:
            await self._deliver(segments, message["path"], more_body=False)
            return
        with FileSource.open(message["path"]) as source:
            piece = Slice(source, 0, source.facts.size)
            await self._deliver([piece], source.path, more_body=False)

    async def _zerocopysend(self, message: Message) -> None:
        file = message["file"]
        fd = file if isinstance(file, int) else file.fileno()
        with FileSource.borrow(fd) as source:
            piece, after = _named_slice(source, message)
            await self._deliver([piece], source.path, message.get("more_body", False))
            if after is not None:
                os.lseek(source.fileno(), after, os.SEEK_SET)

    async def _deliver(
        self, segments: Sequence[Segment], path: str, more_body: bool
    ) -> None:
        """Send segments as (a part of) the body, and tell the server of it."""
        count = sum(map(len, segments))
        bodiless = self._connection.bodiless(self._status)
        if not bodiless:
            self._owe(count, path, more_body)
        if bodiless or not count:
            await self.release_start()
        elif not await self._transmit(segments, path, count):
            return
        await self._send(
            {"type": "http.response.body", "body": b"", "more_body": more_body}
        )

    def _owe(self, count: int, path: str, more_body: bool) -> None:
        """Refuse what cannot be framed, before it is too late for an honest error."""
        if self._owed is None:
            return
        self._owed -= count
        if self._owed < 0 or (self._owed and not more_body):
            raise TransferError(
                f"{path}: the {count} bytes to be sent do not make up the "
                f"Content-Length; has the file changed since it was looked at?"
            )

    async def _transmit(
        self, segments: Sequence[Segment], path: str, count: int
    ) -> bool:
        """Put segments on the wire. False if the client has left meanwhile."""
        await self._connection.drain()
        if self._connection.disconnected:
            return False
        access = self._connection.access()
        choice = choose(access, self._policy)
        tally = Tally(
            path=path,
            status=self._status,
            promised=count,
            strategy=choice.strategy,
            reason=choice.reason,
            guard=COUNT,
        )
        self._busy = True
        try:
            with tally:
                if access.socket is None:
                    await self._copy(segments, tally)
                else:
                    transfer = Transfer(segments, access, self._policy, tally)
                    await self._run(transfer, count, tally)
        except DisconnectedError:
            return False
        finally:
            self._busy = False
        return True

    async def _copy(self, segments: Sequence[Segment], tally: Tally) -> None:
        await self.release_start()
        await _copy_body(self._send, segments, tally, self._policy, asyncio.to_thread)

    async def _run(self, transfer: Transfer, count: int, tally: Tally) -> None:
        """Carry out a transfer; whatever goes wrong ends the connection with it."""
        connection = self._connection
        try:
            start, self._start = self._start, None
            if start is not None:
                transfer.head = await connection.head(self._send, start)
            before, transfer.tail = connection.frame(count)
            transfer.head += before
            await drive(transfer.steps(), transfer.fileno(), tally)
        except BaseException:
            transfer.abort()
            connection.abort()
            raise
        finally:
            transfer.close()


def _content_length(start: Message) -> int | None:
    for name, value in start.get("headers", ()):
        if name.lower() == b"content-length" and value.isdigit():
            return int(value)
    return None


def _named_slice(source: FileSource, message: Message) -> tuple[Slice, int | None]:
    """What a zerocopysend message names, and where its file is to stand afterwards.

    Without an offset it starts where the file stands, and moves that on as a read
    would; without a count it goes to the end of the file.
    """
    offset, count = message.get("offset"), message.get("count")
    start = os.lseek(source.fileno(), 0, os.SEEK_CUR) if offset is None else offset
    if count is None:
        count = max(source.facts.size - start, 0)
    if start < 0 or count < 0 or (count and start + count > source.facts.size):
        raise ValueError(
            f"offset {start} and count {count} do not lie inside {source.path}, "
            f"which has {source.facts.size} bytes"
        )
    return Slice(source, start, count), start + count if offset is None else None


# Sending a plan --------------------------------------------------------------------

_T = TypeVar("_T")


class InThread(Protocol):
    """Runs a function in a worker thread: `asyncio.to_thread`, anyio's `run_sync`."""

    async def __call__(self, function: Callable[..., _T], /, *args: Any) -> _T:
        """The function's result."""


_CONDITIONS: Final = frozenset(
    (
        b"range",
        b"if-match",
        b"if-none-match",
        b"if-modified-since",
        b"if-unmodified-since",
        b"if-range",
        b"accept-encoding",
    )
)


def conditions(scope: Scope) -> dict[str, str]:
    """The request's header fields on which a plan depends, repeated ones joined."""
    found: dict[str, str] = {}
    for name, value in scope["headers"]:
        if name in _CONDITIONS:
            key, text = name.decode("latin-1"), value.decode("latin-1")
            found[key] = f"{found[key]}, {text}" if key in found else text
    return found


def has_zero_copy(scope: Scope, policy: Policy) -> bool:
    """True if `respond` can hand the body to the server instead of reading it."""
    offers = scope.get("extensions") or {}
    return policy.zero_copy and (_PATHSEND in offers or _ZEROCOPYSEND in offers)


class Answer(NamedTuple):
    """A plan, and its header fields as ASGI wants them."""

    plan: Plan
    headers: tuple[tuple[bytes, bytes], ...]

    @classmethod
    def of(cls, plan: Plan) -> Answer:
        """The answer that sends `plan`."""
        fields = [(n.encode("latin-1"), v.encode("latin-1")) for n, v in plan.headers]
        return cls(plan, tuple(fields))


async def respond(
    scope: Scope,
    send: Send,
    answer: Answer,
    path: str,
    policy: Policy,
    in_thread: InThread,
) -> None:
    """Send an answer by the best message that `scope` offers, else by copying.

    `path` names the file, in reports and to servers that open it themselves. The
    plan's sources stay the caller's: they must be open until this returns.
    """
    plan = answer.plan
    await send(
        {
            "type": "http.response.start",
            "status": plan.status,
            "headers": list(answer.headers),  # middleware may change its list
        }
    )
    offers = scope.get("extensions") or {}
    if not plan.segments:
        await send({"type": "http.response.body", "body": b"", "more_body": False})
    elif policy.zero_copy and _is_hooked(offers):
        await send({"type": _PATHSEND, "path": path, SEGMENTS: plan.segments})
    else:
        await _respond_without_hook(offers, send, plan, path, policy, in_thread)


def _is_hooked(offers: MutableMapping[str, Any]) -> bool:
    return EXTENSION in offers and not offers[EXTENSION]["obstacle"]


async def _respond_without_hook(
    offers: MutableMapping[str, Any],
    send: Send,
    plan: Plan,
    path: str,
    policy: Policy,
    in_thread: InThread,
) -> None:
    hook = offers.get(EXTENSION)
    native = _native_messages(offers, plan, path) if policy.zero_copy else None
    with Tally(
        path=path,
        status=plan.status,
        promised=len(plan),
        strategy=native[0]["type"] if native else Strategy.COPY,
        reason="the server's own" if native else _obstacle(hook, policy),
        guard=COUNT,
    ) as tally:
        if native:
            for message in native:
                await send(message)
            tally.sent = len(plan)
        else:
            await _copy_body(send, plan.segments, tally, policy, in_thread)
            await send({"type": "http.response.body", "body": b"", "more_body": False})


def _obstacle(hook: Any, policy: Policy) -> str:
    if not policy.zero_copy:
        return "switched off"
    return hook["obstacle"] if hook else "the server has no zero copy and no hook"


class _Descriptor(int):
    """A descriptor for either reading of the specification: a number, with fileno()."""

    def fileno(self) -> int:
        return int(self)


def _native_messages(
    offers: MutableMapping[str, Any], plan: Plan, path: str
) -> list[Message]:
    """The plan in the messages of a server with zero copy of its own, if it has any."""
    only = plan.segments[0]
    if _ZEROCOPYSEND in offers:
        messages = [_native_message(segment) for segment in plan.segments]
        messages[-1]["more_body"] = False
        return messages
    if _PATHSEND in offers and len(plan.segments) == 1 and isinstance(only, Slice):
        source = only.source
        whole = isinstance(source, FileSource) and len(only) == source.facts.size
        if whole:
            return [{"type": _PATHSEND, "path": os.path.abspath(path)}]
    return []


def _native_message(segment: Segment) -> Message:
    if isinstance(segment, bytes):
        return {"type": "http.response.body", "body": segment, "more_body": True}
    assert isinstance(segment.source, FileSource)
    return {
        "type": _ZEROCOPYSEND,
        "file": _Descriptor(segment.source.fileno()),
        "offset": segment.offset,
        "count": segment.count,
        "more_body": True,
    }


async def _copy_body(
    send: Send,
    segments: Sequence[Segment],
    tally: Tally,
    policy: Policy,
    in_thread: InThread,
) -> None:
    """Send segments as ordinary body messages, reading in a thread."""

    async def pass_on(data: bytes) -> None:
        await send({"type": "http.response.body", "body": data, "more_body": True})
        tally.sent += len(data)

    for segment in segments:
        if isinstance(segment, bytes):
            await pass_on(segment)
            continue
        cursor = Cursor(segment)
        while cursor.left:
            await pass_on(await in_thread(read, cursor, policy.copy_bytes))

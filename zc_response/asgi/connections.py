"""Finding the server's connection behind `send`, and only where that is safe.

This module knows no server: an integration hands it a `Connection`.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable, Mapping
from functools import partial
from types import CellType, CodeType, FunctionType, MethodType
from typing import Any, Final, Protocol

from zc_response.asgi.messages import Fields, Message, Send
from zc_response.transmit import Access

logger: Final = logging.getLogger("zc_response")


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

    async def send_together(self, send: Send, start: Message, body: Message) -> bytes:
        """Send a whole response, whose body is not empty, in one write."""

    async def send_whole(
        self, status: int, headers: Fields, body: bytes | bytearray
    ) -> None:
        """The same, past everybody who might want to change it."""

    def frame(self, count: int) -> tuple[bytes, bytes]:
        """Tell the server of `count` body bytes; return what goes around them."""

    def access(self) -> Access:
        """The socket, duplicated; or why that was not possible."""

    def pause_reading(self) -> None:
        """Read nothing from the client until the response is complete."""

    def abort(self) -> None:
        """Drop the connection at once."""


class Taker(Protocol):
    """A response of a server that takes whatever it is given, to be copied to."""

    def backlog(self) -> int:
        """How many of the bytes that it was given it has not sent yet."""

    async def abort(self) -> None:
        """End a response that cannot be completed, so that its client sees it."""


_SERVERS: Final = {
    "uvicorn": "zc_response.integrations.uvicorn",
    "gunicorn": "zc_response.integrations.gunicorn",
}
"""The package that the server's `send` comes from, and the integration that knows it.

An integration has a function `connect(send)`, which returns a `Connection`, or in a
few words why there is none.
"""

_TAKERS: Final = {
    "uvicorn": "zc_response.integrations.uvicorn",
    "hypercorn": "zc_response.integrations.hypercorn",
    "daphne": "zc_response.integrations.daphne",
}
"""Servers whose `send` takes more than the client does, and never waits.

Their integration has a function `taker(send)`: a `Taker`, or None if it does wait.
"""

_WATCHERS: Final = {
    # Wrappers of `send` that hand on every message as it is. All they do is to note, in
    # a variable of theirs, that the response has started.
    "starlette.middleware.errors:ServerErrorMiddleware.__call__.<locals>._send": "send",
    "starlette._exception_handler:"
    "wrap_app_handling_exceptions.<locals>.wrapped_app.<locals>.sender": "send",
}
"""By the name under which they keep the `send` they wrap."""
_STARTED: Final = "response_started"
"""The name of that variable."""
_PASS_THROUGH: Final = _WATCHERS | {
    # Those that hand on as they are at least the messages that carry a body. Behind
    # any other we must not look: it may be there to change the body.
    "starlette.middleware.sessions:SessionMiddleware.__call__.<locals>.send_wrapper": (
        "send"
    ),
    "starlette.middleware.cors:CORSMiddleware.send": "send",
    "uvicorn.middleware.message_logger:"
    "MessageLoggerMiddleware.__call__.<locals>.inner_send": "send",
}


def find_connection(send: Any) -> tuple[Connection | None, str]:
    """The connection behind `send`, or None and what stands in the way."""
    found = _connect(_unwrap(send))
    if isinstance(found, str):
        _say_once(found)
        return None, found
    return found, found.obstacle


def connection_of(send: Any) -> Connection | None:
    """The connection that this very `send` belongs to, if its socket is in reach."""
    found = _connect(send)
    return None if isinstance(found, str) or found.obstacle else found


def taker_behind(send: Any) -> Taker | None:
    """The response of a server that takes whatever it is given.

    None where `send` waits for the client, as the ASGI specification wants it.
    """
    send = _unwrap(send)
    owner = getattr(getattr(send, "func", send), "__self__", None)
    integration = _TAKERS.get(type(owner).__module__.partition(".")[0])
    if integration is None:
        return None
    taker: Taker | None = importlib.import_module(integration).taker(send)
    return taker


def _connect(send: Any) -> Connection | str:
    """The connection of a server's own `send`, or why there is none."""
    owner: Any = getattr(send, "__self__", None)
    # The `send` of some servers is a method, that of others a closure.
    kind = type(owner) if owner is not None else getattr(send, "__code__", None)
    connect = _connectors.get(kind) or _connector(kind, owner or send)
    if connect is None:
        return f"no way known to write behind {_name(send)}"
    return connect(send)


_Connector = Callable[[Any], "Connection | str"]
_connectors: dict[object, _Connector] = {}


def _connector(kind: object, owner: Any) -> _Connector | None:
    """The `connect` of the integration that knows the server `owner` belongs to."""
    module = getattr(owner, "__module__", None) or ""
    integration = _SERVERS.get(module.partition(".")[0])
    if integration is None:
        return None
    connect: _Connector = importlib.import_module(integration).connect
    return _connectors.setdefault(kind, connect)


def _unwrap(send: Any) -> Any:
    """The innermost `send` that can be reached through pass-through wrappers."""
    while type(send) is not MethodType:
        function = getattr(send, "func", send)  # functools.partial
        if function is not send:
            kept = _PASS_THROUGH.get(_name(function))
            if kept is None:
                return send
            send = send.keywords[kept]
        else:
            cell = _cell(send, _PASS_THROUGH)
            if cell < 0:
                return send
            send = send.__closure__[cell].cell_contents
    return send


def past_watchers(send: Any) -> tuple[Any, list[CellType]]:
    """The innermost `send` behind those who only watch, and the notes they take.

    Who goes past them has to write True there (`cell_contents`), as they would.
    """
    notes: list[CellType] = []
    while type(send) is FunctionType:
        cells = _watchers_cells.get(send.__code__)
        if cells is None:
            cells = _watchers_cells[send.__code__] = _cells_of_watcher(send)
        kept, started = cells
        if kept < 0:
            break
        closure: Any = send.__closure__
        notes.append(closure[started])
        send = closure[kept].cell_contents
    return send, notes


_watchers_cells: dict[CodeType, tuple[int, int]] = {}


def _cells_of_watcher(function: Any) -> tuple[int, int]:
    names = function.__code__.co_freevars
    kept = _cell(function, _WATCHERS)
    return (kept, names.index(_STARTED)) if _STARTED in names else (-1, -1)


def _cell(function: Any, wrappers: Mapping[str, str]) -> int:
    """The cell of its closure in which a known wrapper keeps `send`, or -1."""
    kept = wrappers.get(_name(function))
    return -1 if kept is None else function.__code__.co_freevars.index(kept)


def _name(function: Any) -> str:
    while isinstance(function, partial):  # one for each request: its own name differs
        function = function.func
    module = getattr(function, "__module__", "?")
    return f"{module}:{getattr(function, '__qualname__', repr(function))}"


_said: set[str] = set()


def _say_once(obstacle: str) -> None:
    if obstacle not in _said:
        _said.add(obstacle)
        logger.info("zero copy is not possible: %s; bodies are copied", obstacle)

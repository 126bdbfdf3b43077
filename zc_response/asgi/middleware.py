"""Announcing zero copy: around an application, or by a response for itself."""

from __future__ import annotations

from types import CellType, MethodType
from typing import Any, Final, NamedTuple

from zc_response.asgi.connections import (
    Connection,
    connection_of,
    find_connection,
    past_watchers,
)
from zc_response.asgi.exchange import Exchange
from zc_response.asgi.messages import (
    EXTENSION,
    PATHSEND,
    ZEROCOPYSEND,
    App,
    Receive,
    Scope,
    Send,
)
from zc_response.policy import Policy, default_policy


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
            if exchange.is_holding:
                await exchange.release_start()


_OFFERED: Final[dict[str, Any]] = {
    EXTENSION: {"obstacle": ""},
    PATHSEND: {},
    ZEROCOPYSEND: {},
}
_OFFERS: Final = frozenset(_OFFERED)


def offer(scope: Scope, send: Send, policy: Policy) -> tuple[Scope, Exchange | None]:
    """Announce zero copy in a copy of `scope`, if it can be had behind `send`.

    The exchange that comes with it executes what is announced: its `send` replaces the
    one given. None if nothing is announced, or somebody has done it already.
    """
    extensions = scope.get("extensions") or {}
    if not extensions.keys().isdisjoint(_OFFERS):
        return scope, None
    if policy.zero_copy:
        connection, obstacle = find_connection(send)
    else:
        connection, obstacle = None, "switched off"
    if connection is None or obstacle:
        offers: dict[str, Any] = {EXTENSION: {"obstacle": obstacle}}
        exchange = None
    else:
        offers = _OFFERED
        exchange = Exchange(connection, send, policy)
    return {**scope, "extensions": {**extensions, **offers}}, exchange


class Shortcut(NamedTuple):
    """A way to the connection past everybody who only watches.

    `inner` is the `send` at its end, or the exchange that stands in its place. Who
    takes it calls `note` first.
    """

    connection: Connection
    inner: Any
    notes: list[CellType]

    def note(self) -> None:
        """Let the watchers know that the response has started."""
        for started in self.notes:
            started.cell_contents = True

    def take_back(self) -> None:
        """It has not, after all."""
        for started in self.notes:
            started.cell_contents = False


def shortcut(send: Send) -> Shortcut | None:
    """The shortcut to the connection, if nobody in between changes anything."""
    inner, notes = past_watchers(send)
    if type(inner) is not MethodType:
        return None
    owner = inner.__self__
    if type(owner) is Exchange:
        return Shortcut(owner.connection, owner, notes) if owner.is_untouched else None
    connection = connection_of(inner)
    return None if connection is None else Shortcut(connection, inner, notes)

"""Announcing zero copy: around an application, or by a response for itself."""

from __future__ import annotations

from types import MethodType
from typing import Any, Final

from zc_response.asgi.connections import (
    Connection,
    behind_transparent,
    connection_of,
    find_connection,
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


def shortcut(send: Send) -> tuple[Connection | None, Any]:
    """The connection behind `send`, if nobody in between changes anything.

    With it comes the innermost `send`, or the exchange that stands in its place.
    """
    inner: Any = behind_transparent(send)
    if type(inner) is not MethodType:
        return None, None
    owner = inner.__self__
    if type(owner) is Exchange:
        return owner.connection if owner.is_untouched else None, owner
    return connection_of(inner), inner

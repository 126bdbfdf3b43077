"""The middleware that stands outside of everything."""

from __future__ import annotations

from collections.abc import Iterable

from zc_response.policy import Policy, default_policy
from zc_response.wsgi.connections import (
    Environ,
    StartResponse,
    WsgiApp,
    find_connection,
)
from zc_response.wsgi.exchange import EXCHANGE, Exchange

_WRAPPER = "wsgi.file_wrapper"


class ZeroCopyMiddleware:
    """Wraps a WSGI application so that its files leave by zero copy.

    Put it around the application, outermost. Where the server is not one it knows,
    everything goes on as without it.
    """

    def __init__(self, app: WsgiApp, policy: Policy | None = None) -> None:
        self.app = app
        self.policy = policy or default_policy()

    def __call__(
        self, environ: Environ, start_response: StartResponse
    ) -> Iterable[bytes]:
        """Serve one request (PEP 3333)."""
        if EXCHANGE in environ:  # somebody stands further out
            return self.app(environ, start_response)
        connection = find_connection(environ, start_response)
        if connection is None:
            return self.app(environ, start_response)
        exchange = environ[EXCHANGE] = Exchange(connection, self.policy)
        servers_own = environ.get(_WRAPPER)
        environ[_WRAPPER] = exchange.wrap
        try:
            return exchange.body(self.app(environ, connection.start_response))
        finally:
            # A server may ask whether the body is an instance of its own.
            if servers_own is None:
                environ.pop(_WRAPPER, None)
            else:
                environ[_WRAPPER] = servers_own

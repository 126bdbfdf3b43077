"""The middleware that stands outside of everything."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from zc_response.policy import Policy, default_policy
from zc_response.wsgi.connections import (
    Environ,
    StartResponse,
    WsgiApp,
    find_connection,
)
from zc_response.wsgi.exchange import EXCHANGE, WRAPPER, Exchange


class ZeroCopyMiddleware:
    """Wraps a WSGI application so that its files leave by zero copy.

    Put it around the application, outermost. Where it is not the server that calls it,
    or not one it knows, everything goes on as without it.
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
        connection = find_connection(environ, start_response, sys._getframe(1))
        if connection is None:
            return self.app(environ, start_response)
        exchange = environ[EXCHANGE] = Exchange(connection, self.policy)
        environ["wsgi.file_wrapper"] = WRAPPER
        return exchange.body(self.app(environ, connection.start_response))

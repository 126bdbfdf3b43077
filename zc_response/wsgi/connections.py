"""What a server's integration gives: one request's side of its connection."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from functools import cache
from types import FrameType
from typing import Any, Final, Protocol

from zc_response.policy import Policy
from zc_response.report import Tally
from zc_response.transmit import Access, Frame, Transfer

Environ = dict[str, Any]
HeaderFields = list[tuple[str, str]]
StartResponse = Callable[..., Any]
WsgiApp = Callable[[Environ, StartResponse], Iterable[bytes]]


class Connection(Protocol):
    """One response of a server that lets us write to its socket."""

    @property
    def start_response(self) -> StartResponse:
        """What the application gets for it."""

    def expect(self, memo: dict[object, Any]) -> None:
        """An answer comes that has often come before, with a memo of its own.

        It is for what the server makes of the header fields.
        """

    @property
    def obstacle(self) -> str:
        """Why nobody may write to this connection's socket; empty if we may."""

    @property
    def is_bodiless(self) -> bool:
        """True if no body may follow this status and request method."""

    @property
    def status(self) -> int:
        """The status, once the response has started."""

    @property
    def content_length(self) -> int | None:
        """What the header promises of the body, if anything."""

    @property
    def sent(self) -> int:
        """Body bytes that the server knows of."""

    def head(self, policy: Policy) -> bytes | None:
        """The bytes that the server would send before the body, taken from it.

        They are for a transfer, which is carried out as `policy` has it. None if it
        cannot be prevented from sending them itself, when it is given an empty chunk.
        """

    def send_together(self, body: bytes | bytearray) -> bool:
        """Send a whole body in one write with its header; False if it cannot be done.

        Raises as the server's own sending does.
        """

    def passed(self, count: int) -> None:
        """Tell that the server is given `count` body bytes, to send by itself."""

    def frame(self, count: int) -> tuple[bytes, bytes]:
        """Tell the server of a body of `count` bytes; return what goes around it."""

    def frames(self) -> tuple[Frame, bytes]:
        """Tell the server of a body whose length nobody knows.

        What goes around each of its pieces, and what ends it: both do without the
        server, which may be at something else by then.
        """

    def flowed(self, count: int) -> None:
        """Tell the server how many bytes that were, as far as they are known."""

    def access(self) -> Access:
        """The socket."""

    def carry(self, transfer: Transfer, tally: Tally, policy: Policy) -> None:
        """Have a transfer carried out, here or elsewhere.

        Raises OSError if that failed, here; the connection is reset then.
        """

    def beat(self) -> None:
        """Tell whoever watches over the worker that it is alive."""

    def abort(self) -> None:
        """Drop the connection, with RST."""


Connect = Callable[[Environ, StartResponse], "Connection | None"]


def find_connection(
    environ: Environ, start_response: StartResponse, caller: FrameType | None
) -> Connection | None:
    """The connection behind a request, if the server is one that we know.

    And if it is the server that calls: anybody else may change what he gets.
    """
    for key, (server, integration) in _SERVERS.items():
        if key in environ:
            if not _is_called_by(server, caller):
                return None
            return _connector(integration)(environ, start_response)
    return None


_SERVERS: Final = {
    "gunicorn.socket": ("gunicorn.workers.", "zc_response.integrations.gunicorn"),
    "werkzeug.socket": ("werkzeug.serving", "zc_response.integrations.werkzeug"),
}
"""A key that a server leaves in `environ`; what the name of the module begins with that
calls the application; and the integration that knows the server.

An integration has a function `connect_wsgi(environ, start_response)`.
"""

_PASS_THROUGH: Final = {
    ("flask.app", "__call__"),
    ("werkzeug.middleware.proxy_fix", "__call__"),
}
"""Functions that return what the application returns."""


def _is_called_by(server: str, caller: FrameType | None) -> bool:
    while caller is not None:
        name = caller.f_globals.get("__name__", "")
        if (name, caller.f_code.co_name) not in _PASS_THROUGH:
            return bool(name.startswith(server))
        caller = caller.f_back
    return False


@cache
def _connector(integration: str) -> Connect:

    connect: Connect = importlib.import_module(integration).connect_wsgi
    return connect

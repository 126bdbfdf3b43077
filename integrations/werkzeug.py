"""Werkzeug's development server, which `flask run` starts.

It leaves its socket in `environ` (`werkzeug.socket`), answers each request in a thread
that may wait, and closes the connection after each response. It writes its header when
it is given the first chunk of the body, be it empty.
"""

from __future__ import annotations

import errno
import socket
import struct
from typing import Any, Final

from zc_response.errors import TransferError
from zc_response.planning import has_no_body
from zc_response.policy import Policy
from zc_response.report import Tally
from zc_response.transmit import Access, Frame, Transfer, drive_here
from zc_response.wsgi import Connection, Environ, HeaderFields, StartResponse

_START_RESPONSE: Final = "WSGIRequestHandler.run_wsgi.<locals>.start_response"


def connect_wsgi(environ: Environ, start_response: StartResponse) -> Connection | None:
    """The connection behind a request of the development server.

    Whoever stands between it and us may want to change the body, and then also has a
    `start_response` of his own.
    """
    if getattr(start_response, "__qualname__", "") != _START_RESPONSE:
        return None
    return _HandlerConnection(environ, start_response)


class _HandlerConnection:
    """One request of the development server."""

    def __init__(self, environ: Environ, start_response: StartResponse) -> None:
        self._socket: Any = environ["werkzeug.socket"]
        self._method = environ["REQUEST_METHOD"]
        self._is_old = environ["SERVER_PROTOCOL"] < "HTTP/1.1"
        self._start_response = start_response
        self._fields: HeaderFields = []
        self.status = 0
        self.sent = 0

    def expect(self, memo: dict[object, Any]) -> None:
        """The server makes nothing of them that could be kept."""

    def start_response(self, status: str, headers: Any, *more: Any) -> Any:
        """The server's own, and a look at what is said."""
        server_write = self._start_response(status, headers, *more)
        self.status, self._fields = int(status.split(maxsplit=1)[0]), list(headers)

        def write(data: bytes) -> None:
            self.passed(len(data))
            server_write(data)

        return write

    @property
    def obstacle(self) -> str:
        """Why the socket is out of reach."""
        if not isinstance(self._socket, socket.socket) or hasattr(
            self._socket, "getpeercert"
        ):
            return "TLS"
        if self.content_length is None and not self._is_old:
            return "the server frames the body"
        return ""

    @property
    def is_bodiless(self) -> bool:
        """HEAD, 1xx, 204 and 304 have no body (RFC 9112 section 6.3)."""
        return has_no_body(self._method, self.status)

    @property
    def content_length(self) -> int | None:
        """What the header promises of the body, if anything."""
        for name, value in self._fields:
            if name.lower() == "content-length" and value.isdigit():
                return int(value)
        return None

    def head(self, policy: Policy) -> None:
        """The server writes it by itself."""

    def send_together(self, body: bytes | bytearray) -> bool:
        """The server writes its header by itself."""
        return False

    def passed(self, count: int) -> None:
        """The server does not count."""
        self.sent += count

    def frame(self, count: int) -> tuple[bytes, bytes]:
        """There is nothing around a body that has a length, or ends the connection."""
        self.sent += count
        return b"", b""

    def frames(self) -> tuple[Frame, bytes]:
        """To a client of HTTP/1.0, the end of the connection is that of the body."""
        return lambda _count: (b"", b""), b""

    def flowed(self, count: int) -> None:
        """See `Connection`."""
        self.sent += count

    def access(self) -> Access:
        """The connection's socket, if it may be written to."""
        obstacle = self.obstacle
        return Access(None, obstacle) if obstacle else Access(self._socket.fileno)

    def carry(self, transfer: Transfer, tally: Tally, policy: Policy) -> None:
        """Carry a transfer out in this thread."""
        timeout = self._socket.gettimeout()
        self._socket.setblocking(False)
        try:
            with tally:
                drive_here(transfer, self.beat)
        except TransferError as exc:
            self.abort()
            raise ConnectionAbortedError(errno.ECONNABORTED, str(exc)) from exc
        except BaseException:
            self.abort()
            raise
        finally:
            self._socket.settimeout(timeout)

    def beat(self) -> None:
        """Nobody watches over the development server."""

    def abort(self) -> None:
        """Have the connection end with RST when the server closes it, which is soon.

        Before that the server reads what the client still sends, and if that fails it
        does not close the application's body.
        """
        self._socket.setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
        )

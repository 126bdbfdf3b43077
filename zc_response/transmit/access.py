"""What a server lets us reach of one connection: plain facts, gathered once."""

from __future__ import annotations

from dataclasses import dataclass

from zc_response.kernel import sockets


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """The way to one client, as far as the server opens it.

    `socket` is a non-blocking duplicate of the connection's own, which the transfer
    closes; None where there is no such thing or nobody may write to it. `obstacle`
    then says why.
    """

    socket: sockets.Socket | None = None
    obstacle: str = ""


def open_access(server_socket: sockets.SocketLike) -> Access:
    """The way through a connected socket. Raises OSError if no descriptor is left."""
    return Access(socket=sockets.duplicate(server_socket))

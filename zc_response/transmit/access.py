"""What a server lets us reach of one connection: plain facts, gathered once."""

from __future__ import annotations

from typing import NamedTuple

from zc_response.kernel import sockets


class Access(NamedTuple):
    """The way to one client, as far as the server opens it.

    `socket` is a non-blocking duplicate of the connection's own, which the transfer
    closes; None where there is no such thing or nobody may write to it. `obstacle`
    then says why.
    """

    socket: sockets.Socket | None = None
    obstacle: str = ""


def open_access(fd: int) -> Access:
    """The way through the connected socket `fd`; none, if no descriptor is left."""
    try:
        return Access(sockets.duplicate(fd))
    except OSError as exc:
        return Access(obstacle=f"no duplicate of the socket: {exc.strerror}")

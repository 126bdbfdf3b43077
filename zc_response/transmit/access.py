"""What a server lets us reach of one connection: plain facts, gathered once."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from zc_response.kernel import sockets


class Access(NamedTuple):
    """The way to one client, as far as the server opens it.

    `socket` is a non-blocking duplicate of the connection's own, which the transfer
    closes; None where there is no such thing or nobody may write to it. `obstacle`
    then says why. `fileno` tells the number of the server's own descriptor, as long as
    the connection lasts, and raises DisconnectedError after that; without it the
    duplicate cannot be given up meanwhile.
    """

    socket: sockets.Socket | None = None
    obstacle: str = ""
    fileno: Callable[[], int] | None = None


def open_access(fileno: Callable[[], int]) -> Access:
    """The way through a connected socket; none, if no descriptor is left."""
    try:
        return Access(sockets.duplicate(fileno()), fileno=fileno)
    except OSError as exc:
        return Access(obstacle=f"no duplicate of the socket: {exc.strerror}")

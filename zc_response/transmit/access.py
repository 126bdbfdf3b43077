"""What a server lets us reach of one connection: plain facts, gathered once."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from zc_response.transmit.peers import is_same_host


class Access(NamedTuple):
    """The way to one client, as far as the server opens it.

    `fileno` tells the number of the server's own descriptor of a non-blocking
    connected socket, as long as the connection lasts, and raises DisconnectedError
    after that. None where there is no such thing or nobody may write to it; `obstacle`
    then says why.
    """

    fileno: Callable[[], int] | None = None
    obstacle: str = ""

    def is_same_host(self) -> bool:
        """True unless the client is surely on another host."""
        return self.fileno is None or is_same_host(self.fileno())

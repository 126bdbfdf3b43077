"""What a server lets us reach of one connection: plain facts, gathered once."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from zc_response.kernel import tls
from zc_response.transmit.peers import is_same_host, may_lend

MULTIPLEXED: Final = "HTTP/2: the socket is shared"
"""The obstacle of a connection on which several responses take turns."""


class Access(NamedTuple):
    """The way to one client, as far as the server opens it.

    `fileno` tells the number of the server's own descriptor of a non-blocking
    connected socket, as long as the connection lasts, and raises DisconnectedError
    after that. None where there is no such thing or nobody may write to it; `obstacle`
    then says why. `encrypts`: what is written to it in plain leaves encrypted.
    """

    fileno: Callable[[], int] | None = None
    obstacle: str = ""
    encrypts: bool = False

    def is_same_host(self) -> bool:
        """True unless the client is surely on another host."""
        return self.fileno is None or is_same_host(self.fileno())

    def may_lend(self) -> bool:
        """True if the kernel may be lent memory, to send from it to another host."""
        if self.fileno is None or self.encrypts:
            return False
        return may_lend(self.fileno())


def reach(sock: Any, fileno: Callable[[], int], *, is_tls: bool) -> Access:
    """The way over a server's socket object, whose number `fileno` tells.

    The one place that hands out the descriptor of a connection with TLS: only if the
    kernel says, of this very connection, that it encrypts what is written there. So it
    has to be asked after the handshake. Whatever looks like TLS is, `is_tls` or not.
    """
    if not is_tls and not hasattr(sock, "getpeercert"):
        return Access(fileno)
    try:
        encrypts = tls.encrypts(fileno())
    except OSError:  # closed already
        encrypts = False
    return Access(fileno, encrypts=True) if encrypts else Access(None, "TLS")


def say_goodbye(sock: socket.socket) -> None:
    """Tell the client that no more will come. Raises OSError if that fails."""
    if tls.encrypts(sock.fileno()):
        tls.close_notify(sock)
    sock.shutdown(socket.SHUT_WR)

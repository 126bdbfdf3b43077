"""Memory that has been lent to the kernel, until it has given it back.

It may read it whenever it likes, and does: for the first time when a segment is sent,
for the last when the client has acknowledged it. Memory that is freed before that is
somebody else's soon, and what they put there goes to the client. So

- what is lent is `bytes`, which nobody can change, and the loan keeps them alive;
- a transfer is over when all has been given back, not when all has been sent;
- one that ends before that resets the connection first, on a descriptor of its own: it
  drops what is queued, at once. To close it would not: the kernel goes on sending.
  What a network card has in its hands even then is kept until it is back.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Final

from zc_response.kernel import sockets, zerocopy
from zc_response.native import new_lock, original
from zc_response.threads import lane
from zc_response.transmit import peers
from zc_response.transmit.waits import Waits

EPOLLOUT: Final = 4  # linux/eventpoll.h


class Loan:
    """What one transfer has lent, and what of it has not come back.

    `owed` counts the calls that lent; `was_copied` says that the kernel has made a copy
    after all.
    """

    __slots__ = ("_data", "_epoll", "_events", "owed", "was_copied")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._epoll: Any = None
        self._events = 0
        self.owed = 0
        self.was_copied = False

    def take_back(self, sock: sockets.Socket) -> bool:
        """Take what the kernel gives back, if anything. Raises OSError.

        Whoever waits for room has to ask, too: what lies in the error queue wakes him.
        """
        if not self.owed:
            return False
        calls, copied = zerocopy.notices(sock)
        self.owed -= calls
        if copied and not self.was_copied:
            self.was_copied = True
            peers.has_copied(sock.fileno())
        return calls > 0

    def is_watching(self, sock: sockets.Socket, *, for_room: bool) -> bool:
        """True if `fileno` is readable as soon as there is something to take back.

        Or, if that is waited for, room in the socket. A loop cannot wait for that: the
        error queue is an error to it, which comes with whatever is waited for, and on
        which libuv never looks at a descriptor again (uv__poll_io). An epoll instance
        takes it as it is, and every loop can wait for one. False if no descriptor is
        left for it.
        """
        events = EPOLLOUT if for_room else 0
        if self._epoll is None:
            try:
                self._epoll = _watching(sock.fileno(), events)
            except OSError:
                return False
        elif events != self._events:
            self._epoll.modify(sock.fileno(), events)
        self._events = events
        return True

    def fileno(self) -> int:
        """The descriptor to wait for."""
        number: int = self._epoll.fileno()
        return number

    def end(self, sock: sockets.Socket) -> None:
        """Nothing more is lent. What is owed now is taken back by force.

        The connection is lost then, and the descriptor perhaps taken over.
        """
        if self._epoll is not None:
            self._epoll.close()
            self._epoll = None
        if not self.owed or sock.fileno() < 0:
            return
        sockets.abort(sock)
        sockets.reset(sock)
        if not self._is_back(sock):
            _keep(self, sockets.borrow(sock.detach()))

    def _is_back(self, sock: sockets.Socket) -> bool:
        try:
            self.take_back(sock)
        except OSError:  # there is nothing that it could be told by
            pass
        return self.owed <= 0


def _watching(fd: int, events: int) -> Any:
    epoll = original("select", "epoll")()
    try:
        epoll.register(fd, events)
    except BaseException:
        epoll.close()
        raise
    return epoll


_kept: Final[list[tuple[Loan, sockets.Socket]]] = []
"""Those of connections that are no more, of which a card or a queue has not let go."""
_lock: Final = new_lock()


def _keep(loan: Loan, sock: sockets.Socket) -> None:
    with _lock:
        _kept.append((loan, sock))
    with suppress(RuntimeError):  # no thread is left: the next one sees to it, too
        lane("memory that is lent", 1).submit(_release)


def _release() -> None:
    """Wait until all of it is back; in a thread."""
    waits, sleep = Waits(), original("time", "sleep")
    while _kept:
        for each in tuple(_kept):
            loan, sock = each
            if loan._is_back(sock):
                _kept.remove(each)
                sock.close()
        if _kept:
            sleep(waits.next())

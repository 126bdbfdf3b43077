"""Those who wait for a client: watched over, and cheap to keep.

A transfer whose client takes nothing costs memory and descriptors. After a second its
duplicate of the socket is given up, and the server's own descriptor is watched
instead, by an epoll instance of ours: the loop itself would refuse to. So a stalled
download holds no descriptor but its connection.

Nobody sends on a number that may be somebody else's: before the next step a new
duplicate is taken, and the server asked whether the connection is still there. When a
server closes the connection meanwhile, the kernel takes it out of the epoll set
without a word, so those who wait are also looked at from time to time, a few at once.
"""

from __future__ import annotations

import asyncio
import select
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final, Protocol

from zc_response.transmit.per_loop import PerLoop

TICK_SECONDS: Final = 0.1
TICKS: Final = 5
"""Each is looked at once in so many ticks."""


class Waiter(Protocol):
    """Somebody who waits."""

    def look(self) -> None:
        """See whether it has been too long, or in vain."""

    def ready(self) -> None:
        """The descriptor it has parked on is writable, or broken."""


class Waiting:
    """All who wait on one loop."""

    __slots__ = ("_epoll", "_parked", "_timer", "_waiters")

    def __init__(self) -> None:
        self._waiters: OrderedDict[Waiter, None] = OrderedDict()
        self._timer: asyncio.TimerHandle | None = None
        self._parked: dict[int, Waiter] = {}
        self._epoll: Any = None

    def add(self, waiter: Waiter) -> None:
        """Look at `waiter` from time to time."""
        self._waiters[waiter] = None
        if self._timer is None:
            self._timer = _later(self._tick)

    def discard(self, waiter: Waiter) -> None:
        """Look at it no more."""
        self._waiters.pop(waiter, None)
        if not self._waiters and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tick(self) -> None:
        for _ in range(-(-len(self._waiters) // TICKS)):
            if not self._waiters:
                break
            waiter = next(iter(self._waiters))
            self._waiters.move_to_end(waiter)
            waiter.look()
        if self._waiters:
            self._timer = _later(self._tick)
        else:
            self._timer = None

    # Parking -----------------------------------------------------------------------

    def park(self, fd: int, waiter: Waiter) -> bool:
        """Watch a descriptor of the server's; False if that cannot be done."""
        try:
            if self._epoll is None:
                self._epoll = select.epoll()
                asyncio.get_running_loop().add_reader(self._epoll.fileno(), self._ready)
            self._epoll.register(fd, select.EPOLLOUT)
        except (AttributeError, OSError):  # no epoll here, or no descriptor for it
            self._close_if_empty()
            return False
        before = self._parked.get(fd)
        self._parked[fd] = waiter
        if before is not None:  # its connection is gone, and the number another one's
            before.ready()
        return True

    def leave(self, fd: int, waiter: Waiter) -> None:
        """Watch it no more."""
        if self._parked.get(fd) is not waiter:
            return
        del self._parked[fd]
        try:
            self._epoll.unregister(fd)
        except OSError:  # closed by the server, and so out of the set already
            pass
        self._close_if_empty()

    def _close_if_empty(self) -> None:
        if self._epoll is not None and not self._parked:
            asyncio.get_running_loop().remove_reader(self._epoll.fileno())
            self._epoll.close()
            self._epoll = None

    def _ready(self) -> None:
        for fd, _events in self._epoll.poll(0):
            waiter = self._parked.get(fd)
            if waiter is not None:
                waiter.ready()
            if self._epoll is None:
                return


def _later(tick: Callable[[], None]) -> asyncio.TimerHandle:
    return asyncio.get_running_loop().call_later(TICK_SECONDS, tick)


waiting_on: Final = PerLoop(Waiting)
"""Those who wait on a loop."""

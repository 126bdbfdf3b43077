"""Is the client on this host?

What is sent by reference to a socket of the same host stays the file's own pages until
the client has read them: the kernel acknowledges them on the client's behalf, long
before that. So "acknowledged" means "taken" only for a client on another host; in doubt
it is on this one.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from typing import Final, NamedTuple

from zc_response.kernel import routes, sockets

FRESH_SECONDS: Final = 10.0
"""How long an answer holds: routes change rarely, but they do."""
COPIES_SECONDS: Final = 60.0
"""How long an interface counts as one that copies, after it was seen to."""
_MOST_ANSWERS: Final = 4096


class Way(NamedTuple):
    """How the other end is reached."""

    is_here: bool
    interface: str


_HERE: Final = Way(True, "")
_answers: OrderedDict[tuple[int, bytes], tuple[float, Way]] = OrderedDict()
_copied_at: dict[str, float] = {}


def is_same_host(fd: int) -> bool:
    """True unless the other end of a connected socket is surely elsewhere."""
    return _way(fd).is_here


def may_lend(fd: int) -> bool:
    """True if memory that is lent to the kernel may be read by a network card.

    Not if the other end may be on this host, or the interface has lately been seen to
    have it copied.
    """
    way = _way(fd)
    if way.is_here:
        return False
    copied_at = _copied_at.get(way.interface)
    return copied_at is None or time.monotonic() - copied_at >= COPIES_SECONDS


def has_copied(fd: int) -> None:
    """Remember that memory was copied on its way to the other end of a socket."""
    way = _way(fd)
    if way.interface:
        _copied_at[way.interface] = time.monotonic()


def _way(fd: int) -> Way:
    try:
        peer = sockets.peer(fd)
    except (OSError, ValueError):  # gone, or closed already
        return _HERE
    return _HERE if peer is None else _way_to(*peer)


def _way_to(family: int, address: bytes) -> Way:
    key, now = (family, address), time.monotonic()
    known = _answers.get(key)
    if known is not None and now - known[0] < FRESH_SECONDS:
        return known[1]
    answer = _ask(family, address)
    _answers[key] = now, answer
    if len(_answers) > _MOST_ANSWERS:
        _answers.popitem(last=False)
    return answer


def _ask(family: int, address: bytes) -> Way:
    try:
        route = routes.route_to(family, address)
        is_here = route.is_local or not routes.leaves_memory(route.interface)
    except (OSError, ValueError):
        return _HERE
    return Way(is_here, route.interface)

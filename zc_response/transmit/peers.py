"""Is the client on this host?

What is sent by reference to a socket of the same host stays the file's own pages until
the client has read them: the kernel acknowledges them on the client's behalf, long
before that. So "acknowledged" means "taken" only for a client on another host; in doubt
it is on this one.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from typing import Final

from zc_response.kernel import routes, sockets

FRESH_SECONDS: Final = 10.0
"""How long an answer holds: routes change rarely, but they do."""
_MOST_ANSWERS: Final = 4096

_answers: OrderedDict[tuple[int, bytes], tuple[float, bool]] = OrderedDict()


def is_same_host(fd: int) -> bool:
    """True unless the other end of a connected socket is surely elsewhere."""
    try:
        peer = sockets.peer(fd)
    except OSError:
        return True
    return peer is None or _is_here(*peer)


def _is_here(family: int, address: bytes) -> bool:
    key, now = (family, address), time.monotonic()
    known = _answers.get(key)
    if known is not None and now - known[0] < FRESH_SECONDS:
        return known[1]
    answer = _ask(family, address)
    _answers[key] = now, answer
    if len(_answers) > _MOST_ANSWERS:
        _answers.popitem(last=False)
    return answer


def _ask(family: int, address: bytes) -> bool:
    try:
        route = routes.route_to(family, address)
        return route.is_local or not routes.leaves_memory(route.interface)
    except (OSError, ValueError):
        return True

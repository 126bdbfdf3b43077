"""What is asked about, and what the table says to it. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from zc_response.transmit import MULTIPLEXED, Access
from zc_response.transmit.choose import RULES, Case, Rule, deciding

_UNKNOWN: Final = "the server has no zero copy and no hook"
_UNGUARDED: Final = "the server's own zero copy has no guards"

OBSTACLES: Final[dict[str, str]] = {
    "uvicorn": "",
    "uvicorn-tls": "TLS",
    "uvicorn-http2": MULTIPLEXED,
    "gunicorn": "",
    "gunicorn-tls": "TLS",
    "gunicorn-http2": MULTIPLEXED,
    "werkzeug": "",
    "werkzeug-tls": "TLS",
    "hypercorn": _UNKNOWN,
    "granian": _UNGUARDED,
    "daphne": _UNKNOWN,
    "runserver": _UNKNOWN,
    "waitress": _UNKNOWN,
    "wsgiref": _UNKNOWN,
    "uwsgi": _UNKNOWN,
    "other": _UNKNOWN,
}
"""By the name of a server: what keeps us from its sockets.

docs/servers.md has what was seen of each.
"""


class Here(Access):
    """The way to a client that may be on this host."""

    def is_same_host(self) -> bool:
        """As was said."""
        return True


class Elsewhere(Access):
    """The way to a client on another host."""

    def is_same_host(self) -> bool:
        """As was said."""
        return False


PEERS: Final[dict[str, type[Access]]] = {"local": Here, "remote": Elsewhere}


def access_to(server: str, peer: str) -> Access:
    """What a server would let us reach of a connection."""
    obstacle = OBSTACLES[server]
    return PEERS[peer](None if obstacle else (lambda: -1), obstacle)


def verdicts(case: Case) -> Iterator[tuple[str, Rule]]:
    """`no` to each rule that does not hold, `yes` to the one that decides, and nothing
    to those below it, which are not read."""
    decisive, _ = deciding(case)
    is_decided = False
    for rule in RULES:
        yield "" if is_decided else "yes" if rule is decisive else "no", rule
        is_decided = is_decided or rule is decisive

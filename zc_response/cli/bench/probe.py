"""Quick requests: small, one after the other, on one keep-alive connection.

They show what other clients notice of a download: each one's latency is kept. It is a
helper process (see `helper.py`), and ends when it is told to.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import Any, Final

from zc_response.cli.bench.client import Connection, explained
from zc_response.cli.bench.helper import Helper, play, told_to_end, wait_for_go
from zc_response.cli.bench.load import PATIENCE, Target
from zc_response.cli.bench.stats import percentile

PAUSE: Final = 0.001
"""Seconds between an answer and the next request."""
SHARES: Final[Mapping[str, float]] = {
    "p50": 0.5,
    "p90": 0.9,
    "p99": 0.99,
    "p999": 0.999,
    "max": 1.0,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Quick:
    """What to ask for, and for how many seconds at most."""

    target: Target
    seconds: float

    def helper(self) -> Helper:
        """The process that asks."""
        return Helper(__name__, asdict(self), self.seconds + PATIENCE)


def latencies(connection: Connection, target: Target, seconds: float) -> list[float]:
    """Ask until the parent says that it is enough; the seconds of each request."""
    found: list[float] = []
    deadline = time.perf_counter() + seconds
    while not found or not told_to_end(PAUSE):
        started = time.perf_counter()
        connection.get(target.path, target.size)
        ended = time.perf_counter()
        found.append(ended - started)
        if ended > deadline:
            break
    return found


def summary(found: Sequence[float]) -> dict[str, float]:
    """The percentiles of some latencies, in seconds, and how many there were."""
    shares = {name: percentile(found, share) for name, share in SHARES.items()}
    return {**shares, "quick": len(found)}


def work(request: dict[str, Any]) -> list[float]:
    """Connect, ask once to warm up, wait for the word, then measure."""
    target = Target(**request["target"])
    with explained(), closing(Connection(target.port, PATIENCE)) as connection:
        connection.get(target.path, target.size)
        wait_for_go()
        return latencies(connection, target, request["seconds"])


if __name__ == "__main__":
    sys.exit(play(work))

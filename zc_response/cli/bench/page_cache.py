"""What a huge download leaves in the page cache, and what keeping it clean costs.

No server: a cold file leaves over a TCP connection to a process that discards. Then the
kernel is asked how much of it is in memory.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from zc_response.cli.bench.disks import Disk, resident
from zc_response.cli.bench.errors import BenchmarkError
from zc_response.cli.bench.files import check_space, format_size, make_cold_file
from zc_response.cli.bench.records import Measurement, Record
from zc_response.cli.bench.rounds import Bench
from zc_response.cli.bench.stats import rotated
from zc_response.cli.bench.strategies import by, discarding, settle
from zc_response.guards import close_all
from zc_response.kernel import pages
from zc_response.policy import Policy
from zc_response.sources import FileSource
from zc_response.transmit import Strategy

NAME: Final = "huge.bin"


class Way(NamedTuple):
    """A way to send a huge file."""

    title: str
    strategy: Strategy
    settings: dict[str, Any]


WAYS: Final = {
    "sendfile": Way("sendfile", Strategy.SENDFILE, {}),
    "drop": Way('sendfile, `cache="drop"`', Strategy.SENDFILE, {"cache": "drop"}),
    "direct": Way("`direct`", Strategy.DIRECT, {}),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PageCache:
    """What is measured."""

    size: int
    rounds: int


def measure_page_cache(bench: Bench, record: Record, setup: PageCache) -> None:
    """Measure all of it, in rounds in which each way has its turn."""
    path = bench.files / NAME
    check_space(bench.files, setup.size)
    bench.say(f"making a file of {format_size(setup.size)}")
    make_cold_file(path, setup.size)
    for number in range(setup.rounds):
        for name in rotated(tuple(WAYS), number):
            record.measurements.append(
                Measurement(
                    candidate=name,
                    place=f"{format_size(setup.size)}, cold",
                    round=number,
                    values=_turn(WAYS[name], path),
                )
            )
            bench.advance()


def _turn(way: Way, path: Path) -> dict[str, float]:
    Disk(path=path.parent, kind="").drop_caches(path)
    send: Callable[..., None] = by(way.strategy, Policy(**way.settings))
    with FileSource.open(path) as source, discarding() as sock:
        source.is_kept = True
        began, used = time.monotonic(), time.process_time()
        send(source, sock)
        wall, cpu = time.monotonic() - began, time.process_time() - used
        settle(sock)
        size, left = source.facts.size, _left(source)
    close_all()
    return {"left": left, "rate": size / wall, "cpu_per_byte": cpu / size}


def _left(source: FileSource) -> int:
    """Bytes of a file that are in the page cache: by cachestat(2), else mincore(2)."""
    try:
        return pages.cached(source.fileno(), 0, source.facts.size) * pages.PAGE
    except OSError:
        left = resident(Path(source.path))
    if left is None:
        raise BenchmarkError("neither cachestat (Linux 6.5) nor fincore is here")
    return left

"""Quick requests amid many downloads of one hot file.

Shows whether a server shares its event loop fairly: between downloads, and between
downloads and everyone else.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass

from zc_response.cli.bench.candidates import Candidate
from zc_response.cli.bench.probe import Quick, summary
from zc_response.cli.bench.procfs import Meter
from zc_response.cli.bench.records import Record
from zc_response.cli.bench.rounds import TINY, Bench, blaming, measure_each
from zc_response.cli.bench.servers import Server
from zc_response.cli.bench.stats import least_share
from zc_response.cli.bench.swarm import Swarm


@dataclass(frozen=True, slots=True, kw_only=True)
class Crowd:
    """How many downloads at once, of how large a file, for how many seconds."""

    downloads: int
    size: int
    seconds: float
    rounds: int


def measure_crowd(
    bench: Bench, record: Record, candidates: Sequence[Candidate], crowd: Crowd
) -> None:
    """Add to `record` what the downloads got, and what quick requests noticed."""
    place = f"{crowd.downloads} downloads"
    measure = functools.partial(_measure, bench, crowd)
    measure_each(bench, record, candidates, crowd.rounds, place, measure)


def _measure(
    bench: Bench, crowd: Crowd, candidate: Candidate, number: int
) -> dict[str, float]:
    with bench.warm(candidate, crowd.downloads) as server, blaming(server):
        return _download(bench, server, crowd)


def _download(bench: Bench, server: Server, crowd: Crowd) -> dict[str, float]:
    swarm = Swarm(
        target=bench.target(server, crowd.size),
        downloads=crowd.downloads,
        seconds=crowd.seconds,
    )
    quick = Quick(target=bench.target(server, TINY), seconds=crowd.seconds * 2)
    meter = Meter(server.pid)
    with closing(quick.helper()) as probe, closing(swarm.helper()) as clients:
        probe.wait_until_ready()
        clients.wait_until_ready()
        with meter:
            clients.go()
            probe.go()
            got = clients.result()
        probe.go()
        found = summary(probe.result())
    return {**found, **_shares(got["received"], got["seconds"], meter)}


def _shares(received: list[int], seconds: float, meter: Meter) -> dict[str, float]:
    total = sum(received)
    return {
        "rate": total / seconds,
        "least": least_share(received),
        "cpu_per_byte": meter.usage.cpu_seconds / max(1, total),
    }

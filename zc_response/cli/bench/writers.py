"""How long does somebody wait who opens a file for writing that is being sent?

Twice: amid many clients that read nothing, so that the kernel holds what they were sent
for as long as they like; and amid downloads whose clients take all that comes.
Then, whether the server gets back what those clients held.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Final

from zc_response.cli.bench.candidates import Candidate, ours
from zc_response.cli.bench.errors import LoadError
from zc_response.cli.bench.files import file_name
from zc_response.cli.bench.holders import Stall
from zc_response.cli.bench.load import Discard
from zc_response.cli.bench.opener import Opening
from zc_response.cli.bench.procfs import Meter, descriptors, tcp_memory
from zc_response.cli.bench.records import Record
from zc_response.cli.bench.rounds import Bench, blaming, measure_each
from zc_response.cli.bench.servers import Server
from zc_response.cli.bench.stalled import (
    CONNECTING,
    many_descriptors,
    settle,
    wait_for_descriptors,
    wanted_descriptors,
)
from zc_response.cli.bench.stats import percentile
from zc_response.cli.bench.swarm import Swarm

LEVELS: Final = ("safe", "strict")
"""The levels of integrity that take a lease."""
SPARE_SECONDS: Final = 1.0
"""How much longer than the writer the downloads go on."""

CUT_WITHIN: Final = 1.0
"""Seconds after the opening in which clients learn that they have been cut off."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Writers:
    """How many clients, of how large a file, and for how long it is opened."""

    stalled: int
    downloads: int
    size: int
    seconds: float
    rounds: int
    inside: Sequence[str] = field(default_factory=tuple)
    """A command that clients are run by: on another host."""


def level_candidates(names: Sequence[str]) -> list[Candidate]:
    """Our FileResponse at each of these levels of integrity."""
    return [
        Candidate(
            name=name,
            title=f"integrity {name}",
            software=ours(ZC_RESPONSE_INTEGRITY=name),
        )
        for name in names
    ]


def measure_writers(
    bench: Bench,
    record: Record,
    candidates: Sequence[Candidate],
    writers: Writers,
    filesystem: str,
) -> None:
    """Add to `record` how long a writer waits on one filesystem."""
    if writers.inside:
        filesystem += ", remote"
    with many_descriptors(wanted_descriptors(writers.stalled)):
        place = f"{filesystem}, {writers.stalled:,} stalled"
        measure = functools.partial(_amid_stalled, bench, writers)
        measure_each(bench, record, candidates, writers.rounds, place, measure)
    plural = "s" if writers.downloads > 1 else ""
    place = f"{filesystem}, {writers.downloads} download{plural}"
    measure = functools.partial(_amid_downloads, bench, writers)
    measure_each(bench, record, candidates, 1, place, measure)


def _amid_stalled(
    bench: Bench, writers: Writers, candidate: Candidate, number: int
) -> dict[str, float]:
    """Open the file once, amid clients that read nothing."""
    with bench.warm(candidate, writers.stalled) as server, blaming(server):
        before = _ready(bench, server, writers.size)
        stall = Stall(
            target=bench.target(server, writers.size),
            clients=writers.stalled,
            seconds=writers.stalled * CONNECTING,
        )
        with closing(stall.helper(writers.inside)) as clients:
            clients.wait_until_ready()
            settle(tcp_memory)
            waits = _open(bench, writers.size, 0)
            time.sleep(CUT_WITHIN)
            clients.go()
            left = clients.result()
        values = _summary(waits, writers.stalled, left["answered"])
        return values | wait_for_descriptors(server, before)


def _amid_downloads(
    bench: Bench, writers: Writers, candidate: Candidate, number: int
) -> dict[str, float]:
    """Open the file again and again, amid clients that take what comes."""
    with bench.warm(candidate) as server, blaming(server):
        before = _ready(bench, server, writers.size)
        swarm = Swarm(
            target=bench.target(server, writers.size),
            downloads=writers.downloads,
            seconds=writers.seconds + SPARE_SECONDS,
        )
        with closing(swarm.helper(writers.inside)) as clients:
            clients.wait_until_ready()
            clients.go()
            waits = _open(bench, writers.size, writers.seconds)
            received = clients.result()["received"]
        if not all(received):
            raise LoadError("a download got nothing")
        values = _summary(waits, writers.downloads, writers.downloads)
        return values | wait_for_descriptors(server, before)


def _ready(bench: Bench, server: Server, size: int) -> int:
    """Have a server send the file once; the descriptors it has open after that."""
    target = bench.target(server, size)
    Discard(seconds=0, warm_up=False, slowest=1e6).run(target, Meter(server.pid))
    return descriptors(server.pid)


def _open(bench: Bench, size: int, seconds: float) -> list[float]:
    path = bench.files / file_name(size)
    with closing(Opening(path=str(path), seconds=seconds).helper()) as writer:
        writer.wait_until_ready()
        writer.go()
        waits: list[float] = writer.result()
        return waits


def _summary(waits: Sequence[float], clients: int, answered: int) -> dict[str, float]:
    return {
        "openings": len(waits),
        "p50": percentile(waits, 0.5),
        "p99": percentile(waits, 0.99),
        "max": max(waits),
        "clients": clients,
        "cut": clients - answered,
    }

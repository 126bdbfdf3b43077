"""What clients cost that ask for a large file and read nothing.

Counted for each of them: the server's own memory, and the kernel's for its sockets.
Then, whether others are still served, whether those who read at last get the whole
file, and whether everything comes back when they go.
"""

from __future__ import annotations

import functools
import resource
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from typing import Final

from zc_response.cli.bench.candidates import Candidate
from zc_response.cli.bench.errors import LoadError
from zc_response.cli.bench.files import file_name
from zc_response.cli.bench.holders import Stall
from zc_response.cli.bench.load import Discard
from zc_response.cli.bench.probe import Quick, summary
from zc_response.cli.bench.procfs import (
    Meter,
    descriptors,
    resident,
    tcp_aborts_on_memory,
    tcp_memory,
)
from zc_response.cli.bench.records import Record
from zc_response.cli.bench.rounds import TINY, Bench, blaming, measure_each
from zc_response.cli.bench.servers import Server

SETTLE_STEP: Final = 0.5
SETTLE_WITHIN: Final = 20.0
"""Seconds within which the send buffers should be full."""
BACK_WITHIN: Final = 10.0
"""Seconds within which a server should have closed what its clients left."""
CONNECTING: Final = 0.05
"""Seconds that a client may take to get its first byte, on average."""
MOST_EACH: Final = 1.9
"""Descriptors that a download may take on average while clients arrive. A server that
needs two for each, to the end, runs out of them and fails."""
OTHER_DESCRIPTORS: Final = 100
"""What a server has open beside its downloads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stalled:
    """How many clients, how large a file they ask for, for how long others ask."""

    clients: int
    size: int
    seconds: float
    rounds: int
    read: int = 0
    """How many of them read to the end at last."""


def measure_stalled(
    bench: Bench, record: Record, candidates: Sequence[Candidate], stalled: Stalled
) -> None:
    """Add to `record` what the clients cost each candidate."""
    place = f"{stalled.clients:,} stalled"
    with many_descriptors(wanted_descriptors(stalled.clients)) as limit:
        able = replace(stalled, clients=possible(stalled.clients, limit))
        if able.clients < stalled.clients:
            bench.say(f"{limit} descriptors allow {able.clients} clients")
        measure = functools.partial(_measure, bench, able)
        measure_each(bench, record, candidates, stalled.rounds, place, measure)


def _measure(
    bench: Bench, stalled: Stalled, candidate: Candidate, number: int
) -> dict[str, float]:
    with bench.warm(candidate, stalled.clients) as server, blaming(server):
        return _stall(bench, server, stalled)


def _stall(bench: Bench, server: Server, stalled: Stalled) -> dict[str, float]:
    target = bench.target(server, stalled.size)
    # One whole download brings the file and the code that sends it into memory.
    Discard(seconds=0, warm_up=False).run(target, Meter(server.pid))
    stall = Stall(
        target=target,
        clients=stalled.clients,
        seconds=stalled.clients * CONNECTING,
        read=stalled.read,
        file=str(bench.files / file_name(stalled.size)),
    )
    before = _State.of(server)
    with closing(stall.helper()) as clients:
        clients.wait_until_ready()
        settle(tcp_memory)
        full = _State.of(server)
        found = _probe(bench, server, stalled.seconds)
        aborts = tcp_aborts_on_memory() - before.aborts
        clients.go()
        left = clients.result()
    if not left["answered"]:
        raise LoadError("not one of the clients had an answer")
    return {
        **found,
        **_each(before, full, left["answered"], left["memory"]),
        **wait_for_descriptors(server, before.descriptors),
        "aborts": aborts,
        **left["read"],
    }


def _probe(bench: Bench, server: Server, seconds: float) -> dict[str, float]:
    quick = Quick(target=bench.target(server, TINY), seconds=seconds)
    with closing(quick.helper()) as probe:
        probe.wait_until_ready()
        probe.go()
        return summary(probe.result())


@dataclass(frozen=True, slots=True, kw_only=True)
class _State:
    """What a server and the kernel hold."""

    resident: int
    tcp: int
    descriptors: int
    aborts: int

    @classmethod
    def of(cls, server: Server) -> _State:
        return cls(
            resident=resident(server.pid),
            tcp=tcp_memory(),
            descriptors=descriptors(server.pid),
            aborts=tcp_aborts_on_memory(),
        )


def _each(before: _State, full: _State, clients: int, theirs: int) -> dict[str, float]:
    return {
        "stalled": clients,
        "descriptors": (full.descriptors - before.descriptors) / clients,
        "resident": (full.resident - before.resident) / clients,
        "tcp": (full.tcp - before.tcp) / clients,
        "client_tcp": theirs / clients,
    }


def settle(read: Callable[[], int]) -> None:
    """Wait until a number grows by less than a hundredth, or the time is over."""
    deadline = time.monotonic() + SETTLE_WITHIN
    last = read()
    while time.monotonic() < deadline:
        time.sleep(SETTLE_STEP)
        now = read()
        if now <= last * 1.01:
            return
        last = now


def wait_for_descriptors(server: Server, before: int) -> dict[str, float]:
    """How many descriptors are too many, and how long it took until none was."""
    started = time.monotonic()
    while (left := descriptors(server.pid) - before) > 0:
        if time.monotonic() - started > BACK_WITHIN:
            break
        time.sleep(0.05)
    return {"left": max(0, left), "back": time.monotonic() - started}


# Descriptors -----------------------------------------------------------------------


def wanted_descriptors(clients: int) -> int:
    """How many descriptors a process may need for so many clients."""
    return int(MOST_EACH * clients) + OTHER_DESCRIPTORS


def possible(clients: int, limit: int) -> int:
    """How many clients a limit of descriptors allows, of those that are wanted."""
    return max(1, min(clients, int((limit - OTHER_DESCRIPTORS) / MOST_EACH)))


@contextmanager
def many_descriptors(wanted: int) -> Iterator[int]:
    """Let processes started in the block have `wanted` descriptors, or all we may.

    Gives the limit they have. Only CAP_SYS_RESOURCE lets it exceed the hard one.
    """
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    hard = before[1]
    try:
        _set_limit(max(wanted, hard))
    except (ValueError, OSError):
        _set_limit(hard)
    try:
        yield resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def _set_limit(count: int) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (count, count))

"""Paired runs: who is measured, and when.

In each round every candidate has its turn, one right after the other, and each round
begins with another one. So a slow minute of the machine falls on all alike, and no
candidate always runs in the wake of the same other. The servers stay up throughout.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from zc_response.cli.bench.candidates import Candidate
from zc_response.cli.bench.client import LOOPBACK, Traffic
from zc_response.cli.bench.errors import BenchmarkError, LoadError, ServerError
from zc_response.cli.bench.figures import amount, cost, quantities, speed
from zc_response.cli.bench.files import KIB, MIB, file_name, format_size
from zc_response.cli.bench.load import Discard, Load, Target, check_body
from zc_response.cli.bench.procfs import Meter, Usage
from zc_response.cli.bench.records import Kind, Measurement, Record, Sample
from zc_response.cli.bench.servers import Server, pinned
from zc_response.cli.bench.stats import rotated

Say = Callable[[str], None]
"""Takes a line on how things go."""

TINY: Final = 4 * KIB
"""The file a server warms up with before its memory is watched."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pins:
    """The CPUs that servers and clients are bound to; None leaves it to the kernel."""

    server: int | None = None
    client: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What all measurements of one benchmark share."""

    files: Path
    scratch: Path
    pins: Pins
    say: Say
    host: str = LOOPBACK
    """Where the servers listen."""
    advance: Callable[[], None] = lambda: None
    """Called at the end of each turn."""

    @contextmanager
    def serving(self, candidate: Candidate, connections: int = 0) -> Iterator[Server]:
        """Run a candidate's server, able to hold so many connections."""
        scratch = self.scratch / candidate.name
        with ExitStack() as stack:
            with pinned(self.pins.server):
                server = Server(
                    candidate.software, self.files, scratch, connections, self.host
                )
                stack.enter_context(server)
            yield server

    @contextmanager
    def warm(self, candidate: Candidate, connections: int = 0) -> Iterator[Server]:
        """The same, after a first request: what a server loads late is loaded."""
        with self.serving(candidate, connections) as server:
            self.check(server, TINY)
            yield server

    def target(self, server: Server, size: int) -> Target:
        """The file of that size on that server."""
        path = server.path(file_name(size))
        return Target(
            port=server.port, path=path, size=size, host=server.host, tls=server.tls
        )

    def check(self, server: Server, size: int) -> None:
        """Check that a server sends the file of that size, byte for byte."""
        with blaming(server):
            check_body(self.target(server, size), self.files / file_name(size))

    def sample(
        self, candidate: Candidate, server: Server, load: Load, size: int, number: int
    ) -> Sample:
        """Measure one run."""
        meter = Meter(server.pid)
        with blaming(server), pinned(self.pins.client):
            traffic = load.run(self.target(server, size), meter)
        return _sample(candidate, load, size, number, traffic, meter.usage)


@contextmanager
def blaming(server: Server) -> Iterator[None]:
    """If something goes wrong because the server has died, say that."""
    try:
        yield
    except LoadError as exc:
        try:
            server.check()
        except ServerError as death:
            raise LoadError(str(death)) from exc
        raise


def _sample(
    candidate: Candidate,
    load: Load,
    size: int,
    number: int,
    traffic: Traffic,
    usage: Usage,
) -> Sample:
    return Sample(
        candidate=candidate.name,
        size=size,
        round=number,
        client=load.name,
        connections=load.connections,
        requests=traffic.requests,
        body_bytes=traffic.body_bytes,
        seconds=traffic.seconds,
        cpu_seconds=usage.cpu_seconds,
        rss_before=usage.rss_before,
        rss_peak=usage.rss_peak,
    )


# Throughput ------------------------------------------------------------------------


def measure_throughput(
    bench: Bench,
    record: Record,
    candidates: Sequence[Candidate],
    loads: dict[int, Load],
    rounds: int,
) -> None:
    """Add to `record` the samples of all candidates with all sizes."""
    with ExitStack() as stack:
        servers = _start(bench, record, candidates, stack)
        for size, load in loads.items():
            able = [
                candidate
                for candidate in candidates
                if candidate.name in servers and candidate.serves(size)
            ]
            _Paired(bench, record, servers, load, size).run(able, rounds)


def _start(
    bench: Bench, record: Record, candidates: Sequence[Candidate], stack: ExitStack
) -> dict[str, Server]:
    """Start all servers, and put them on the stack. One that fails is out."""
    servers = {}
    for candidate in candidates:
        bench.say(f"starting {candidate.name}")
        try:
            servers[candidate.name] = stack.enter_context(bench.serving(candidate))
        except ServerError as exc:
            record.fail(candidate.name, None, str(exc))
            bench.say(f"{candidate.name} is out: {exc}")
    return servers


class _Paired:
    """The rounds with one file. A candidate that fails once is out."""

    def __init__(
        self,
        bench: Bench,
        record: Record,
        servers: dict[str, Server],
        load: Load,
        size: int,
    ) -> None:
        self._bench = bench
        self._record = record
        self._servers = servers
        self._load = load
        self._size = size

    def run(self, candidates: Sequence[Candidate], rounds: int) -> None:
        """Check all candidates, then give each its turn in every round."""
        able = [candidate for candidate in candidates if self._try_check(candidate)]
        for number in range(rounds):
            for candidate in rotated(able, number):
                if not self._try_sample(candidate, number, rounds):
                    able.remove(candidate)

    def _try_check(self, candidate: Candidate) -> bool:
        try:
            self._bench.check(self._servers[candidate.name], self._size)
        except LoadError as exc:
            self._fail(candidate, exc)
            return False
        return True

    def _try_sample(self, candidate: Candidate, number: int, rounds: int) -> bool:
        server = self._servers[candidate.name]
        try:
            sample = self._bench.sample(
                candidate, server, self._load, self._size, number
            )
        except LoadError as exc:
            self._fail(candidate, exc)
            return False
        self._record.samples.append(sample)
        self._bench.advance()
        place = f"{format_size(self._size)}, round {number + 1} of {rounds}"
        self._bench.say(f"{place}: {candidate.name:<24} {_figures(sample)}")
        return True

    def _fail(self, candidate: Candidate, error: LoadError) -> None:
        self._record.fail(candidate.name, self._size, str(error))
        size = format_size(self._size)
        self._bench.say(f"{size}: {candidate.name} is out: {error}")


def _figures(sample: Sample) -> str:
    both = (speed(sample.size), cost(sample.size))
    return ", ".join(f"{amount(figure.of(sample))} {figure.unit}" for figure in both)


# One run after the other -----------------------------------------------------------

Measure = Callable[[Candidate, int], dict[str, float]]
"""Measures a candidate in a round; gives the quantities of it."""


def measure_each(
    bench: Bench,
    record: Record,
    candidates: Sequence[Candidate],
    rounds: int,
    place: str,
    measure: Measure,
) -> None:
    """Give each candidate its turn in every round; one that fails once is out."""
    able = list(candidates)
    for number in range(rounds):
        for candidate in rotated(able, number):
            try:
                values = measure(candidate, number)
            except BenchmarkError as exc:
                able.remove(candidate)
                record.fail(candidate.name, None, f"{place}: {exc}")
                bench.say(f"{place}: {candidate.name} is out: {exc}")
                continue
            finally:
                bench.advance()
            measurement = Measurement(
                candidate=candidate.name, place=place, round=number, values=values
            )
            record.measurements.append(measurement)
            told = _told(record.kind, values)
            bench.say(
                f"{place}, round {number + 1} of {rounds}: {candidate.name:<24} {told}"
            )


def _told(kind: Kind, values: Mapping[str, float]) -> str:
    return ", ".join(
        f"{quantity.title} {amount(values[quantity.key] / quantity.scale)}"
        f" {quantity.unit}".rstrip()
        for quantity in quantities(kind)
        if quantity.key in values
    )


# Memory ----------------------------------------------------------------------------


def measure_memory(
    bench: Bench, record: Record, candidates: Sequence[Candidate], size: int
) -> None:
    """Add to `record` one large download from each candidate, freshly started.

    The server first sends a tiny file, so that what it loads late is not counted.
    """
    once = Discard(seconds=0, warm_up=False)
    for candidate in candidates:
        try:
            with bench.warm(candidate) as server:
                sample = bench.sample(candidate, server, once, size, 0)
        except (LoadError, ServerError) as exc:
            record.fail(candidate.name, size, str(exc))
            bench.say(f"{candidate.name} failed: {exc}")
            continue
        record.samples.append(sample)
        bench.advance()
        bench.say(f"{candidate.name}: grew by {sample.rss_growth / MIB:.1f} MiB")

"""Does a client ever get bytes that the file never had at one moment?

Files are overwritten, truncated, punched and replaced all the time, while many clients
ask for them and check every byte of every body (see `states.py`). What they may get
depends on the policy's `integrity`; that a body ends where it was said to end, or the
connection ends with it, does not.
"""

from __future__ import annotations

import functools
import math
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from zc_response.cli.bench.candidates import Candidate, ours
from zc_response.cli.bench.client import Connection, explained
from zc_response.cli.bench.errors import LoadError
from zc_response.cli.bench.helper import Helper
from zc_response.cli.bench.load import PATIENCE
from zc_response.cli.bench.procfs import descriptors
from zc_response.cli.bench.reader import CROWD, MANNERS, Reading, check_sizes
from zc_response.cli.bench.records import Record
from zc_response.cli.bench.rounds import Bench, blaming, measure_each
from zc_response.cli.bench.scribe import Script
from zc_response.cli.bench.servers import Gunicorn, Server
from zc_response.cli.bench.stalled import wait_for_descriptors

STACKS: Final = {
    f"{http}-{loop}": (protocol, loop)
    for http, protocol in (
        ("h11", "zc_response.integrations.uvicorn:ZeroCopyH11Protocol"),
        ("httptools", "zc_response.integrations.uvicorn:ZeroCopyHttpToolsProtocol"),
    )
    for loop in ("asyncio", "uvloop")
}
"""uvicorn's protocols and loops."""
WORKERS: Final = ("sync", "gthread", "gevent", "asgi")
"""gunicorn's workers."""

GOOD: Final = ("whole", "partial", "unsatisfied", "refused", "incomplete")
BAD: Final = ("mixtures", "stale", "mislabelled", "desyncs")
PROMISED: Final[Mapping[str, Sequence[str]]] = {
    "strict": BAD,
    "safe": ("desyncs",),
    "fast": ("desyncs",),
}
"""What there is none of, by the level of integrity."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Churn:
    """How many responses, of which files, under which level, in how many seconds."""

    responses: int
    seconds: float
    sizes: Sequence[int]
    integrity: str
    inside: Sequence[str] = field(default_factory=tuple)
    """A command that clients are run by: on another host."""


def stack_candidates(names: Sequence[str], integrity: str) -> list[Candidate]:
    """Our FileResponse on each of these stacks, at that level."""
    return [_candidate(name, integrity) for name in names]


def _candidate(name: str, integrity: str) -> Candidate:
    if name in WORKERS:
        gunicorn = Gunicorn(
            worker=name,
            factory="response",
            has_setting=True,
            environment={"ZC_RESPONSE_INTEGRITY": integrity},
        )
        return Candidate(name=name, title=f"gunicorn, {name}", software=gunicorn)
    http, loop = STACKS[name]
    title = f"uvicorn, {name.replace('-', ' on ')}"
    uvicorn = ours(http=http, loop=loop, ZC_RESPONSE_INTEGRITY=integrity)
    return Candidate(name=name, title=title, software=uvicorn)


def measure_churn(
    bench: Bench,
    record: Record,
    candidates: Sequence[Candidate],
    churn: Churn,
    filesystem: str,
) -> None:
    """Add to `record` what clients got of files that are written to."""
    check_sizes(churn.sizes)
    place = ", ".join([churn.integrity, filesystem, *(["remote"] * bool(churn.inside))])
    run = functools.partial(_measure, bench, record, churn)
    measure_each(bench, record, candidates, 1, place, run)


def _measure(
    bench: Bench, record: Record, churn: Churn, candidate: Candidate, number: int
) -> dict[str, float]:
    with bench.warm(candidate) as server, blaming(server):
        run = _Run(bench, server, churn)
        values, examples = run.run()
        server.check()
    for kind in PROMISED[churn.integrity]:
        if values[kind]:
            told = "; ".join(examples)
            reason = f"{churn.integrity}: {values[kind]:.0f} {kind} ({told})"
            record.fail(candidate.name, None, reason)
    return values


class _Run:
    """One server, its files, those who write to them and those who ask for them."""

    def __init__(self, bench: Bench, server: Server, churn: Churn) -> None:
        self._bench = bench
        self._server = server
        self._churn = churn
        self._names = [f"churn-{number}.bin" for number in range(len(churn.sizes))]
        self._logs = [
            str(bench.scratch / f"states-{name}-{server.pid}") for name in self._names
        ]

    def run(self) -> tuple[dict[str, float], list[str]]:
        """What was counted, and some failures in words."""
        try:
            with ExitStack() as stack:
                scribes = [stack.enter_context(closing(h)) for h in self._scribes()]
                _each(scribes, Helper.wait_until_ready)
                self._warm_up()
                before = descriptors(self._server.pid)
                readers = [stack.enter_context(closing(h)) for h in self._readers()]
                _each(readers, Helper.wait_until_ready)
                _each([*scribes, *readers], Helper.go)
                seconds = self._wait(readers)
                found = [_last(reader) for reader in readers]
                _each(scribes, Helper.go)
                changes = [scribe.result() for scribe in scribes]
            left = wait_for_descriptors(self._server, before)
        finally:
            for log in self._logs:
                Path(log).unlink(missing_ok=True)
        return self._summary(found, changes, seconds) | left, [
            example for each in found for example in each["examples"]
        ]

    def _scribes(self) -> list[Helper]:
        files = zip(self._names, self._churn.sizes, self._logs, strict=True)
        return [
            Script(
                path=str(self._bench.files / name),
                number=number,
                size=size,
                log=log,
                seconds=self._churn.seconds + PATIENCE,
            ).helper()
            for number, (name, size, log) in enumerate(files)
        ]

    def _readers(self) -> list[Helper]:
        churn = self._churn
        return [
            Reading(
                host=self._server.host,
                port=self._server.port,
                manner=manner,
                paths=[self._server.path(name) for name in self._names],
                sizes=churn.sizes,
                logs=self._logs,
                seconds=churn.seconds + PATIENCE,
                seed=seed,
            ).helper(churn.inside)
            for seed, manner in enumerate(CROWD)
        ]

    def _warm_up(self) -> None:
        """Ask once for each file: the server keeps them open from then on."""
        server = self._server
        making = Connection(server.port, PATIENCE, server.host)
        with explained(), closing(making) as connection:
            for name, size in zip(self._names, self._churn.sizes, strict=True):
                connection.get(server.path(name), size)

    def _wait(self, readers: Sequence[Helper]) -> float:
        """Wait until there are enough responses, and end the clients."""
        began = time.monotonic()
        deadline = began + self._churn.seconds
        responses = 0
        while responses < self._churn.responses and time.monotonic() < deadline:
            responses = sum(int(reader.newest_line()) for reader in readers)
        _each(readers, Helper.go)
        return time.monotonic() - began

    def _summary(
        self,
        found: Sequence[dict[str, Any]],
        changes: Sequence[dict[str, Any]],
        seconds: float,
    ) -> dict[str, float]:
        counts: Counter[str] = Counter()
        for each in found:
            counts.update(each["counts"])
        if not counts["whole"]:
            raise LoadError(f"not one whole body came: {dict(counts)}")
        return {
            "responses": counts.total(),
            **{kind: counts[kind] for kind in (*GOOD, *BAD)},
            "states": max(each["states"] for each in found),
            "changes": math.fsum(each["changes"] for each in changes),
            "longest_wait": max(each["longest_wait"] for each in changes),
            "rate": counts.total() / seconds,
        }


def _each(helpers: Sequence[Helper], do: Any) -> None:
    for helper in helpers:
        do(helper)


def _last(helper: Helper) -> dict[str, Any]:
    """What a client found in the end."""
    while True:
        found = helper.result()
        if isinstance(found, dict):
            return found


def connections_of(crowd: Sequence[str] = CROWD) -> int:
    """How many connections all clients have."""
    return sum(MANNERS[manner].connections for manner in crowd)

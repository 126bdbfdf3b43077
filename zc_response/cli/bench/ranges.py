"""How many ranges a second leave that lie at the end of a large file."""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPConnection, IncompleteRead
from pathlib import Path

from zc_response.cli.bench.candidates import Candidate
from zc_response.cli.bench.client import explained
from zc_response.cli.bench.errors import LoadError
from zc_response.cli.bench.files import file_name, format_size
from zc_response.cli.bench.load import PATIENCE, Target, Wrk
from zc_response.cli.bench.procfs import Meter
from zc_response.cli.bench.records import Record
from zc_response.cli.bench.rounds import Bench, blaming, measure_each
from zc_response.cli.bench.servers import Server


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranges:
    """How many bytes are asked for, at the end of how large a file, for how long."""

    wrk: str
    last: int
    size: int
    seconds: float
    rounds: int


def measure_ranges(
    bench: Bench, record: Record, candidates: Sequence[Candidate], ranges: Ranges
) -> None:
    """Add to `record` how many ranges each candidate sends."""
    place = f"the last {format_size(ranges.last)} of {format_size(ranges.size)}"
    measure = functools.partial(_measure, bench, ranges)
    measure_each(bench, record, candidates, ranges.rounds, place, measure)


def _measure(
    bench: Bench, ranges: Ranges, candidate: Candidate, number: int
) -> dict[str, float]:
    with bench.serving(candidate) as server, blaming(server):
        return _ask(bench, server, ranges)


def _ask(bench: Bench, server: Server, ranges: Ranges) -> dict[str, float]:
    whole = bench.target(server, ranges.size)
    field = f"bytes=-{ranges.last}"
    check_end(whole, field, bench.files / file_name(ranges.size), ranges.last)
    load = Wrk(
        program=ranges.wrk, seconds=ranges.seconds, connections=1, range_field=field
    )
    meter = Meter(server.pid)
    part = Target(port=whole.port, path=whole.path, size=ranges.last, host=whole.host)
    traffic = load.run(part, meter)
    return {
        "rate": traffic.requests / traffic.seconds,
        "cpu": meter.usage.cpu_seconds / traffic.requests,
    }


def check_end(target: Target, field: str, file: Path, last: int) -> None:
    """Check that a server answers a field Range with the last bytes of `file`."""
    with file.open("rb") as opened:
        opened.seek(-last, os.SEEK_END)
        expected = opened.read()
    connection = HTTPConnection(target.host, target.port, timeout=PATIENCE)
    with explained(), closing(connection):
        connection.request("GET", target.path, headers={"Range": field})
        response = connection.getresponse()
        if response.status != 206:
            raise LoadError(f"the answer is not 206 but {response.status}")
        try:
            body = response.read()
        except IncompleteRead:
            raise LoadError("the body ended early") from None
        if body != expected:
            raise LoadError("the body is not the end of the file")

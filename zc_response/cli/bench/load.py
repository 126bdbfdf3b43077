"""Puts a server under load, and meters it exactly while the load is on.

Two generators: `Discard` for throughput, by the client in `client.py`; `Wrk` for
requests per second of small files, where a client in Python would be too slow.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Protocol

from zc_response.cli.bench import client
from zc_response.cli.bench.client import (
    LOOPBACK,
    Request,
    Traffic,
    connection,
    explained,
)
from zc_response.cli.bench.errors import LoadError, MissingError
from zc_response.cli.bench.files import MIB
from zc_response.cli.bench.helper import Helper
from zc_response.cli.bench.procfs import Meter

LIMIT: Final = 1_000_000
"""The most requests of one run, on one connection."""
PATIENCE: Final = 30.0
"""How many seconds a server may say nothing."""
SLOWEST: Final = 20 * MIB
"""Bytes per second below which a server counts as hanging."""
SMALL: Final = MIB
"""Below this size requests per second are the figure, and wrk the client."""

_SUMMARY: Final = Path(__file__).with_name("summary.lua")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A file on a server."""

    port: int
    path: str
    size: int
    host: str = LOOPBACK
    tls: bool = False


class Load(Protocol):
    """A way to put a server under load."""

    @property
    def name(self) -> str:
        """What the client is called in reports."""

    @property
    def connections(self) -> int:
        """How many connections it uses."""

    def run(self, target: Target, meter: Meter) -> Traffic:
        """Make the load, with the meter running from the first byte to the last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Discard:
    """Keep-alive connections whose bodies the kernel throws away."""

    seconds: float
    connections: int = 1
    warm_up: bool = True
    slowest: float = SLOWEST

    @property
    def name(self) -> str:
        """What the client is called in reports."""
        return "discarding client"

    def run(self, target: Target, meter: Meter) -> Traffic:
        """Make the load, with the meter running from the first byte to the last."""
        with closing(self.helper(target)) as process:
            process.wait_until_ready()
            with meter:
                process.go()
                result = process.result()
        return Traffic(**result)

    def helper(self, target: Target) -> Helper:
        """The process that makes the load."""
        patience = allowance(target.size, self.connections, self.seconds, self.slowest)
        return Helper(client.__name__, asdict(self._request(target)), patience)

    def _request(self, target: Target) -> Request:
        return Request(
            port=target.port,
            path=target.path,
            size=target.size,
            connections=self.connections,
            seconds=self.seconds,
            warm_up=self.warm_up,
            limit=LIMIT,
            patience=PATIENCE,
            host=target.host,
            tls=target.tls,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Wrk:
    """The load generator wrk: one thread, many connections."""

    program: str
    seconds: float
    connections: int = 32
    range_field: str = ""
    """The value of a field Range; none if it is empty."""

    @property
    def name(self) -> str:
        """What the client is called in reports."""
        return "wrk"

    def run(self, target: Target, meter: Meter) -> Traffic:
        """Make the load, with the meter running from the first byte to the last."""
        with meter:
            try:
                done = subprocess.run(
                    self.command(target),
                    capture_output=True,
                    text=True,
                    timeout=self.seconds + PATIENCE,
                    check=False,
                )
            except subprocess.TimeoutExpired:
                raise LoadError("wrk did not end in time") from None
        if done.returncode:
            raise LoadError(f"wrk failed: {done.stderr.strip()}")
        return parse_summary(done.stdout, target.size)

    def command(self, target: Target) -> list[str]:
        """The command that makes it."""
        seconds = max(1, round(self.seconds))  # wrk takes whole ones
        scheme = "https" if target.tls else "http"
        url = f"{scheme}://127.0.0.1:{target.port}{target.path}"
        options = [f"-c{self.connections}", f"-d{seconds}s", "-s", str(_SUMMARY)]
        if self.range_field:
            options += ["-H", f"Range: {self.range_field}"]
        return [self.program, "-t1", *options, url]


def parse_summary(output: str, size: int) -> Traffic:
    """The traffic that wrk reports in its last line."""
    summary: dict[str, int] = json.loads(output.rstrip().rpartition("\n")[2])
    requests, failed = summary["requests"], summary["failed"]
    if failed or summary["timeouts"]:
        raise LoadError(f"wrk saw {failed} errors and {summary['timeouts']} timeouts")
    if not requests:
        raise LoadError("wrk got no answer")
    if summary["bytes"] < requests * size:
        raise LoadError(
            f"{requests} bodies of {size} bytes should have come; fewer did"
        )
    return Traffic(
        requests=requests,
        body_bytes=requests * size,
        seconds=summary["microseconds"] / 1e6,
    )


def find_wrk(program: str | None) -> str | None:
    """Where wrk is, or None. Raises MissingError if it was named and is not there."""
    found = shutil.which(program or "wrk")
    if found is None and program is not None:
        raise MissingError(f"there is no program {program!r}")
    return found


def choose_load(size: int, seconds: float, connections: int, wrk: str | None) -> Load:
    """The load that fits a file of `size` bytes."""
    if size >= SMALL:
        return Discard(seconds=seconds, connections=connections)
    if wrk is None:
        return Discard(seconds=seconds, connections=1)
    return Wrk(program=wrk, seconds=seconds)


def allowance(
    size: int, connections: int, seconds: float, slowest: float = SLOWEST
) -> float:
    """How many seconds a run may take before it counts as hanging."""
    return seconds + PATIENCE + 2 * size * connections / slowest


def check_body(target: Target, file: Path) -> None:
    """Check that a server sends exactly the bytes of `file`."""
    with (
        explained(),
        closing(
            connection(target.port, PATIENCE, target.host, tls=target.tls)
        ) as asking,
        file.open("rb") as expected,
    ):
        for piece in asking.read(target.path, target.size):
            if expected.read(len(piece)) != piece:
                raise LoadError("the body is not the file")
        asking.expect_silence()

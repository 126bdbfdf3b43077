"""The figures that a run is judged by. Pure.

A sample of one download after the other has a speed and a cost for its size;
a measurement with many clients has the quantities of its kind.

Speed is MB/s for large files and requests/s for small ones; cost is the server's CPU
time for a gigabyte or for a request.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Literal

from zc_response.cli.bench.files import KIB
from zc_response.cli.bench.load import SMALL
from zc_response.cli.bench.records import Kind, Sample


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """Something that is computed from a sample, and its unit."""

    unit: str
    of: Callable[[Sample], float]


THROUGHPUT: Final = Figure(unit="MB/s", of=lambda s: s.megabytes_per_second)
RATE: Final = Figure(unit="requests/s", of=lambda s: s.requests_per_second)
CPU_PER_GB: Final = Figure(unit="CPU s/GB", of=lambda s: s.cpu_per_gigabyte)
CPU_PER_REQUEST: Final = Figure(unit="CPU µs/request", of=lambda s: s.cpu_per_request)


def speed(size: int) -> Figure:
    """The figure of speed for files of that size."""
    return RATE if size < SMALL else THROUGHPUT


def cost(size: int) -> Figure:
    """The figure of cost for files of that size."""
    return CPU_PER_REQUEST if size < SMALL else CPU_PER_GB


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantity:
    """One number of a measurement, and how people read it."""

    key: str
    title: str
    unit: str = ""
    scale: float = 1.0
    """How many of the number's own units (seconds, bytes) make one of `unit`."""
    better: Literal["lower", "higher", ""] = "lower"
    is_exact: bool = False
    """A count of which every digit matters."""

    def text(self, value: float) -> str:
        """A value in its unit, as people read it."""
        return f"{value:,.0f}" if self.is_exact else amount(value)


def _exact(
    key: str, title: str, better: Literal["lower", "higher", ""] = "lower"
) -> Quantity:
    return Quantity(key=key, title=title, better=better, is_exact=True)


def _latency(key: str, title: str) -> Quantity:
    return Quantity(key=key, title=f"quick {title}", unit="ms", scale=1e-3)


QUICK: Final = (
    _latency("p50", "p50"),
    _latency("p99", "p99"),
    _latency("max", "max"),
)
"""What quick requests notice."""

Group = tuple[Quantity, ...]
"""Quantities that stand side by side."""

GROUPS: Final[dict[Kind, tuple[Group, ...]]] = {
    "throughput": (),
    "ranges": (
        (
            Quantity(key="rate", title="ranges/s", better="higher"),
            Quantity(key="cpu", title="CPU", unit="ms/range", scale=1e-3),
        ),
    ),
    "memory": (),
    "cold": (
        (
            *QUICK,
            Quantity(key="share", title="of disk's rate", better="higher"),
            Quantity(key="cpu", title="CPU", unit="s"),
        ),
    ),
    "crowd": (
        (
            *QUICK,
            Quantity(
                key="rate",
                title="all downloads",
                unit="MB/s",
                scale=1e6,
                better="higher",
            ),
            Quantity(key="least", title="slowest, of mean", better="higher"),
            Quantity(key="cpu_per_byte", title="CPU", unit="s/GB", scale=1e-9),
        ),
    ),
    "stalled": (
        (
            Quantity(key="stalled", title="stalled", better=""),
            Quantity(key="descriptors", title="descriptors, each"),
            Quantity(key="resident", title="resident, each", unit="KiB", scale=KIB),
            Quantity(key="tcp", title="kernel TCP, each", unit="KiB", scale=KIB),
            Quantity(key="client_tcp", title="of it clients'", unit="KiB", scale=KIB),
        ),
        (
            *QUICK,
            Quantity(key="aborts", title="aborted"),
            Quantity(key="left", title="descriptors left"),
            Quantity(key="back", title="back after", unit="s"),
            _exact("whole", "read: whole", better="higher"),
            _exact("spoilt", "read: not whole"),
        ),
    ),
    "churn": (
        (
            _exact("responses", "responses", better="higher"),
            _exact("whole", "whole"),
            _exact("partial", "ranges"),
            _exact("unsatisfied", "416"),
            _exact("refused", "503"),
            _exact("incomplete", "cut off"),
            _exact("mixtures", "mixtures"),
            _exact("stale", "outdated"),
            _exact("mislabelled", "wrong ETag"),
            _exact("desyncs", "desyncs"),
        ),
        (
            _exact("states", "states seen", better="higher"),
            _exact("changes", "changes", better="higher"),
            Quantity(key="longest_wait", title="longest open", unit="ms", scale=1e-3),
            Quantity(key="left", title="descriptors left"),
            Quantity(key="rate", title="responses/s", better="higher"),
        ),
    ),
    "writers": (
        (
            _exact("openings", "openings", better=""),
            Quantity(key="p50", title="open p50", unit="ms", scale=1e-3),
            Quantity(key="p99", title="open p99", unit="ms", scale=1e-3),
            Quantity(key="max", title="open max", unit="ms", scale=1e-3),
            _exact("clients", "clients", better=""),
            _exact("cut", "cut off"),
            _exact("left", "descriptors left"),
        ),
    ),
    "strategies": (
        (
            Quantity(key="rate", title="sent", unit="MB/s", scale=1e6, better="higher"),
            Quantity(key="cpu_per_byte", title="CPU", unit="s/GB", scale=1e-9),
        ),
    ),
    "page-cache": (
        (
            Quantity(key="left", title="left in the page cache", unit="MB", scale=1e6),
            Quantity(key="rate", title="sent", unit="MB/s", scale=1e6, better="higher"),
            Quantity(key="cpu_per_byte", title="CPU", unit="s/GB", scale=1e-9),
        ),
    ),
    "lending": (
        (
            Quantity(key="rate", title="sent", unit="MB/s", scale=1e6, better="higher"),
            Quantity(key="cpu_per_byte", title="CPU", unit="s/GB", scale=1e-9),
        ),
    ),
}


def quantities(kind: Kind) -> Iterator[Quantity]:
    """All that is counted in a measurement of this kind."""
    for group in GROUPS[kind]:
        yield from group


def amount(number: float | None) -> str:
    """A number with three significant digits, and commas from a thousand on."""
    if number is None:
        return ""
    if not number:
        return "0"
    if number >= 100:
        return f"{float(f'{number:.3g}'):,.0f}"
    return f"{number:#.3g}".rstrip(".")

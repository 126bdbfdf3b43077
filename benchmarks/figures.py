"""The figures that a sample is judged by: a speed and a cost for each size. Pure.

Speed is MB/s for large files and requests/s for small ones; cost is the server's CPU
time for a gigabyte or for a request.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from benchmarks.load import SMALL
from benchmarks.records import Sample


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


def amount(number: float | None) -> str:
    """A number with three significant digits, and commas from a thousand on."""
    if number is None:
        return ""
    if number >= 100:
        return f"{float(f'{number:.3g}'):,.0f}"
    return f"{number:#.3g}".rstrip(".")

"""What is plotted: charts from records, as values. Pure.

A chart is a row of panels, a panel a group of bars on one scale: whoever is compared
stands in the same place, in the same colour, in each of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from zc_response.cli.bench.figures import (
    CPU_PER_GB,
    RATE,
    THROUGHPUT,
    Figure,
    Quantity,
)
from zc_response.cli.bench.files import KIB, MIB, format_size
from zc_response.cli.bench.load import SMALL
from zc_response.cli.bench.records import Record
from zc_response.cli.bench.stats import Summary
from zc_response.cli.bench.tables import figure_summary, quantity_summary


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """A candidate's figure; the line across its end goes from `low` to `high`."""

    candidate: str
    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """Bars on one scale."""

    title: str
    bars: Sequence[Bar]


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """Panels under one title, and what they tell."""

    name: str
    """A file's name, without its ending."""
    title: str
    caption: str
    unit: str
    panels: Sequence[Panel]
    logarithmic: bool = False


def charts(records: Iterable[Record]) -> list[Chart]:
    """All charts that these records have figures for."""
    made = [make(record) for record in records for make in _MAKERS[record.kind]]
    return [chart for chart in made if chart.panels]


# Throughput ------------------------------------------------------------------------


def _throughput(record: Record) -> Chart:
    return Chart(
        name="throughput",
        title="Throughput by size",
        caption=f"Higher is better. {_ROUNDS}",
        unit=THROUGHPUT.unit,
        panels=_by_size(record, THROUGHPUT, lambda size: size >= SMALL),
    )


def _requests(record: Record) -> Chart:
    return Chart(
        name="requests",
        title="Requests per second, small files",
        caption=f"Higher is better. {_ROUNDS}",
        unit=RATE.unit,
        panels=_by_size(record, RATE, lambda size: size < SMALL),
    )


def _cpu(record: Record) -> Chart:
    return Chart(
        name="cpu",
        title="CPU time for a gigabyte, by size",
        caption=f"Lower is better. User and system time of the server. {_ROUNDS}",
        unit=CPU_PER_GB.unit,
        panels=_by_size(record, CPU_PER_GB, lambda size: True),
    )


_ROUNDS = "Bars are medians over the rounds, the thin line is their range."


def _by_size(
    record: Record, figure: Figure, wanted: Callable[[int], bool]
) -> list[Panel]:
    return [
        Panel(title=format_size(size), bars=_bars(record, _at(record, size, figure)))
        for size in record.sizes()
        if wanted(size)
    ]


def _at(record: Record, size: int, figure: Figure) -> Callable[[str], Summary | None]:
    return lambda name: figure_summary(record, name, size, figure)


def _bars(record: Record, find: Callable[[str], Summary | None]) -> list[Bar]:
    found = {name: find(name) for name in record.titles}
    return [
        Bar(
            candidate=name,
            value=summary.median,
            low=summary.low,
            high=summary.high,
        )
        for name, summary in found.items()
        if summary is not None
    ]


# Memory ----------------------------------------------------------------------------


def _memory(record: Record) -> Chart:
    bars = [
        Bar(candidate=sample.candidate, value=growth, low=growth, high=growth)
        for sample in record.samples
        for growth in [sample.rss_growth / MIB]
    ]
    return Chart(
        name="memory",
        title="Memory growth while one large file is served",
        caption="Lower is better. Peak resident memory of all of a server's processes, "
        "beyond what it held before.",
        unit="MiB",
        panels=[Panel(title="growth", bars=bars)] if bars else [],
    )


# Many clients ----------------------------------------------------------------------


def _cold(record: Record) -> Chart:
    title = "Latency of quick requests while a file comes from a slow disk"
    return _latency("cold", title, record)


def _crowd(record: Record) -> Chart:
    title = "Latency of quick requests amid many downloads"
    return _latency("crowd", title, record)


def _writers(record: Record) -> Chart:
    title = "How long it takes to open a file for writing that is being sent"
    return _latency("writers", title, record)


def _latency(name: str, title: str, record: Record) -> Chart:
    return Chart(
        name=name,
        title=title,
        caption="Lower is better, and the scale is logarithmic. "
        "Bars are the 99th percentile, the thin line goes from the median to the "
        "slowest.",
        unit="ms",
        panels=_latencies(record),
        logarithmic=True,
    )


def _latencies(record: Record) -> list[Panel]:
    return [
        Panel(title=place, bars=_bars(record, _latency_at(record, place)))
        for place in record.places()
    ]


def _latency_at(record: Record, place: str) -> Callable[[str], Summary | None]:
    def find(name: str) -> Summary | None:
        low, middle, high = (
            _median(record, name, place, Quantity(key=key, title=key, scale=1e-3))
            for key in ("p50", "p99", "max")
        )
        if low is None or middle is None or high is None:
            return None
        return Summary(median=middle, low=low, high=high)

    return find


def _median(record: Record, name: str, place: str, quantity: Quantity) -> float | None:
    found = quantity_summary(record, name, place, quantity)
    return None if found is None else found.median


def _stalled(record: Record) -> Chart:
    kinds = {"resident": "resident memory", "tcp": "kernel's TCP memory"}
    panels = [
        Panel(
            title=f"{place}: {title}",
            bars=_bars(record, _memory_at(record, place, key)),
        )
        for place in record.places()
        for key, title in kinds.items()
    ]
    return Chart(
        name="stalled",
        title="Memory held for each client that reads nothing",
        caption=f"Lower is better. {_ROUNDS}",
        unit="KiB",
        panels=panels,
    )


def _memory_at(record: Record, place: str, key: str) -> Callable[[str], Summary | None]:
    quantity = Quantity(key=key, title=key, scale=KIB)
    return lambda name: quantity_summary(record, name, place, quantity)


# Strategies ------------------------------------------------------------------------


def _strategies(record: Record) -> Chart:
    return Chart(
        name="strategies",
        title="CPU time for a gigabyte, by strategy",
        caption=f"Lower is better. Without a server, over loopback. {_ROUNDS}",
        unit="CPU s/GB",
        panels=[
            Panel(title=place, bars=_bars(record, _cost_at(record, place)))
            for place in record.places()
        ],
    )


def _cost_at(record: Record, place: str) -> Callable[[str], Summary | None]:
    quantity = Quantity(key="cpu_per_byte", title="CPU", scale=1e-9)
    return lambda name: quantity_summary(record, name, place, quantity)


_MAKERS = {
    "throughput": (_throughput, _requests, _cpu),
    "ranges": (),
    "memory": (_memory,),
    "cold": (_cold,),
    "crowd": (_crowd,),
    "stalled": (_stalled,),
    "churn": (),  # what counts is that there are none
    "writers": (_writers,),
    "strategies": (_strategies,),
    "page-cache": (),
    "lending": (),  # a table is enough for two
}

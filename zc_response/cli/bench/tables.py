"""Tables from records, and as plain text. Pure.

A figure is the median over the rounds; "x nginx" is the median of the ratios within the
rounds (see `stats.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from zc_response.cli.bench.figures import (
    GROUPS,
    Figure,
    Group,
    Quantity,
    amount,
    cost,
    speed,
)
from zc_response.cli.bench.files import MIB, format_size
from zc_response.cli.bench.records import Failure, Kind, Record, Sample
from zc_response.cli.bench.stats import Summary, median_ratio, summarize

TITLES: Final[Mapping[Kind, str]] = {
    "throughput": "Speed and CPU cost of one file after the other",
    "ranges": "Ranges at the end of a large file",
    "memory": "Memory while one file is served",
    "cold": "Quick requests while a file comes from a slow disk",
    "crowd": "Quick requests amid many downloads",
    "stalled": "Clients that read nothing",
    "churn": "What clients get of files that are written to",
    "writers": "How long a writer waits",
    "strategies": "Strategies, without a server",
    "page-cache": "What a huge download leaves in the page cache",
    "lending": "Bodies in memory, without a server",
}
PLACES: Final[Mapping[Kind, str]] = {
    "ranges": "range",
    "cold": "filesystem",
    "crowd": "beside",
    "stalled": "beside",
    "churn": "integrity",
    "writers": "beside",
    "strategies": "file",
    "page-cache": "file",
    "lending": "body",
}
METHODS: Final[Mapping[Kind, str]] = {
    "ranges": "by wrk on one keep-alive connection",
    "memory": "peak resident memory of all of a server's processes",
    "cold": "one keep-alive connection asks for 4 KiB, again and again",
    "crowd": "one keep-alive connection asks for 4 KiB, again and again",
    "stalled": "growth of VmRSS and of TCP's memory, for each client",
    "churn": "every byte of every body is checked",
    "writers": "another process opens the file with O_WRONLY",
    "strategies": "over one TCP connection to a process that discards",
    "page-cache": "over one TCP connection to a process that discards",
    "lending": "over one TCP connection to a process that discards",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows of text under a head; the first column names, the others hold figures."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


def tables(record: Record) -> list[Table]:
    """All tables of a record, with everything that was counted."""
    if record.kind == "throughput":
        makers = (_speed_table, _cost_table)
        return [make(record, size) for size in record.sizes() for make in makers]
    if record.kind == "memory":
        return [_memory_table(record)]
    return [_group_table(record, group) for group in GROUPS[record.kind]]


def _speed_table(record: Record, size: int) -> Table:
    figure = speed(size)
    rows = [
        [name, *_cells(record, name, size, figure)] for name in _names(record, size)
    ]
    head = ["candidate", *_head(record, size, figure)]
    return Table(title=_title(record, size, "speed"), head=head, rows=rows)


def _cost_table(record: Record, size: int) -> Table:
    figure = cost(size)
    rows = [
        [
            *[name, *_cells(record, name, size, figure)],
            _growth(record.of(name, size)),
        ]
        for name in _names(record, size)
    ]
    head = ["candidate", *_head(record, size, figure), "+ MiB"]
    return Table(title=_title(record, size, "cost"), head=head, rows=rows)


def _head(record: Record, size: int, figure: Figure) -> list[str]:
    return [figure.unit, "min - max", *(f"x {name}" for name in bases(record, size))]


def bases(record: Record, size: int) -> list[str]:
    """Whom the others are compared with, of those that served that size."""
    return [name for name in record.baselines if record.of(name, size)]


def _title(record: Record, size: int, what: str) -> str:
    client = _client(record.with_size(size)[0])
    rounds = _rounds(record, size)
    return f"{format_size(size)}, {what}  |  {client}  |  rounds: {rounds}"


def _cells(record: Record, name: str, size: int, figure: Figure) -> list[str]:
    compared = bases(record, size)
    summary = figure_summary(record, name, size, figure)
    if summary is None:
        return [""] * (2 + len(compared))
    spread = f"{amount(summary.low)} - {amount(summary.high)}"
    ratios = [ratio(record, name, base, size, figure) for base in compared]
    return [amount(summary.median), spread, *map(amount, ratios)]


def _growth(samples: Sequence[Sample]) -> str:
    return f"{max(sample.rss_growth for sample in samples) / MIB:.1f}"


def _memory_table(record: Record) -> Table:
    limit = record.settings["limit"]
    head = ["candidate", "file", "before MiB", "peak MiB", "growth MiB", "verdict"]
    rows = [
        [
            *[sample.candidate, format_size(sample.size)],
            *[f"{sample.rss_before / MIB:.1f}", f"{sample.rss_peak / MIB:.1f}"],
            f"{sample.rss_growth / MIB:.1f}",
            "too much" if sample.rss_growth > limit else "ok",
        ]
        for sample in record.samples
    ]
    title = f"Memory while one file is served  |  limit: {limit / MIB:.0f} MiB"
    return Table(title=title, head=head, rows=rows)


# Quantities ------------------------------------------------------------------------


def _group_table(record: Record, group: Group) -> Table:
    group = tuple(each for each in group if _is_counted(record, each))
    heads = [f"{each.title} {each.unit}".rstrip() for each in group]
    rows = [
        [name, place, *(_quantity_cell(record, name, place, each) for each in group)]
        for place in record.places()
        for name in record.titles
        if record.at(name, place)
    ]
    return Table(
        title=TITLES[record.kind],
        head=["candidate", PLACES[record.kind], *heads],
        rows=rows,
    )


def _is_counted(record: Record, quantity: Quantity) -> bool:
    return any(quantity.key in each.values for each in record.measurements)


def _quantity_cell(record: Record, name: str, place: str, quantity: Quantity) -> str:
    found = quantity_summary(record, name, place, quantity)
    if found is None:
        return ""
    middle, low, high = map(quantity.text, (found.median, found.low, found.high))
    return middle if found.low == found.high else f"{middle} ({low} - {high})"


def quantity_summary(
    record: Record, name: str, place: str, quantity: Quantity
) -> Summary | None:
    """A quantity over the rounds, in its unit; None if it was not counted."""
    found = record.values(name, place, quantity.key)
    return summarize(value / quantity.scale for value in found)


# As text ---------------------------------------------------------------------------


def text(table: Table) -> str:
    """A table as plain text."""
    columns = zip(table.head, *table.rows, strict=True)
    widths = [max(map(len, column)) for column in columns]
    rule = "─" * (sum(widths) + 2 * (len(widths) - 1))
    lines = [_text_row(row, widths) for row in table.rows]
    return "\n".join(
        [table.title, rule, _text_row(table.head, widths), rule, *lines, rule]
    )


def _text_row(cells: Sequence[str], widths: Sequence[int]) -> str:
    first = cells[0].ljust(widths[0])
    others = [cell.rjust(width) for cell, width in zip(cells, widths, strict=True)]
    return "  ".join([first, *others[1:]]).rstrip()


def failures(record: Record) -> list[str]:
    """Who failed, and why."""
    return [_failure(failure) for failure in record.failures]


def _failure(failure: Failure) -> str:
    size = "" if failure.size is None else f", {format_size(failure.size)}"
    return f"FAILED: {failure.candidate}{size}: {failure.reason}"


# Words and numbers -----------------------------------------------------------------


def describe(record: Record) -> str:
    """How and on what it was measured, in one sentence without its full stop."""
    facts = [f"{name} {fact}" for name, fact in record.environment.items()]
    how = f"{record.date[:10]}, {method(record)}"
    return "; ".join([how, ", ".join(facts)])


def method(record: Record) -> str:
    """How it was measured, in one sentence without its full stop."""
    return ", ".join(_method(record))


def _method(record: Record) -> list[str]:
    if record.kind != "throughput":
        return [METHODS[record.kind], *_settings(record)]
    pinned = "servers and clients on one CPU each" if record.settings["pinned"] else ""
    counts = [_rounds(record, size) for size in record.sizes()]
    rounds = (
        " to ".join(map(str, sorted({min(counts), max(counts)}))) if counts else "0"
    )
    median = f"medians of paired rounds ({rounds}), ratios too"
    return list(filter(None, [median, *_clients(record), pinned]))


def _settings(record: Record) -> list[str]:
    if record.kind == "memory":
        return []  # the table names the limit
    return [f"{name} {value}" for name, value in record.settings.items()]


def _clients(record: Record) -> list[str]:
    sizes: dict[str, list[str]] = {}
    for size in record.sizes():
        client = _client(record.with_size(size)[0])
        sizes.setdefault(client, []).append(format_size(size))
    return [f"{' and '.join(those)} by {client}" for client, those in sizes.items()]


def _client(sample: Sample) -> str:
    plural = "s" if sample.connections > 1 else ""
    return f"{sample.client} on {sample.connections} keep-alive connection{plural}"


def _rounds(record: Record, size: int) -> int:
    return len({sample.round for sample in record.with_size(size)})


def _names(record: Record, size: int) -> list[str]:
    return [name for name in record.titles if record.of(name, size)]


def figure_summary(
    record: Record, name: str, size: int, figure: Figure
) -> Summary | None:
    """A figure over the rounds; None if there is no sample."""
    return summarize(_by_round(record, name, size, figure).values())


def ratio(
    record: Record, name: str, base: str, size: int, figure: Figure
) -> float | None:
    """The median of the ratios within the rounds; None if there is none."""
    ours = _by_round(record, name, size, figure)
    return median_ratio(ours, _by_round(record, base, size, figure))


def _by_round(
    record: Record, name: str, size: int, figure: Figure
) -> Mapping[int, float]:
    return {sample.round: figure.of(sample) for sample in record.of(name, size)}

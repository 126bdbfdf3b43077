"""Records in Markdown, for the README and the documentation. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from zc_response.cli.bench.figures import Figure, amount, cost, speed
from zc_response.cli.bench.files import MIB, format_size
from zc_response.cli.bench.records import Record
from zc_response.cli.bench.tables import (
    Table,
    bases,
    describe,
    failures,
    figure_summary,
    ratio,
    tables,
)


def markdown(record: Record) -> str:
    """The record as the README shows it."""
    if record.kind == "throughput":
        parts = [_markdown_figures(record, figure) for figure in (speed, cost)]
    elif record.kind == "memory":
        parts = [_markdown_memory(record)]
    else:
        parts = [_markdown_group(record, table) for table in tables(record)]
    failed = [f"{each}." for each in failures(record)]
    return "\n\n".join([*parts, *failed, f"{describe(record)}."])


def _markdown_figures(record: Record, choose: Callable[[int], Figure]) -> str:
    sizes = record.sizes()
    head = [f"{format_size(size)}, {choose(size).unit}" for size in sizes]
    rows = [
        [title, *(_markdown_cell(record, name, size, choose(size)) for size in sizes)]
        for name, title in record.titles.items()
    ]
    return _markdown_table(["", *head], rows)


def _markdown_cell(record: Record, name: str, size: int, figure: Figure) -> str:
    summary = figure_summary(record, name, size, figure)
    if summary is None:
        return ""
    ratios = {
        base: ratio(record, name, base, size, figure)
        for base in bases(record, size)
        if base != name
    }
    known = [f"{amount(times)} × {base}" for base, times in ratios.items() if times]
    brackets = f" ({', '.join(known)})" if known else ""
    return f"{amount(summary.median)}{brackets}"


def _markdown_memory(record: Record) -> str:
    head = ["", "file", "memory before, MiB", "growth while it is served, MiB"]
    rows = [
        [
            *[record.titles[sample.candidate], format_size(sample.size)],
            *[f"{sample.rss_before / MIB:.1f}", f"{sample.rss_growth / MIB:.1f}"],
        ]
        for sample in record.samples
    ]
    return _markdown_table(head, rows)


def _markdown_group(record: Record, table: Table) -> str:
    rows = [[record.titles[name], *cells] for name, *cells in table.rows]
    return _markdown_table(["", *table.head[1:]], rows)


def _markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    rule = ["---", *("---:" for _ in head[1:])]
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, rule, *rows])

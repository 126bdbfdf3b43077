"""Tables from records: for the terminal, and in Markdown for the README. Pure.

A figure is the median over the rounds; "x nginx" is the median of the ratios within the
rounds (see `stats.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from benchmarks.candidates import BASELINES
from benchmarks.figures import Figure, amount, cost, speed
from benchmarks.files import MIB, format_size
from benchmarks.records import Failure, Record, Sample
from benchmarks.stats import Summary, median_ratio, summarize

# For the terminal ------------------------------------------------------------------


def terminal(record: Record) -> str:
    """The whole record as plain text."""
    if record.kind == "memory":
        parts = [_memory_table(record)]
    else:
        parts = [_throughput_table(record, size) for size in record.sizes()]
    parts += [_failures(record), describe(record).replace("; ", "\n")]
    return "\n\n".join(filter(None, parts))


def _throughput_table(record: Record, size: int) -> str:
    fast, cheap = speed(size), cost(size)
    ratios = [f"x {name}" for name in BASELINES]
    head = [
        *["candidate", fast.unit, "min - max", *ratios],
        *[cheap.unit, "min - max", *ratios, "peak MiB", "+ MiB"],
    ]
    rows = [
        [
            *[name, *_cells(record, name, size, fast)],
            *_cells(record, name, size, cheap),
            *_memory_cells(record.of(name, size)),
        ]
        for name in _names(record, size)
    ]
    return f"{_title(record, size)}\n{_text_table(head, rows)}"


def _title(record: Record, size: int) -> str:
    client = _client(record.with_size(size)[0])
    rounds = _rounds(record, size)
    return f"{format_size(size)}  |  {client}  |  rounds: {rounds}"


def _cells(record: Record, name: str, size: int, figure: Figure) -> list[str]:
    summary = _summary(record, name, size, figure)
    if summary is None:
        return [""] * (2 + len(BASELINES))
    spread = f"{amount(summary.low)} - {amount(summary.high)}"
    ratios = [_ratio(record, name, base, size, figure) for base in BASELINES]
    return [amount(summary.median), spread, *map(amount, ratios)]


def _memory_cells(samples: Sequence[Sample]) -> list[str]:
    peak = max(sample.rss_peak for sample in samples)
    growth = max(sample.rss_growth for sample in samples)
    return [f"{peak / MIB:.1f}", f"{growth / MIB:.1f}"]


def _memory_table(record: Record) -> str:
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
    return f"{title}\n{_text_table(head, rows)}"


def _failures(record: Record) -> str:
    return "\n".join(map(_failure, record.failures))


def _failure(failure: Failure) -> str:
    size = "" if failure.size is None else f", {format_size(failure.size)}"
    return f"FAILED: {failure.candidate}{size}: {failure.reason}"


def _text_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    columns = zip(head, *rows, strict=True)
    widths = [max(map(len, column)) for column in columns]
    rule = "─" * (sum(widths) + 2 * (len(widths) - 1))
    lines = [_text_row(row, widths) for row in rows]
    return "\n".join([rule, _text_row(head, widths), rule, *lines, rule])


def _text_row(cells: Sequence[str], widths: Sequence[int]) -> str:
    first = cells[0].ljust(widths[0])
    others = [cell.rjust(width) for cell, width in zip(cells, widths, strict=True)]
    return "  ".join([first, *others[1:]]).rstrip()


# In Markdown -----------------------------------------------------------------------


def markdown(record: Record) -> str:
    """The record as the README shows it."""
    if record.kind == "memory":
        parts = [_markdown_memory(record)]
    else:
        parts = [_markdown_figures(record, figure) for figure in (speed, cost)]
    return "\n\n".join([*parts, f"{describe(record)}."])


def _markdown_figures(record: Record, choose: Callable[[int], Figure]) -> str:
    sizes = record.sizes()
    head = [f"{format_size(size)}, {choose(size).unit}" for size in sizes]
    rows = [
        [title, *(_markdown_cell(record, name, size, choose(size)) for size in sizes)]
        for name, title in record.titles.items()
    ]
    return _markdown_table(["", *head], rows)


def _markdown_cell(record: Record, name: str, size: int, figure: Figure) -> str:
    summary = _summary(record, name, size, figure)
    if summary is None:
        return ""
    ratios = {
        base: _ratio(record, name, base, size, figure)
        for base in BASELINES
        if base != name
    }
    known = [f"{amount(ratio)} × {base}" for base, ratio in ratios.items() if ratio]
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


def _markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    rule = ["---", *("---:" for _ in head[1:])]
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, rule, *rows])


# Words and numbers -----------------------------------------------------------------


def describe(record: Record) -> str:
    """How and on what it was measured, in one sentence without its full stop."""
    facts = [f"{name} {fact}" for name, fact in record.environment.items()]
    how = [record.date[:10], *_method(record)]
    return "; ".join([", ".join(how), ", ".join(facts)])


def _method(record: Record) -> list[str]:
    if record.kind == "memory":
        return ["peak resident memory of all of a server's processes"]
    pinned = "servers and clients on one CPU each" if record.settings["pinned"] else ""
    counts = [_rounds(record, size) for size in record.sizes()]
    rounds = (
        " to ".join(map(str, sorted({min(counts), max(counts)}))) if counts else "0"
    )
    median = f"medians of paired rounds ({rounds}), ratios too"
    return list(filter(None, [median, *_clients(record), pinned]))


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


def _summary(record: Record, name: str, size: int, figure: Figure) -> Summary | None:
    return summarize(_by_round(record, name, size, figure).values())


def _ratio(
    record: Record, name: str, base: str, size: int, figure: Figure
) -> float | None:
    ours = _by_round(record, name, size, figure)
    return median_ratio(ours, _by_round(record, base, size, figure))


def _by_round(
    record: Record, name: str, size: int, figure: Figure
) -> Mapping[int, float]:
    return {sample.round: figure.of(sample) for sample in record.of(name, size)}

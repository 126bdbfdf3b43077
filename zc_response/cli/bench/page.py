"""One HTML page from records: plots, tables, and what they were measured on. Pure.

The page is complete in itself: no script, no font, no picture comes from elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from typing import Final

from zc_response.cli.bench.charts import Chart, charts
from zc_response.cli.bench.records import Record
from zc_response.cli.bench.tables import TITLES, Table, failures, method, tables

Draw = Callable[[Chart], str]
"""Makes the SVG of a chart."""

STYLE: Final = """\
:root { color-scheme: light dark; --paper: #ffffff; --ink: #1f2328; --faint: #8c959f;
  --line: #d8dee4; --soft: #f6f8fa; --accent: #0f7b5d; --bad: #b3261e; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #0f1318; --ink: #e6edf3; --faint: #6e7681; --line: #30363d;
    --soft: #171c23; --accent: #4cc79f; --bad: #ff8a80; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2.5rem 1.25rem 4rem; max-width: 68rem;
  background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; }
h1 { font-size: 1.7rem; margin: 0 0 .25rem; letter-spacing: -.01em; }
h2 { font-size: 1.25rem; margin: 3rem 0 .5rem; padding-top: 1.25rem;
  border-top: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 2rem 0 .25rem; }
p { margin: .25rem 0 1rem; max-width: 46rem; }
.quiet { color: color-mix(in srgb, var(--ink) 70%, transparent); font-size: .9rem; }
figure { margin: 1.75rem 0; }
figure h3 { margin: 0 0 .75rem; }
figcaption { font-size: .9rem; color: color-mix(in srgb, var(--ink) 75%, transparent); }
figcaption b { color: var(--accent); }
svg { width: 100%; height: auto; display: block; }
.tables { display: flex; flex-wrap: wrap; gap: 0 2.5rem; }
.tables > div { min-width: 0; }
.scroll { overflow-x: auto; margin: .5rem 0 1.5rem; }
table { border-collapse: collapse; font-size: .85rem; white-space: nowrap;
  font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .7rem; text-align: right;
  border-bottom: 1px solid var(--line); }
th { font-weight: 600; background: var(--soft); vertical-align: bottom; }
th:first-child, td:first-child { text-align: left; }
tbody th { background: none; font-weight: 500; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1.25rem;
  font-size: .9rem; margin: .5rem 0; }
dt { color: color-mix(in srgb, var(--ink) 70%, transparent); }
dd { margin: 0; }
.failed { color: var(--bad); }
"""


def page(records: Sequence[Record], draw: Draw | None) -> str:
    """The page; without `draw` it has no plots."""
    told = _differing(records)
    sections = "\n".join(_section(record, draw, told) for record in records)
    return f"""\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>zc-response bench</title>
<style>
{STYLE}</style>
</head>
<body>
<h1>How a file leaves each server</h1>
<p class="quiet">{_summary(records, draw)}</p>
{_candidates(records)}
{sections}
{_machine(records)}
</body>
</html>
"""


def _summary(records: Sequence[Record], draw: Draw | None) -> str:
    dates = sorted({record.date[:10] for record in records})
    when = " to ".join(dict.fromkeys([*dates[:1], *dates[-1:]]))
    plots = "" if draw else " Without matplotlib there are no plots."
    return (
        f"Measured by <code>zc-response bench</code>, {escape(when)}. Servers and "
        "clients share one machine, so compare the candidates with each other, not "
        f"with figures from elsewhere.{plots}"
    )


def _candidates(records: Sequence[Record]) -> str:
    titles = {name: each for record in records for name, each in record.titles.items()}
    return f"<h3>Who is compared</h3>\n{_pairs(titles)}"


def _section(record: Record, draw: Draw | None, told: Sequence[str]) -> str:
    how = _sentence(method(record))
    here = [f"{name} {record.environment[name]}" for name in told]
    parts = [
        f"<h2>{escape(TITLES[record.kind])}</h2>",
        f'<p class="quiet">{escape(" ".join([how, *map(_sentence, here)]))}</p>',
        *(f'<p class="failed">{escape(line)}</p>' for line in failures(record)),
        *(_figure(chart, draw) for chart in charts([record]) if draw),
        '<div class="tables">',
        *(_table(table) for table in tables(record)),
        "</div>",
    ]
    return "\n".join(parts)


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _figure(chart: Chart, draw: Draw) -> str:
    better, _, rest = chart.caption.partition(".")
    caption = f"<b>{escape(better)}.</b>{escape(rest)}"
    return (
        f"<figure>\n<h3>{escape(chart.title)}</h3>\n{draw(chart)}"
        f"<figcaption>{caption}</figcaption>\n</figure>"
    )


def _table(table: Table) -> str:
    head = "".join(f"<th>{escape(cell)}</th>" for cell in table.head)
    rows = "\n".join(map(_row, table.rows))
    return (
        f"<div><h3>{escape(table.title.replace('  |  ', ' · '))}</h3>\n"
        f'<div class="scroll"><table>\n<thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{rows}\n</tbody></table></div></div>"
    )


def _row(cells: Sequence[str]) -> str:
    name, *figures = map(escape, cells)
    rest = "".join(f"<td>{figure}</td>" for figure in figures)
    return f'<tr><th scope="row">{name}</th>{rest}</tr>'


def _machine(records: Sequence[Record]) -> str:
    """The facts of the machine; those that changed between the records, each."""
    facts: dict[str, str] = {}
    for name in dict.fromkeys(name for each in records for name in each.environment):
        known = [each.environment[name] for each in records if name in each.environment]
        facts[name] = " / ".join(dict.fromkeys(known))
    return f"<h2>Measured on</h2>\n{_pairs(facts)}"


def _differing(records: Sequence[Record]) -> list[str]:
    """The facts that all records have and that were not the same, load aside."""
    known = [set(each.environment) for each in records]
    shared = set.intersection(*known) - {"load average"} if known else set()
    return [
        name
        for name in records[0].environment
        if name in shared and len({each.environment[name] for each in records}) > 1
    ]


def _pairs(pairs: dict[str, str]) -> str:
    items = "\n".join(
        f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>"
        for name, text in pairs.items()
    )
    return f"<dl>\n{items}\n</dl>"

"""The table of docs/servers.md, made of the record.

    python -m tests.servers.page docs/servers.md

writes it into the page.
"""

from __future__ import annotations

import json
import sys
from itertools import groupby
from pathlib import Path
from typing import Any, Final

from tests.pages import put
from tests.servers.probes import HUGE, MIB, STALLED

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = ROOT / "docs" / "servers.md"
RECORD: Final = ROOT / "benchmarks" / "results" / "servers" / "servers.json"

Row = dict[str, Any]

MUST_HOLD: Final = (
    *("whole", "head", "range", "several ranges", "304", "If-Range"),
    *("pipe", "pipe of a known length", "memory file", "leaving"),
)
"""What is right on every server where it can be asked for."""
LITTLE: Final = 8
"""MiB that any server may grow by without being told apart from others."""

HEAD: Final = (
    "server",
    "strategy",
    "system calls",
    "offers",
    "ranges",
    "pipes",
    "file shrinks",
    f"{STALLED} clients stall",
    f"grows, {HUGE // MIB} MiB",
)


def page(text: str) -> str:
    """The page with the table as the record has it."""
    record = json.loads(RECORD.read_text(encoding="utf-8"))
    return put(text, "servers", f"{table(record['servers'])}\n\n{_told(record)}")


def table(rows: list[Row]) -> str:
    """One line for each server, or for several settings of it that are alike."""
    lines = [HEAD, ("---",) * len(HEAD)]
    for server, several in groupby(rows, lambda row: row["server"]):
        hows: dict[tuple[str, ...], list[str]] = {}
        for row in several:
            hows.setdefault(cells(row), []).append(row["how"])
        for told, which in hows.items():
            names = "<br>".join(filter(None, which))
            lines.append((f"**{server}**" + (f"<br>{names}" if names else ""), *told))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def cells(row: Row) -> tuple[str, ...]:
    """What the table says of one setting."""
    grown = row["memory MiB"]
    return (
        f"`{row['strategy']}`",
        ", ".join(row["calls"]),
        ", ".join(row.get("offers", ())) or "–",
        _mark(row, ("head", "range", "several ranges", "304", "If-Range")),
        _mark(row, ("pipe", "pipe of a known length")),
        row["shrinking"],
        _crowd(row),
        f"under {LITTLE} MiB" if grown < LITTLE else f"{grown} MiB",
    )


def _mark(row: Row, names: tuple[str, ...]) -> str:
    if not any(name in row for name in names):
        return "–"
    wrong = [name for name in names if not row[name]]
    return "yes" if not wrong else f"not {', '.join(wrong)}"


def _crowd(row: Row) -> str:
    beside: str = row["beside stalled clients"]
    stream = row.get("beside a stalled stream", beside)
    return beside if stream == beside else f"{beside}; beside a stream: {stream}"


def _told(record: Row) -> str:
    machine, versions = record["machine"], record["versions"]
    packages = ", ".join(f"{name} {text}" for name, text in versions.items())
    kernel = machine["kernel"].partition("-")[0]
    return f"{kernel}, {machine['python']}, {machine['filesystem']}; {packages}."


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(page(path.read_text(encoding="utf-8")), encoding="utf-8")

"""What the user sees while it runs, and the tables at the end; knows rich.

On a terminal there is a bar, and what happens scrolls by above it. Elsewhere there are
plain lines, with the seconds since the start.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table as RichTable

from zc_response.cli.bench.records import Record
from zc_response.cli.bench.tables import Table, describe, failures, tables, text

_started: Final = time.monotonic()


@dataclass(frozen=True, slots=True, kw_only=True)
class Teller:
    """Tells how things go."""

    say: Callable[[str], None]
    advance: Callable[[], None]
    """One turn is over."""


def say(line: str) -> None:
    """Tell something outside of a run."""
    print(f"[{time.monotonic() - _started:6.1f} s] {line}", file=sys.stderr, flush=True)


@contextmanager
def telling(title: str, turns: int) -> Iterator[Teller]:
    """Tell how a run of so many turns goes."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield Teller(say=say, advance=lambda: None)
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left:"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(title, total=turns)
        yield Teller(
            say=lambda line: progress.console.print(line, markup=False),
            advance=lambda: progress.advance(task),
        )


def show(record: Record) -> None:
    """Print a record's tables."""
    console = Console()
    print()
    for table in tables(record):
        if console.is_terminal:
            console.print(_rich(table))
        else:
            print(text(table))
        print()
    for line in [*failures(record), *describe(record).split("; ")]:
        print(line)


def _rich(table: Table) -> RichTable:
    made = RichTable(
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
        title=table.title,
        title_justify="left",
        title_style="bold",
        box=SIMPLE_HEAD,
    )
    for number, (head, *cells) in enumerate(zip(table.head, *table.rows, strict=True)):
        # Heads may break between words where it is narrow, figures never.
        made.add_column(
            head,
            justify="right" if number else "left",
            min_width=max(map(len, [*head.split(), *cells])),
            vertical="bottom",
        )
    for row in table.rows:
        made.add_row(*row)
    return made

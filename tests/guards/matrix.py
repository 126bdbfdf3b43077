"""All scenarios at all levels on all filesystems, as the tables of docs/integrity.md.

    python -m tests.guards.matrix docs/integrity.md

writes them into the page, each between its markers. It needs root, for the disks.
"""

from __future__ import annotations

import contextlib
import logging
import os
import platform
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.filesystems import why_not
from tests.guards.scenarios import (
    READS_ON_AFTER,
    SCENARIOS,
    SIZE,
    Group,
    Outcome,
    Result,
    Scenario,
    old_file,
    trial,
)
from tests.guards.served import last_report, served, served_by_nobody
from tests.live import Client
from tests.pages import put
from zc_response import Policy
from zc_response.cli.bench.disks import plain_disk

LEVELS: Final = ("fast", "safe", "strict")
TRIALS: Final = 3
"""Of each cell: the worst outcome counts, and the median of the waits."""
BUDGET: Final = Policy().break_budget
SHORT_MS: Final = 20.0
"""Two waits below this are as good as the same."""

DISK_SIZE: Final = 1 << 30  # sparse
BIG: Final = 64 << 20
READ_FAST: Final = 24 << 20
SMALL: Final = 100_000

_WORDS: Final = {
    Outcome.OLD: "old",
    Outcome.NEW: "new",
    Outcome.CUT: "cut off",
    Outcome.MIXED_CUT: "cut off*",
    Outcome.MIXED: "**mixed**",
    Outcome.GARBLED: "**garbled**",
}
_WORST_LAST: Final = list(_WORDS)

Serve = Callable[..., contextlib.AbstractContextManager[int]]


@dataclass(frozen=True)
class Column:
    """Where it is tried: a filesystem, and who serves."""

    title: str
    kind: str
    serve: Serve = served


COLUMNS: Final = (
    *(Column(kind, kind) for kind in ("ext4", "xfs", "btrfs", "tmpfs", "overlay")),
    Column("ext4, not the owner", "ext4", served_by_nobody),
)


@dataclass(frozen=True)
class Cell:
    """What came of a scenario for a client that reads on, and for one that stalls."""

    slow: Result
    stalled: Result

    def __str__(self) -> str:
        same = self.slow.outcome is self.stalled.outcome
        if same and max(self.slow.waited_ms, self.stalled.waited_ms) < SHORT_MS:
            return _in_words(self.slow)
        return f"{_in_words(self.slow)}; stalled: {_in_words(self.stalled)}"


def _in_words(result: Result) -> str:
    assert not result.error, result.error
    return f"{_WORDS[result.outcome]}, {_ms(result.waited_ms)}"


def _ms(milliseconds: float) -> str:
    return "<1 ms" if milliseconds < 1 else f"{milliseconds:,.0f} ms"


Table = list[list[str]]


def main(page: Path) -> None:
    """Try everything, and write it into the page."""
    logging.disable()  # that transfers are aborted is what is tried
    tables = dict(_tables())
    text = page.read_text(encoding="utf-8")
    for name, table in tables.items():
        text = put(text, name, table)
    page.write_text(text, encoding="utf-8")


def _tables() -> Iterator[tuple[str, str]]:
    with tempfile.TemporaryDirectory() as home, contextlib.ExitStack() as stack:
        os.chmod(home, 0o755)
        roots: dict[str, Path] = {}
        for kind in dict.fromkeys(column.kind for column in COLUMNS):
            assert not why_not(kind), f"no {kind} here: {why_not(kind)}"
            making = plain_disk(kind, DISK_SIZE, Path(home))
            roots[kind] = stack.enter_context(making).path
        yield "machine", _machine()
        yield "guards", _guards(roots)
        yield "accepted", _accepted(roots["ext4"])
        for level in LEVELS:
            yield level, _markdown(_matrix(level, roots))


def _machine() -> str:
    kernel = platform.release().partition("-")[0]
    return (
        f"Linux {kernel}, Python {platform.python_version()}; files of "
        f"{SIZE >> 20} MiB; `break_budget` is {BUDGET:g} s. The client is on the same "
        "host, reads a little, and stops. It reads on after "
        f"{READS_ON_AFTER * 1000:.0f} ms or, where the cell says *stalled*, not before "
        f"the writer is through. Each cell is the worst of {TRIALS} trials, with the "
        "median of the writer's waits."
    )


def _matrix(level: str, roots: dict[str, Path]) -> Table:
    columns = [_column(level, column, roots[column.kind]) for column in COLUMNS]
    rows = [["what the writer does", *(column.title for column in COLUMNS)]]
    for group in Group:
        rows.append([f"*{group.value}*", *("" for _ in COLUMNS)])
        for scenario in SCENARIOS:
            if scenario.group is group:
                cells = (column.get(scenario.deed, "") for column in columns)
                rows.append([scenario.words, *cells])
    return rows


def _column(level: str, column: Column, root: Path) -> dict[str, str]:
    with column.serve(root, level, break_budget=BUDGET) as port:
        cells = {}
        for scenario in SCENARIOS:
            if not scenario.kinds or column.kind in scenario.kinds:
                cells[scenario.deed] = str(_cell(port, root, scenario))
                print(f"{level}, {column.title}, {scenario.deed}:", end=" ")
                print(cells[scenario.deed], flush=True)
        return cells


def _cell(port: int, root: Path, scenario: Scenario) -> Cell:
    def tried(is_stalled: bool) -> Result:
        deed = scenario.deed
        return _summary(
            [trial(port, root, deed, is_stalled=is_stalled) for _ in range(TRIALS)]
        )

    return Cell(tried(False), tried(True))


def _summary(results: list[Result]) -> Result:
    """The worst outcome, and the median wait."""
    worst = max(results, key=lambda each: _WORST_LAST.index(each.outcome))
    waits = sorted(result.waited_ms for result in results)
    refused = next((result.error for result in results if result.error), "")
    return Result(
        worst.outcome,
        worst.received,
        max(result.not_old for result in results),
        worst.accepted,
        waits[len(waits) // 2],
        refused,
    )


def _guards(roots: dict[str, Path]) -> str:
    """How an undisturbed download of the same client is guarded."""
    rows = [["", *(column.title for column in COLUMNS)]]
    for level in LEVELS:
        reports = [_report(level, each, roots[each.kind]) for each in COLUMNS]
        rows.append(
            [f"`{level}`", *(f"{r['strategy']}, {r['guard']}" for r in reports)]
        )
    return _markdown(rows)


def _report(level: str, column: Column, root: Path) -> dict[str, Any]:
    with column.serve(root, level) as port, old_file(root) as path:
        with Client(port) as client:
            assert len(client.get(f"/file/{path.name}").body) == SIZE
        return last_report(port)


def _accepted(root: Path) -> str:
    """How many bytes of what a default client receives can be new, under `safe`."""
    rows = [["a client whose file is overwritten in place", "lease", "no lease"]]
    clients: tuple[tuple[str, dict[str, int]], ...] = (
        ("reads a little, then nothing", {"size": BIG}),
        (
            f"reads {READ_FAST >> 20} MiB as fast as it can, then nothing",
            {"size": BIG, "read_before": READ_FAST},
        ),
        (f"reads a little of a file of {SMALL:,} bytes, then nothing", {"size": SMALL}),
    )
    for words, options in clients:
        rows.append([words, *_new_bytes(root, **options)])
    return f"{_markdown(rows)}\n\n{_bounds()}"


def _bounds() -> str:
    """What holds the kernel to less than the whole file."""
    most = Path("/proc/sys/net/ipv4/tcp_rmem").read_text().split()[2]
    policy = Policy()
    return (
        f"More than the receive buffer, which the kernel lets grow to {int(most):,} "
        "bytes there (`net.ipv4.tcp_rmem`), it cannot be with a lease; without one the "
        "send buffer is added, of which the policy bounds what is not yet sent: "
        f"`unsent_bytes` ({policy.unsent_bytes:,}) for a client that takes nothing, up "
        f"to `unsent_max` ({policy.unsent_max:,}) for one that took all it could get."
    )


def _new_bytes(root: Path, **options: int) -> Iterator[str]:
    for serve in (served, served_by_nobody):
        with serve(root, "safe", break_budget=BUDGET) as port:
            results = [
                trial(
                    port,
                    root,
                    "overwrite",
                    is_stalled=True,
                    **{"receive_buffer": 0, **options},
                )
                for _ in range(TRIALS)
            ]
        worst = max(results, key=lambda each: each.not_old)
        end = "looks complete" if worst.is_complete else "cut off"
        yield f"{worst.not_old:,} new, {end}"


def _markdown(rows: Table) -> str:
    head, *body = rows
    lines = [head, ["---"] * len(head), *body]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

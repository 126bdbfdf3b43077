"""From transfer reports to a stream of events that a page can follow.

The board keeps the last reports, numbered. A viewer only remembers the last number it
has seen: however many there are, and however slowly they read, they cost the board
nothing and there is nothing to take back when one leaves.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections import deque
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from zc_response import Report
from zc_response.report import under_way

Row = dict[str, Any]

KEPT = 100
"""Finished transfers that somebody who opens the page later still gets to see."""

TICK = 0.25
"""Seconds between two looks at what has changed."""


class Board:
    """What leaves a folder: the transfers under way, and the last finished ones."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._numbers = itertools.count(1)
        self._finished: deque[Row] = deque(maxlen=KEPT)
        self._closing = asyncio.Event()

    def add(self, report: Report) -> None:
        """Take note of a finished transfer; this is what `add_listener` gets."""
        if self._shows(report):
            self._finished.append({"number": next(self._numbers), **row(report)})

    def close(self) -> None:
        """End all streams now, so that the server can stop."""
        self._closing.set()

    async def events(self) -> AsyncIterator[str]:
        """Server-sent events: first all that is known, then whatever changes."""
        seen, shown = -1, None
        while not self._closing.is_set():
            finished = [each for each in self._finished if each["number"] > seen]
            moving = [row(report) for report in under_way() if self._shows(report)]
            figures = [(each["name"], each["sent"]) for each in moving]
            if finished or figures != shown:
                seen = finished[-1]["number"] if finished else seen
                shown = figures
                yield event({"finished": finished, "under_way": moving})
            await self._tick()

    async def _tick(self) -> None:
        try:
            await asyncio.wait_for(self._closing.wait(), TICK)
        except asyncio.TimeoutError:
            pass

    def _shows(self, report: Report) -> bool:
        return self._folder in Path(report.path).parents


def row(report: Report) -> Row:
    """One transfer as the page shows it."""
    return {
        "started": time.time() - report.seconds,
        "name": Path(report.path).name,
        "status": report.status,
        "strategy": report.strategy,
        "reason": report.reason,
        "guard": report.guard,
        "sent": report.sent,
        "promised": report.promised,
        "outcome": report.outcome,
        "seconds": report.seconds,
        "cpu_seconds": report.cpu_seconds,
    }


def event(data: object) -> str:
    """One server-sent event."""
    return f"data: {json.dumps(data)}\n\n"

"""Somebody who wants to write to a file: how long does it take to open it?

It is a helper process (see `helper.py`): it waits for the word, and opens the file once
at least, again after pauses until the time is over. It writes nothing.
"""

from __future__ import annotations

import os
import random
import sys
import time
from dataclasses import asdict, dataclass
from typing import Any, Final

from zc_response.cli.bench.client import explained
from zc_response.cli.bench.helper import Helper, play, wait_for_go
from zc_response.cli.bench.load import PATIENCE

PAUSES: Final = (0.05, 0.25)
"""Seconds between two openings, at least and at most. A download that the last one has
sent on from a snapshot is mostly over by then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """Which file, and for how many seconds."""

    path: str
    seconds: float

    def helper(self) -> Helper:
        """The process that opens it; the kernel makes it wait 45 s at most."""
        return Helper(__name__, asdict(self), self.seconds + 2 * PATIENCE)


def open_once(path: str) -> float:
    """Open a file for writing, and close it; the seconds that the opening took."""
    began = time.perf_counter()
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    seconds = time.perf_counter() - began
    os.close(fd)
    return seconds


def work(request: dict[str, Any]) -> list[float]:
    """Wait for the word, then open; the seconds that each opening took."""
    opening = Opening(**request)
    with explained():
        wait_for_go()
        deadline = time.monotonic() + opening.seconds
        waits = [open_once(opening.path)]
        while time.monotonic() < deadline:
            time.sleep(random.uniform(*PAUSES))
            waits.append(open_once(opening.path))
        return waits


if __name__ == "__main__":
    sys.exit(play(work))

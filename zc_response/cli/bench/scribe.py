"""Changes one file again and again, in all the ways that people do.

Overwrites it in place, rewrites it from nothing, cuts it in half, makes holes in it,
puts a new one in its place; some in one call, some in several with pauses between them.
What the file is like after each call is noted before it (see `states.py`). It is a
helper process (see `helper.py`): it makes the file, waits for the word, and ends when
it is told to.
"""

from __future__ import annotations

import os
import random
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from zc_response.cli.bench.client import explained
from zc_response.cli.bench.helper import Helper, play, told_to_end, wait_for_go
from zc_response.cli.bench.load import PATIENCE
from zc_response.cli.bench.states import (
    HOLE,
    STRETCHES,
    Log,
    State,
    fresh_stamp,
    opened,
    render,
)
from zc_response.kernel import holes

LONGEST_PAUSE: Final = 0.03
"""Seconds between two changes, at most."""
LONGEST_BREATH: Final = 0.003
"""Seconds between two calls of one change, at most; half of them follow at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """Which file is to be changed, and where its states are noted."""

    path: str
    number: int
    size: int
    log: str
    seconds: float

    def helper(self) -> Helper:
        """The process that changes it."""
        return Helper(__name__, asdict(self), self.seconds + PATIENCE)


class Scribe:
    """The one who writes to a file."""

    def __init__(self, script: Script, log: Log, dice: random.Random) -> None:
        self._path = Path(script.path)
        self._number = script.number
        self._log = log
        self._dice = dice
        self._version = 0
        self._length = 0
        self._stamps = [HOLE] * STRETCHES
        self.waits: list[float] = []
        """Seconds that each opening for writing took."""

    @property
    def changes(self) -> list[Callable[[], None]]:
        """What may be done to the file."""
        return [self.overwrite, self.rewrite, self.halve, self.punch, self.replace]

    def change(self) -> None:
        """Do one of it."""
        self._dice.choice(self.changes)()

    # The changes -------------------------------------------------------------------

    def replace(self) -> None:
        """Put a new file in its place, by rename."""
        stamp = self._stamp()
        beside = self._path.with_name(f".{self._path.name}.new")
        beside.write_bytes(render(stamp, self._log.size))
        self._note(self._log.size, [stamp] * STRETCHES)
        beside.rename(self._path)

    def overwrite(self) -> None:
        """Write over all of it: in one call, or a stretch at a time in any order."""
        with self._open(os.O_WRONLY) as fd:
            if self._dice.random() < 0.5:
                stamp = self._stamp()
                self._note(self._log.size, [stamp] * STRETCHES)
                _write(fd, render(stamp, self._log.size), 0)
            else:
                self._fill(fd, self._dice.sample(range(STRETCHES), STRETCHES))

    def rewrite(self) -> None:
        """Empty it and write it from the start, as open("w") does."""
        self._note(0, [HOLE] * STRETCHES)  # true once it has been opened
        with self._open(os.O_WRONLY | os.O_TRUNC) as fd:
            self._fill(fd, range(STRETCHES))

    def halve(self) -> None:
        """Cut it in half, and fill it up again."""
        half = STRETCHES // 2
        kept = [*self._stamps[:half], *[HOLE] * (STRETCHES - half)]
        self._note(half * self._log.stretch, kept)
        began = time.perf_counter()
        os.truncate(self._path, self._length)
        self.waits.append(time.perf_counter() - began)
        self._breathe()
        with self._open(os.O_WRONLY) as fd:
            self._fill(fd, range(STRETCHES))

    def punch(self) -> None:
        """Make holes in it, and fill them."""
        with self._open(os.O_WRONLY) as fd:
            numbers = self._dice.sample(range(STRETCHES), 2)
            for number in numbers:
                self._breathe()
                self._put(number, HOLE)
                holes.punch(fd, number * self._log.stretch, self._log.stretch)
            self._fill(fd, numbers)

    # What they are made of -----------------------------------------------------------

    @contextmanager
    def _open(self, flags: int) -> Iterator[int]:
        began = time.perf_counter()
        fd = os.open(self._path, flags | os.O_CLOEXEC)
        self.waits.append(time.perf_counter() - began)
        try:
            yield fd
        finally:
            os.close(fd)

    def _fill(self, fd: int, numbers: range | list[int]) -> None:
        stamp = self._stamp()
        for number in numbers:
            self._breathe()
            self._put(number, stamp)
            data = render(stamp, self._log.stretch)
            _write(fd, data, number * self._log.stretch)

    def _put(self, number: int, stamp: int) -> None:
        """Note that a stretch is about to have that stamp."""
        stamps = list(self._stamps)
        stamps[number] = stamp
        self._note(max(self._length, (number + 1) * self._log.stretch), stamps)

    def _note(self, length: int, stamps: list[int]) -> None:
        self._length, self._stamps = length, stamps
        self._log.add(State(length, tuple(stamps)))

    def _stamp(self) -> int:
        self._version += 1
        return fresh_stamp(self._number, self._version)

    def _breathe(self) -> None:
        if self._dice.random() < 0.5:
            time.sleep(self._dice.uniform(0, LONGEST_BREATH))


def _write(fd: int, data: bytes, offset: int) -> None:
    """Write in one call: what a second one would add has not been noted."""
    if os.pwrite(fd, data, offset) != len(data):
        raise OSError("a write was cut short; is the disk full?")


def work(request: dict[str, Any]) -> dict[str, Any]:
    """Make the file, wait for the word, change it; tell how that went."""
    script = Script(**request)
    dice = random.Random(script.number)
    with explained(), opened(Path(script.log), script.size) as log:
        scribe = Scribe(script, log, dice)
        scribe.replace()
        wait_for_go()
        deadline = time.monotonic() + script.seconds
        changes = 0
        while not told_to_end(dice.uniform(0, LONGEST_PAUSE)):
            scribe.change()
            changes += 1
            if time.monotonic() > deadline:
                break
        return {"changes": changes, "longest_wait": max(scribe.waits, default=0.0)}


if __name__ == "__main__":
    sys.exit(play(work))

"""The driver of asyncio and uvloop: steps run in a callback, never in a task.

Only public loop methods are used. The socket is a duplicate, because a loop refuses
to watch the descriptor of its own transport. The writer is registered once and stays
until the end: both loops are level-triggered, so a callback that did one step is
called again in the next round of the loop if there is room for another, and everybody
else has had a turn in between. A full socket and a turn given away are therefore the
same to this driver: it returns.

`loop.sendfile` is not used: uvloop has none, and CPython's fallback has sent wrong
bytes (3.12 and 3.13).
"""

from __future__ import annotations

import asyncio
import time
from typing import Final

from zc_response.report import Tally
from zc_response.transmit.steps import Steps, Want

TURN_SECONDS: Final = 0.0005
"""How long one transfer goes on while others wait: with the step that oversteps it,
less than a millisecond from the page cache."""


async def drive(steps: Steps, fd: int, tally: Tally) -> None:
    """Run `steps` to their end, waiting for `fd` in between.

    Raises what the steps raise. When cancelled, the steps have ended and `fd` is no
    longer watched before the cancellation goes on.
    """
    pump = _Pump(steps, tally)
    if pump.advance():
        return
    loop = asyncio.get_running_loop()
    pump.done = loop.create_future()
    loop.add_writer(fd, pump)
    try:
        await pump.done
    finally:
        # Always before the descriptor is closed: uvloop forgets one only by this.
        loop.remove_writer(fd)


class _Pump:
    """Takes a turn each time it is called, and resolves `done` after the last."""

    __slots__ = ("cpu_seconds", "done", "steps", "tally")

    done: asyncio.Future[None]

    def __init__(self, steps: Steps, tally: Tally) -> None:
        self.steps = steps
        self.tally = tally
        self.cpu_seconds = 0.0

    def __call__(self) -> None:
        if self.done.done():  # cancelled; the writer goes in a moment
            return
        try:
            if self.advance():
                self.done.set_result(None)
        except Exception as exc:
            self.done.set_exception(exc)

    def advance(self) -> bool:
        """Take steps until one has to wait or the turn is over; True after the last."""
        began = time.thread_time()
        over = time.monotonic() + TURN_SECONDS
        try:
            for want in self.steps:
                if want is Want.WRITABLE or time.monotonic() > over:
                    return False
            return True
        finally:
            self.cpu_seconds += time.thread_time() - began
            self.tally.cpu_seconds = self.cpu_seconds

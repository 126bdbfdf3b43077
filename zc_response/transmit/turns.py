"""Whose turn it is, where many transfers and everybody else share one loop.

In one round of the loop all transfers together may take no more than a millisecond or
so; then whoever came by another way (a new request, a timer) has the next round. A
transfer that is ready when the time is used up waits in a queue, first come, first
served. So no client starves, and a hundred downloads delay a quick request no longer
than one does.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from zc_response.transmit.per_loop import PerLoop

ROUND_SECONDS: Final = 0.001
"""What all transfers together may take of one round of the loop."""
TURN_SECONDS: Final = 0.0005
"""What one transfer may take of it, but for the step that oversteps it."""

Turn = Callable[[float], bool]
"""Takes steps until a moment of `time.monotonic`; True if it wants another turn."""


class Turns:
    """The turns of one loop."""

    __slots__ = ("_queue", "_scheduled", "_spent")

    def __init__(self) -> None:
        self._queue: deque[Turn] = deque()
        self._spent = 0.0
        self._scheduled = False

    def take(self, turn: Turn, *, is_short: bool = False) -> None:
        """Let `turn` have its turn now if there is time left, else in its order.

        A short one has it now in any case: what a response from memory would take.
        """
        if (self._queue or self._spent >= ROUND_SECONDS) and not is_short:
            self._queue.append(turn)
        else:
            self._run(turn)
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._next_round)

    async def admit(self, seconds: float) -> None:
        """Wait for a turn that will take about so long, and begins on return.

        For who cannot take his steps in a callback.
        """
        admitted: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def turn(_until: float) -> bool:
            if not admitted.done():  # cancelled meanwhile
                admitted.set_result(None)
                self._spent += seconds
            return False

        self.take(turn)
        if not admitted.done():
            await admitted
            # anyio cancels nobody whose future is done but who has not run yet. Here it
            # would never find one in another state.
            await asyncio.sleep(0)

    def _run(self, turn: Turn) -> None:
        began = time.monotonic()
        if turn(began + TURN_SECONDS):
            self._queue.append(turn)
        self._spent += time.monotonic() - began

    def _next_round(self) -> None:
        self._spent = 0.0
        while self._queue and self._spent < ROUND_SECONDS:
            self._run(self._queue.popleft())
        # One more round even if the queue is empty: what was spent has to be forgotten.
        self._scheduled = bool(self._queue or self._spent)
        if self._scheduled:
            asyncio.get_running_loop().call_soon(self._next_round)


turns_of: Final = PerLoop(Turns)
"""The turns of a loop."""

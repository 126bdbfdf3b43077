"""Has the client taken anything lately?"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

SAMPLES: Final = 4
"""How often, during the stall timeout, the kernel is asked what a client has taken."""


class Progress:
    """What has moved of one transfer, and when.

    Progress is what the kernel accepts, or the client takes of what it holds: a socket
    counts as full until half of the bound on unsent bytes is gone, which is long for a
    client that takes little by little.
    """

    __slots__ = ("_moved", "_moved_at", "_outstanding", "_sampled_at")

    def __init__(self, sent: int) -> None:
        self._moved, self._moved_at = sent, time.monotonic()
        self._outstanding, self._sampled_at = 0, self._moved_at

    def rest(self, unacknowledged: int) -> None:
        """Nothing is to be sent now: who has taken all there is does not stall."""
        if not unacknowledged:
            self._moved_at = time.monotonic()

    def is_stalled(
        self, sent: int, unacknowledged: Callable[[], int], timeout: float
    ) -> bool:
        """True if nothing has moved for `timeout` seconds (0: never).

        `sent` is what the kernel has accepted, `unacknowledged` asks for what of that
        the client has not taken.
        """
        now = time.monotonic()
        if sent != self._moved:
            self._moved, self._moved_at, self._outstanding = sent, now, 0
        elif now - self._sampled_at >= timeout / SAMPLES:
            before, self._outstanding = self._outstanding, unacknowledged()
            self._sampled_at = now
            if self._outstanding < before:
                self._moved_at = now
        return bool(timeout) and now - self._moved_at >= timeout

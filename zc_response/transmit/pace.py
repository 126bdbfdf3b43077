"""How much at a time: for the kernel's sake, and for the other clients'.

Pure: it is told what happened, and answers with numbers.

**Steps.** A step cannot be interrupted, so none should hold the loop for long. How
many bytes that is depends on machine and network; so steps grow while they are quick
and shrink when they are not.

**Unsent bytes.** With sendfile a client that does not read fills its socket's send
buffer, which the kernel lets grow to megabytes: thousands of such clients use up what
TCP may have (tcp_mem), and then the kernel drops connections, other people's too. So a
socket starts with a low bound on what is queued and not yet sent. A fast client needs
more in the queue, or the line runs dry between two steps: the bound follows the pace
at which the client takes data, and falls again when it stalls.
"""

from __future__ import annotations

from typing import Final

STEP_SECONDS: Final = 0.0005
"""A step that takes longer than this is halved; one that takes half of it may grow."""
FIRST_STEP: Final = 1024 * 1024
LEAST_STEP: Final = 64 * 1024

UNSENT_SECONDS: Final = 0.05
"""So many seconds of a client's pace may wait in its socket."""


class Pace:
    """The sizes that one transfer works with, in bytes.

    `most_step` bounds a step. The bound on unsent bytes starts at `least_unsent` and
    never exceeds `most_unsent`.
    """

    __slots__ = (
        "_full_at",
        "_full_sent",
        "_least_unsent",
        "_most_step",
        "_most_unsent",
        "step",
        "unsent",
    )

    def __init__(self, most_step: int, least_unsent: int, most_unsent: int) -> None:
        self._most_step = most_step
        self._least_unsent = least_unsent
        self._most_unsent = max(most_unsent, least_unsent)
        self._full_at: float | None = None
        self._full_sent = 0
        self.step = min(FIRST_STEP, most_step)
        self.unsent = least_unsent

    def stepped(self, seconds: float) -> None:
        """A whole step took so long."""
        if seconds > STEP_SECONDS:
            self.step = max(self.step // 2, min(LEAST_STEP, self._most_step))
        elif seconds * 2 < STEP_SECONDS:
            self.step = min(self.step * 2, self._most_step)

    def full(self, sent: int, now: float) -> int | None:
        """The socket is full, `sent` bytes into the body; the new bound, if any.

        Between two such moments the client has taken what was sent between them.
        """
        before, self._full_at = self._full_at, now
        taken, self._full_sent = sent - self._full_sent, sent
        if before is None:
            return None
        pace = taken / max(now - before, 1e-6)
        bound = min(
            max(int(pace * UNSENT_SECONDS), self._least_unsent), self._most_unsent
        )
        if self.unsent // 2 < bound < self.unsent * 2:
            return None  # not worth a call to the kernel
        self.unsent = bound
        return bound

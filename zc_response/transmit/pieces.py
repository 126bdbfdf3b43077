"""How pieces of a body leave: by one strategy, until it is refused, then by another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from zc_response.policy import Policy
from zc_response.report import Tally
from zc_response.transmit.access import Access
from zc_response.transmit.behind import forgetting
from zc_response.transmit.body import Body
from zc_response.transmit.choose import Strategy
from zc_response.transmit.copy import copy
from zc_response.transmit.direct import direct
from zc_response.transmit.mapping import mmap
from zc_response.transmit.memory import lend, write
from zc_response.transmit.sendfile import sendfile
from zc_response.transmit.steps import Cursor, Line, Memory, RefusedError, Steps

STRATEGIES: Final[dict[str, Callable[[Line, Cursor], Steps]]] = {
    Strategy.SENDFILE: sendfile,
    Strategy.MMAP: mmap,
    Strategy.DIRECT: direct,
    Strategy.COPY: copy,
}
"""Those for slices of files."""
MEMORY_STRATEGIES: Final[dict[str, Callable[[Line, Memory], Steps]]] = {
    Strategy.ZEROCOPY: lend,
    Strategy.COPY: write,
}
"""Those for what is in memory."""


class Sender:
    """Sends the pieces of one body, by the strategy of its account, `tally`.

    Where that is refused, also in the middle of a piece, the table is asked again, and
    the account says so.
    """

    __slots__ = ("_access", "_body", "_policy", "_refused", "_tally")

    def __init__(
        self, body: Body, access: Access, policy: Policy, tally: Tally
    ) -> None:
        self._body, self._access = body, access
        self._policy, self._tally = policy, tally
        self._refused: dict[str, str] = {}

    def send(self, line: Line, piece: Cursor | Memory) -> Steps:
        """Send what is left of a piece over `line`, a step at a time."""
        while piece.left:
            try:
                yield from self._steps(line, piece)
            except RefusedError as refusal:
                self.fall_back(str(refusal))

    def _steps(self, line: Line, piece: Cursor | Memory) -> Steps:
        strategy = self._tally.strategy
        if isinstance(piece, Memory):
            return MEMORY_STRATEGIES[strategy](line, piece)
        steps = STRATEGIES[strategy](line, piece)
        return forgetting(steps, piece) if self._policy.cache == "drop" else steps

    def fall_back(self, why: str) -> None:
        """Take the best strategy that is left, for what is left."""
        tally = self._tally
        self._refused[tally.strategy] = why
        tally.strategy = self._body.choose(
            self._access, self._policy, tally.promised, self._refused.keys()
        ).strategy
        tally.reason = "; ".join(self._refused.values())

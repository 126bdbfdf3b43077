"""How slices of files leave: by one strategy, until it is refused, then by another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from zc_response.policy import Policy
from zc_response.transmit.access import Access
from zc_response.transmit.behind import forgetting
from zc_response.transmit.body import Body
from zc_response.transmit.choose import Strategy, choose
from zc_response.transmit.copy import copy
from zc_response.transmit.direct import direct
from zc_response.transmit.mapping import mmap
from zc_response.transmit.sendfile import sendfile
from zc_response.transmit.steps import Cursor, Line, RefusedError, Steps

STRATEGIES: Final[dict[str, Callable[[Line, Cursor], Steps]]] = {
    Strategy.SENDFILE: sendfile,
    Strategy.MMAP: mmap,
    Strategy.DIRECT: direct,
    Strategy.COPY: copy,
}


class Sender:
    """Sends the slices of one body over `line`, by the strategy of its account.

    Where that is refused, also in the middle of a slice, the table is asked again, and
    the account says so.
    """

    __slots__ = ("_access", "_body", "_line", "_policy", "_refused")

    def __init__(self, line: Line, body: Body, access: Access, policy: Policy) -> None:
        self._line, self._body = line, body
        self._access, self._policy = access, policy
        self._refused: dict[str, str] = {}

    def send(self, cursor: Cursor) -> Steps:
        """Send what is left of a slice, a step at a time."""
        tally = self._line.tally
        while cursor.left:
            try:
                steps = STRATEGIES[tally.strategy](self._line, cursor)
                if self._policy.cache == "drop":
                    steps = forgetting(steps, cursor)
                yield from steps
            except RefusedError as refusal:
                self._refused[tally.strategy] = str(refusal)
                tally.strategy = self._next_best()
                tally.reason = "; ".join(self._refused.values())

    def _next_best(self) -> Strategy:
        """The strategy for what is left, without those that have been refused."""
        return choose(
            self._access,
            self._policy,
            is_firm=self._body.is_firm,
            is_fixed=self._body.is_fixed,
            count=self._line.tally.promised,
            refused=self._refused.keys(),
        ).strategy

"""Which strategy carries a body: one table, read from the top."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Final, NamedTuple

from zc_response.policy import Policy
from zc_response.transmit.access import Access


class Strategy(str, Enum):
    """How the bytes of a slice leave."""

    SENDFILE = "sendfile"
    """By reference, from the page cache to the socket (sendfile(2))."""
    COPY = "copy"
    """Read into memory and written out again."""

    def __str__(self) -> str:
        return self.value


class Choice(NamedTuple):
    """A strategy and, in a few words, why it was taken."""

    strategy: Strategy
    reason: str


_Rule = tuple[Callable[[Access, Policy], bool], Strategy, str]

RULES: Final[tuple[_Rule, ...]] = (
    (lambda _, policy: not policy.zero_copy, Strategy.COPY, "switched off"),
    (lambda access, _: access.fileno is None, Strategy.COPY, ""),
    (lambda _a, _p: True, Strategy.SENDFILE, "plain socket"),
)
"""The first rule that holds decides; without a reason, the access's obstacle is it."""


def choose(access: Access, policy: Policy) -> Choice:
    """The strategy for slices of regular files over `access`, and why."""
    for holds, strategy, reason in RULES:
        if holds(access, policy):
            return Choice(strategy, reason or access.obstacle)
    raise AssertionError("the last rule always holds")

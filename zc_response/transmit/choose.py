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


class Case(NamedTuple):
    """What a choice depends on; `is_firm` says that nobody can change the files."""

    access: Access
    policy: Policy
    is_firm: bool

    @property
    def is_strict(self) -> bool:
        """True if no mixture may ever reach the client."""
        return self.policy.integrity == "strict"


_Rule = tuple[Callable[[Case], bool], Strategy, str]

RULES: Final[tuple[_Rule, ...]] = (
    (lambda case: not case.policy.zero_copy, Strategy.COPY, "switched off"),
    (lambda case: case.access.fileno is None, Strategy.COPY, ""),
    (
        lambda case: case.is_strict and not case.is_firm,
        Strategy.COPY,
        "strict, and no lease on the file",
    ),
    (
        lambda case: case.is_strict and case.access.is_same_host(),
        Strategy.COPY,
        "strict, and the client may be on this host",
    ),
    (lambda case: case.access.encrypts, Strategy.SENDFILE, "the kernel encrypts"),
    (lambda _: True, Strategy.SENDFILE, "plain socket"),
)
"""The first rule that holds decides; without a reason, the access's obstacle is it."""


def choose(access: Access, policy: Policy, *, is_firm: bool) -> Choice:
    """The strategy for slices of regular files over `access`, and why."""
    case = Case(access, policy, is_firm)
    for holds, strategy, reason in RULES:
        if holds(case):
            return Choice(strategy, reason or access.obstacle)
    raise AssertionError("the last rule always holds")

"""Which strategy carries a body: one table, read from the top.

Pure, but for the question where the client is, which is asked only if it decides.
"""

from __future__ import annotations

from collections.abc import Callable, Set as AbstractSet
from dataclasses import dataclass
from enum import Enum
from typing import Final, NamedTuple, TypeGuard

from zc_response.policy import Policy
from zc_response.transmit.access import Access


class Strategy(str, Enum):
    """How the bytes of a slice leave."""

    SENDFILE = "sendfile"
    """By reference, from the page cache to the socket (sendfile(2))."""
    MMAP = "mmap"
    """Copied into the socket out of a mapping, and never read (mmap(2), send(2))."""
    DIRECT = "direct"
    """Read around the page cache (O_DIRECT) and written out."""
    SPLICE = "splice"
    """By reference, from a pipe to the socket (splice(2))."""
    ZEROCOPY = "zerocopy"
    """By reference, from memory that is lent to the kernel (send(2), MSG_ZEROCOPY)."""
    COPY = "copy"
    """Read into memory and written out again."""

    def __str__(self) -> str:
        return self.value


class Choice(NamedTuple):
    """A strategy and, in a few words, why it was taken."""

    strategy: Strategy
    reason: str


def is_huge(policy: Policy, count: int) -> bool:
    """True if a file is not to be read through the page cache for so many bytes."""
    return policy.strategy == "direct" or 0 < policy.direct_min <= count


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What a choice depends on.

    `is_firm` says that nobody can change the files unless we let go of them, `is_fixed`
    that nobody ever can, not even what is under way of them; `flows` that it is a pipe
    or a socket: what has been written to that is nobody's to change; `in_memory` that
    it is bytes. `count` is how many there are to be sent.
    """

    access: Access
    policy: Policy
    is_firm: bool
    count: int
    is_fixed: bool = False
    flows: bool = False
    in_memory: bool = False

    @property
    def is_lent(self) -> bool:
        """True if the kernel is to read it where it is."""
        least = self.policy.zerocopy_min
        return self.in_memory and 0 < least <= self.count and self.access.may_lend()

    @property
    def is_strict(self) -> bool:
        """True if no mixture may ever reach the client, and one could."""
        return self.policy.integrity == "strict" and not self.is_fixed

    @property
    def is_huge(self) -> bool:
        """True if it is not to be read through the page cache."""
        is_file = not (self.is_fixed or self.flows or self.in_memory)
        return is_file and is_huge(self.policy, self.count)


class Rule(NamedTuple):
    """A line of the table: the case, in words too; the strategies that do, the best one
    first; and the reason that a report gives (the access's obstacle if it is empty)."""

    when: str
    holds: Callable[[Case], bool]
    strategies: tuple[Strategy, ...]
    reason: str


_COPY, _DIRECT, _MMAP, _SENDFILE, _SPLICE, _ZEROCOPY = map(
    Strategy, ("copy", "direct", "mmap", "sendfile", "splice", "zerocopy")
)

RULES: Final = (
    Rule(
        "`zero_copy` is off, or `strategy` is `copy`",
        lambda case: not case.policy.zero_copy or case.policy.strategy == "copy",
        (_COPY,),
        "switched off",
    ),
    Rule(
        "`strategy` is `direct`, or `direct_min` bytes or more are to be sent",
        lambda case: case.is_huge,
        (_DIRECT,),
        "around the page cache",
    ),
    Rule(
        "the socket cannot be had: TLS, HTTP/2, a server we do not know",
        lambda case: case.access.fileno is None,
        (_COPY,),
        "",
    ),
    Rule(
        "it is a pipe or a socket that is sent",
        lambda case: case.flows,
        (_SPLICE, _COPY),
        "a pipe, and a plain socket",
    ),
    Rule(
        "it is in memory, `zerocopy_min` bytes or more, and goes to another host",
        lambda case: case.is_lent,
        (_ZEROCOPY,),
        "in memory, and a client on another host",
    ),
    Rule(
        "it is in memory",
        lambda case: case.in_memory,
        (_COPY,),
        "in memory",
    ),
    Rule(
        "`integrity` is `strict`, and there is no firm lease on the file",
        lambda case: case.is_strict and not case.is_firm,
        (_COPY,),
        "strict, and no lease on the file",
    ),
    Rule(
        "`strategy` is `mmap`",
        lambda case: case.policy.strategy == "mmap",
        (_MMAP,),
        "asked for",
    ),
    Rule(
        "`integrity` is `strict`, and the client may be on this host",
        lambda case: case.is_strict and case.access.is_same_host(),
        (_MMAP, _COPY),
        "strict, and the client may be on this host",
    ),
    Rule(
        "TLS, which the kernel encrypts on this connection (kTLS)",
        lambda case: case.access.encrypts,
        (_SENDFILE, _MMAP, _COPY),
        "the kernel encrypts",
    ),
    Rule(
        "else",
        lambda _: True,
        (_SENDFILE, _MMAP, _COPY),
        "plain socket",
    ),
)
"""The first rule that holds decides. A strategy that a kernel, filesystem or filter has
refused is left out, and with its last one the rule."""

NONE: Final[frozenset[str]] = frozenset()


def choose(
    access: Access,
    policy: Policy,
    *,
    is_firm: bool,
    count: int,
    is_fixed: bool = False,
    flows: bool = False,
    in_memory: bool = False,
    refused: AbstractSet[str] = NONE,
) -> Choice:
    """The strategy for slices of regular files over `access`, and why.

    Or, if it `flows`, for a stream; or for bytes `in_memory`.
    """
    case = Case(
        access=access,
        policy=policy,
        is_firm=is_firm,
        is_fixed=is_fixed,
        flows=flows,
        in_memory=in_memory,
        count=count,
    )
    rule, strategy = deciding(case, refused)
    return Choice(strategy, rule.reason or access.obstacle)


def is_to_be_lent(
    data: object, access: Callable[[], Access], policy: Policy
) -> TypeGuard[bytes]:
    """True if a body that an application has in memory is worth a transfer of ours.

    Only what is `bytes`, whose memory nobody can change.
    """
    return (
        policy.zerocopy_min > 0
        and type(data) is bytes
        and len(data) >= policy.zerocopy_min
        and choose(
            access(), policy, is_firm=True, in_memory=True, count=len(data)
        ).strategy
        is Strategy.ZEROCOPY
    )


def deciding(case: Case, refused: AbstractSet[str] = NONE) -> tuple[Rule, Strategy]:
    """The rule that decides a case, and the strategy that it comes to."""
    for rule in RULES:
        left = [each for each in rule.strategies if each not in refused]
        if left and rule.holds(case):
            return rule, left[0]
    raise AssertionError("copy is never refused")

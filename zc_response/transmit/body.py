"""A body to be sent: its segments, and a hold on each file they are slices of.

Or a stream, which is all of its body; or bytes that may be lent to the kernel.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence, Set as AbstractSet

from zc_response.guards import COUNT, LEASE, Hold
from zc_response.planning import Segment
from zc_response.policy import Policy
from zc_response.report import Tally
from zc_response.sources import FileSource, Stream
from zc_response.transmit.access import Access
from zc_response.transmit.choose import NONE, Choice, choose
from zc_response.transmit.steps import Cursor, Memory, source_of


class Body:
    """What is to be sent, in order: literal bytes, and cursors over slices.

    It holds its files until it is closed, so nothing that happens to the response that
    made the segments can take a descriptor away from under it. Raises FileChangedError
    if a file has changed since it was opened; nothing has been sent of it then.
    """

    __slots__ = ("holds", "memory", "pieces", "stream")

    def __init__(self, segments: Sequence[Segment], policy: Policy) -> None:
        self.stream: Stream | None = None
        self.memory: Memory | None = None
        self.holds: list[Hold] = []
        self.pieces: list[bytes | Cursor] = []
        held: dict[FileSource, Hold] = {}
        try:
            for segment in segments:
                if not len(segment):
                    continue
                if isinstance(segment, bytes):
                    self.pieces.append(segment)
                    continue
                source = source_of(segment)
                if source not in held:
                    held[source] = Hold(source, policy)
                    self.holds.append(held[source])
                self.pieces.append(Cursor(segment, held[source]))
            for hold in self.holds:
                hold.begin()
        except BaseException:
            self.close()
            raise

    @classmethod
    def of_stream(cls, stream: Stream, policy: Policy) -> Body:
        """A body that is a stream, which becomes its own."""
        body = cls((), policy)
        body.stream = stream
        return body

    @classmethod
    def of_memory(cls, data: bytes, policy: Policy) -> Body:
        """A body that is in memory. What is `bytes` nobody can change."""
        body = cls((), policy)
        body.memory = Memory(data)
        return body

    def choose(
        self,
        access: Access,
        policy: Policy,
        count: int,
        refused: AbstractSet[str] = NONE,
    ) -> Choice:
        """By which strategy `count` bytes of it should leave over `access`, and why."""
        return choose(
            access,
            policy,
            is_firm=self.is_firm,
            is_fixed=self.is_fixed,
            flows=self.stream is not None,
            in_memory=self.memory is not None,
            count=count,
            refused=refused,
        )

    def account(
        self, access: Access, policy: Policy, *, path: str, status: int, count: int
    ) -> Tally:
        """The account of its way over `access`; `count` bytes of it are promised."""
        strategy, reason = self.choose(access, policy, count)
        return Tally(
            path=path,
            status=status,
            promised=count,
            strategy=strategy,
            reason=reason,
            guard=self.guard,
            guard_reason=self.guard_reason,
        )

    @property
    def guard(self) -> str:
        """What stands behind it: the weakest of the guards of its files."""
        guards = [hold.guard for hold in self.holds] or [COUNT]
        return next((guard for guard in guards if guard != LEASE), LEASE)

    @property
    def guard_reason(self) -> str:
        """Why that is no lease."""
        return next((hold.reason for hold in self.holds if hold.reason), "")

    @property
    def filesystem(self) -> Hashable:
        """What stands for the filesystem whose threads may take a step."""
        return self.holds[0].source.facts.device if self.holds else None

    @property
    def is_firm(self) -> bool:
        """True if nobody at all can change its files without our letting go."""
        return all(hold.is_firm for hold in self.holds)

    @property
    def is_fixed(self) -> bool:
        """True if they cannot change at all, and so neither can what is under way."""
        return all(hold.is_fixed for hold in self.holds)

    def close(self) -> None:
        """Let go of its files; end its stream."""
        if self.stream is not None:
            self.stream.close()
        while self.holds:
            self.holds.pop().close()

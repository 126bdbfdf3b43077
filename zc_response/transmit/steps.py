"""The words that strategies and drivers share."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from enum import Enum, auto
from typing import Final, TypeAlias

from zc_response.errors import DisconnectedError
from zc_response.guards import Hold
from zc_response.kernel import sockets
from zc_response.planning import Slice
from zc_response.policy import Policy
from zc_response.report import Tally
from zc_response.sources import FileSource
from zc_response.transmit.loans import Loan
from zc_response.transmit.pace import Pace


class Want(Enum):
    """What a strategy waits for before its next step."""

    WRITABLE = auto()
    """The socket is full."""
    TURN = auto()
    """Nothing; but others have waited long enough."""
    DISK = auto()
    """To be somewhere else: the next step may have to wait for a disk. Whoever must
    not wait has it taken in another thread."""
    READABLE = auto()
    """The stream that is sent has nothing to take, or memory is lent to the kernel, and
    there is neither room nor any of it back; the job's `input` tells of more."""
    SOON = auto()
    """Some milliseconds, for something that nobody will tell."""


Steps: TypeAlias = Iterator[Want]


def until_free(hold: Hold) -> Steps:
    """Wait as long as somebody waits to write to the file, and it has to be let go."""
    while hold.is_broken:
        hold.check_failure()
        yield Want.SOON


class RefusedError(Exception):
    """A kernel, filesystem or filter declines this strategy; another may do."""


def source_of(piece: Slice) -> FileSource:
    """The source of a slice, which planning carries without knowing it."""
    if not isinstance(piece.source, FileSource):
        raise TypeError(f"{piece.source!r} is not a source that can be sent")
    return piece.source


class Cursor:
    """How far a slice has come: what is left of it starts at `offset`."""

    __slots__ = ("end", "hold", "offset")

    def __init__(self, piece: Slice, hold: Hold) -> None:
        self.hold = hold
        self.offset = piece.offset
        self.end = piece.offset + piece.count
        hold.owed.append(self)

    @property
    def source(self) -> FileSource:
        """Where its bytes come from now."""
        return self.hold.source

    @property
    def left(self) -> int:
        """Bytes still to be sent."""
        return self.end - self.offset


class Memory:
    """How far a body that is in memory has come: what is left starts at `offset`."""

    __slots__ = ("_view", "loan", "offset")

    def __init__(self, data: bytes) -> None:
        self._view = memoryview(data)
        self.loan = Loan(data)
        self.offset = 0

    @property
    def left(self) -> int:
        """Bytes still to be sent."""
        return len(self._view) - self.offset

    def next(self, limit: int) -> memoryview:
        """The next of them, at most `limit`."""
        return self._view[self.offset : self.offset + limit]


CORKED_BYTES: Final = 8 * 1024 * 1024
"""A body from this size on is sent in full segments, unless the connection is paced:
for 1 GiB over loopback that takes a tenth of the time off with Reno, and adds a fifth
with BBR; for 1 MiB the calls cost more than they gain."""


class Line:
    """The outgoing line of one transfer: its socket, its pace, its account.

    `has_references` says that pages of a file have been queued on the socket, `waits`
    that its calls wait for the client: then their time tells nothing of their size.
    `rest` gives back what a strategy can do without while its client takes nothing.
    """

    __slots__ = (
        "_is_corked",
        "_max_rate",
        "cold_bytes",
        "has_references",
        "pace",
        "rest",
        "socket",
        "tally",
        "waits",
    )

    def __init__(self, sock: sockets.Socket, policy: Policy, tally: Tally) -> None:
        self.socket = sock  # another one of the same connection after a long wait
        self.has_references = self.waits = False
        self.tally = tally
        self.pace = Pace(policy.step_bytes, policy.unsent_bytes, policy.unsent_max)
        self.cold_bytes = min(policy.cold_bytes, policy.step_bytes)
        self._max_rate = policy.max_rate
        self._is_corked = False
        self.rest: Callable[[], object] = _nothing

    def open(self, *, flows: bool = False) -> None:
        """Set the socket up for a body of the size that the account promises.

        One that `flows` at its producer's pace has any size, and nothing of it may be
        kept back. The bound on unsent bytes is the connection's: what an earlier
        response on it has found out about the client is kept.
        """
        if self._max_rate:
            sockets.pace(self.socket, self._max_rate)
        if self.tally.promised >= CORKED_BYTES and not flows:
            self._is_corked = not sockets.is_paced(self.socket)
        if self._is_corked:
            sockets.cork(self.socket, True)
        if flows or self.tally.promised > self.pace.unsent:
            known = sockets.unsent_limit(self.socket)
            if known == 0:
                sockets.limit_unsent(self.socket, self.pace.unsent)
            elif known is not None:
                self.pace.unsent = known

    def uncork(self) -> None:
        """Let the last segment go, full or not."""
        if self._is_corked:
            sockets.cork(self.socket, False)
            self._is_corked = False

    def close(self) -> Steps:
        """Let what is paced leave at its pace before the connection is anyone else's.

        With a bound of one byte, writable means that nothing is left unsent.
        """
        self.uncork()
        if self._max_rate:
            sockets.limit_unsent(self.socket, 1)
            yield Want.WRITABLE
            sockets.pace(self.socket, 0)
            sockets.limit_unsent(self.socket, self.pace.unsent)

    def is_full(self) -> Want:
        """What to wait for now that the socket takes no more."""
        bound = self.pace.full(self.tally.sent, time.monotonic())
        if bound is not None:
            sockets.limit_unsent(self.socket, bound)
        return Want.WRITABLE

    def write(
        self, data: bytes | memoryview, *, more: bool, counted: bool = True
    ) -> Steps:
        """Send literal bytes; `more` says that others follow at once.

        `counted` ones are part of the body.
        """
        view = memoryview(data)
        while view:
            try:
                count = sockets.send(self.socket, view, more=more)
            except BlockingIOError:
                yield self.is_full()
                continue
            except OSError as exc:
                raise peer_gone(exc) from exc
            view = view[count:]
            if counted:
                self.tally.sent += count


def _nothing() -> None:
    """There is nothing to be given back."""


def peer_gone(exc: OSError) -> Exception:
    """`exc` as a DisconnectedError if it says that the peer is lost, else as it is."""
    if exc.errno in sockets.PEER_GONE:
        return DisconnectedError(f"the client left: {exc.strerror}")
    return exc

"""The leases of this process: one for each open file, shared by all who send from it.

The life of a lease:

    HELD      nobody can write to the file
    BREAKING  somebody waits to; a snapshot is made, and whoever sends from the file
              lets go of it, or is cut off when the break budget ends
    OVER      given back; the writer goes on

A lease is taken when the first transfer of a file begins. When the last has ended, and
the file is kept open, it stays for a moment, because on a busy file the next is about
to begin; a writer who comes then waits no longer than the keeper takes to wake up.

What is done by whom: transfers join and leave, in any thread; a thread of the file's
filesystem makes the snapshot; the keeper hears of writers, and goes round among those
who have to let go. None of this needs their event loop, which may be the very thread
that waits to write.
"""

from __future__ import annotations

import errno
import logging
import os
import time
from collections.abc import Iterable
from enum import Enum, auto
from functools import partial
from typing import Final, Protocol

from zc_response.errors import FileChangedError
from zc_response.guards import snapshots
from zc_response.guards.keeper import Keeper
from zc_response.guards.snapshots import Snapshot, Stretch
from zc_response.kernel import leases as kernel
from zc_response.native import new_lock
from zc_response.sources import FileSource
from zc_response.threads import lane

logger: Final = logging.getLogger("zc_response")

TRUSTED: Final = frozenset(("ext4", "xfs", "btrfs", "tmpfs"))
"""Filesystems on which no write goes past a lease."""
WEAK: Final = frozenset(("overlay",))
"""Those with leases that do not see who writes to the layers below."""

LINGER_SECONDS: Final = 0.2
"""How long a lease is kept that nobody uses."""
LOOK_SECONDS: Final = 0.25
"""How often all leases are looked at: the bound on a break whose signal was lost."""
IDLE_SECONDS: Final = 10.0
"""How long the keeper stays without a lease."""
GRACE_SECONDS: Final = 0.4
"""After the budget: for a loop to abort what has been cut off."""
BUSY_SECONDS: Final = 0.005
"""How often those are looked at who have to let go."""
_TOO_LATE: Final = "the client has not taken in time what was sent of it"

REFUSALS: Final = {
    errno.EACCES: "the process does not own the file and lacks CAP_LEASE",
    errno.EAGAIN: "somebody has the file open for writing",
    errno.EINVAL: "leases are switched off (fs.leases-enable), or there are none here",
}
"""Why the kernel refuses a lease."""


_LASTING: Final = frozenset((errno.EACCES, errno.EPERM, errno.EINVAL))
"""What will be said again as long as the file is open."""
_REFUSAL: Final = object()  # their places in a source's memo
_LEASE: Final = object()


class State(Enum):
    """Where a lease is in its life."""

    HELD = auto()
    BREAKING = auto()
    OVER = auto()


class User(Protocol):
    """Who sends from a leased file. Its methods are called in any thread."""

    budget: float
    """Seconds that a writer may be made to wait."""
    most_bytes: int
    """Bytes that may be copied into memory."""

    def needs(self) -> list[Stretch]:
        """What it has still to send."""

    def let_go(self, lease: Lease) -> bool:
        """Send the rest from the snapshot; False if it cannot do without the file yet.

        It never waits.
        """

    def cut_off(self, reason: str) -> bool:
        """Send nothing any more; True if nothing of the file can reach the client."""


class Lease:
    """A read lease on an open file.

    A snapshot is there, or will never be, when `is_decided`.
    """

    __slots__ = (
        "deadline",
        "fd",
        "is_decided",
        "is_weak",
        "snapshot",
        "source",
        "state",
        "used_at",
        "users",
    )

    def __init__(self, source: FileSource) -> None:
        self.source = source.retain()
        self.fd = source.fileno()
        self.state = State.HELD
        self.is_weak = source.facts.filesystem in WEAK
        self.users: set[User] = set()
        self.used_at = time.monotonic()
        self.deadline = 0.0
        self.is_decided = False
        self.snapshot: Snapshot | None = None

    @property
    def is_held(self) -> bool:
        """True as long as nobody can have written to the file."""
        return self.state is State.HELD

    def close(self) -> None:
        """Give back what it holds; once it is over."""
        self.source.release()
        if self.snapshot is not None:
            self.snapshot.source.release()


class Leases:
    """All of them."""

    def __init__(self) -> None:
        self._reset()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._forget_after_fork)

    def _reset(self) -> None:
        self._lock = new_lock()
        self._leases: dict[int, Lease] = {}
        self._keeper: Keeper | None = None
        self._used_at = time.monotonic()
        self._obstacle = ""  # why there can be no keeper here

    # Who sends ---------------------------------------------------------------------

    def lend(self, source: FileSource) -> Lease | str:
        """The lease on a file, for a moment in which `is_held` is asked again; or why
        there is none. Raises FileChangedError if the file is not as it was opened."""
        known: Lease | None = source.memo.get(_LEASE)
        if known is not None and known.state is State.HELD:
            known.used_at = time.monotonic()
            return known
        with self._lock:
            lease = self._leases.get(source.fileno()) or self._take(source)
            if isinstance(lease, str):
                return lease
            if lease.state is not State.HELD:
                return "somebody waits to write to the file"
            lease.used_at = time.monotonic()
            return lease

    def join(self, source: FileSource, user: User) -> Lease | str:
        """The same, until `leave`."""
        lease = self.lend(source)
        if isinstance(lease, str):
            return lease
        with self._lock:
            if lease.state is State.HELD:
                lease.users.add(user)
                return lease
        return self.join(source, user)

    def leave(self, lease: Lease, user: User) -> None:
        """Let go: no byte that the file can change is, or will be, on its way."""
        with self._lock:
            lease.users.discard(user)
            lease.used_at = time.monotonic()
            is_awaited = lease.state is State.BREAKING or not lease.source.is_kept
            is_last = is_awaited and not lease.users and lease.state is not State.OVER
            if is_last:
                self._give_back(lease)
        if is_last:
            lease.close()

    def _clear(self, lease: Lease) -> None:
        """Have let go of a broken lease who can; in the end, everybody."""
        is_late = time.monotonic() >= lease.deadline
        for user in tuple(lease.users):
            if user.let_go(lease) or (is_late and user.cut_off(_TOO_LATE)):
                self.leave(lease, user)

    def _take(self, source: FileSource) -> Lease | str:
        known: str | None = source.memo.get(_REFUSAL)
        if known is not None:
            return known
        filesystem = source.facts.filesystem
        if filesystem not in TRUSTED and filesystem not in WEAK:
            return f"leases of {filesystem} are not to be trusted"
        if source.is_borrowed:
            return "the descriptor is the application's own"
        keeper = self._keeper_thread()
        if isinstance(keeper, str):
            return keeper
        fd = source.fileno()
        try:
            kernel.take(fd, keeper)
        except OSError as exc:
            reason = REFUSALS.get(exc.errno or 0) or f"refused: {exc.strerror}"
            if exc.errno in _LASTING:
                source.remember(_REFUSAL, reason)
            return reason
        if not source.facts.are_still(os.fstat(fd)):
            kernel.give_back(fd)
            raise FileChangedError.of(source.path)
        lease = self._leases[fd] = Lease(source)
        source.remember(_LEASE, lease)
        return lease

    def _keeper_thread(self) -> int | str:
        """The keeper's TID, or why there is none; it is started if it is not there."""
        if self._obstacle:
            return self._obstacle
        if self._keeper is not None and self._keeper.is_alive:
            return self._keeper.tid
        keeper = Keeper(self)
        self._used_at = time.monotonic()
        try:
            keeper.start()
        except RuntimeError:
            return "no thread is left to look after a lease"
        except OSError as exc:
            reason = f"breaks cannot be heard of: {exc.strerror}"
            if exc.errno in (errno.ENOSYS, errno.EPERM):  # for good
                self._obstacle = reason
            return reason
        self._keeper = keeper
        return keeper.tid

    # What the keeper calls ----------------------------------------------------------

    def look_around(self) -> float | None:
        """Do what is due; seconds until the next time, None if the keeper can go."""
        now = time.monotonic()
        over: list[Lease] = []
        with self._lock:
            for lease in tuple(self._leases.values()):
                if self._is_over_when_broken(lease):
                    over.append(lease)
                elif self._is_idle(lease, now) or self._is_stuck(lease, now):
                    self._give_back(lease)
                    over.append(lease)
            broken = [each for each in self._leases.values() if not each.is_held]
            if self._leases:
                self._used_at = now
            elif now - self._used_at >= IDLE_SECONDS:
                self._keeper = None
                return None
        _close(over)
        for lease in broken:
            self._clear(lease)
        return BUSY_SECONDS if broken else LOOK_SECONDS

    def lost(self, keeper: Keeper) -> None:
        """The keeper has died: nobody would hear of a writer any more."""
        with self._lock:
            if self._keeper is not keeper:
                return
            self._keeper = None
            over = list(self._leases.values())
            for lease in over:
                self._give_back(lease)
        for lease in over:
            for user in tuple(lease.users):
                user.cut_off("nobody looks after its lease")
        _close(over)

    def _is_idle(self, lease: Lease, now: float) -> bool:
        idle = now - lease.used_at
        return lease.is_held and not lease.users and idle >= LINGER_SECONDS

    def _is_stuck(self, lease: Lease, now: float) -> bool:
        """True if its users have been cut off, and a loop has not yet seen it."""
        late = now - lease.deadline
        return lease.state is State.BREAKING and late >= GRACE_SECONDS

    def _is_over_when_broken(self, lease: Lease) -> bool:
        """Have it broken, if the kernel says so; True if nobody minds."""
        if lease.state is not State.HELD or kernel.is_held(lease.fd):
            return False
        if not lease.users:
            self._give_back(lease)
            return True
        budget = min(user.budget for user in lease.users)
        longest = kernel.break_time() / 2
        lease.deadline = time.monotonic() + min(budget, longest)
        lease.state = State.BREAKING
        try:
            lane(lease.source.facts.device).submit(partial(self._rescue, lease))
        except RuntimeError:  # no thread is left
            lease.is_decided = True
        return False

    def _rescue(self, lease: Lease) -> None:
        """Make the snapshot, in a thread of the filesystem, and tell who waits."""
        with self._lock:
            if lease.state is not State.BREAKING:
                return
            users = list(lease.users)
            source = lease.source.retain()
        with source:
            needs = [need for user in users for need in user.needs()]
            most = max((user.most_bytes for user in users), default=0)
            snapshot = snapshots.make(source, needs, most, lease.deadline)
        with self._lock:
            # Only if the writer has waited until now is it what it should be.
            is_good = lease.state is State.BREAKING
            if is_good:
                lease.snapshot = snapshot
            lease.is_decided = True
        if is_good:
            self._clear(lease)
        elif snapshot is not None:
            snapshot.source.release()

    def _give_back(self, lease: Lease) -> None:
        lease.state = State.OVER
        del self._leases[lease.fd]
        try:
            kernel.give_back(lease.fd)
        except OSError:  # the kernel has taken it
            logger.warning("a lease on %s could not be given back", lease.source.path)

    # The end -----------------------------------------------------------------------

    def close(self) -> None:
        """Give all leases back that nobody uses, and let the keeper go."""
        with self._lock:
            over = [lease for lease in self._leases.values() if not lease.users]
            for lease in over:
                self._give_back(lease)
            keeper = None if self._leases else self._keeper
            if keeper is not None:
                self._keeper = None
        _close(over)
        if keeper is not None:
            keeper.dismiss()

    def __len__(self) -> int:
        return len(self._leases)

    def _forget_after_fork(self) -> None:
        """In a child: the leases are the parent's, but its descriptors keep them.

        The lock may be held, and the keeper is not there.
        """
        leases, keeper = list(self._leases.values()), self._keeper
        self._reset()
        for lease in leases:
            lease.state = State.OVER
            lease.source.close_after_fork()
            if lease.snapshot is not None:
                lease.snapshot.source.close_after_fork()
        if keeper is not None:
            keeper.close_after_fork()


def _close(leases: Iterable[Lease]) -> None:
    for lease in leases:
        lease.close()


leases: Final = Leases()
"""Those of this process."""

lease_or_reason: Final = leases.lend
close_all: Final = leases.close

"""One transfer's hold on one file: where its bytes come from, and are they good?

Without a lease the facts of the file are compared. For `safe` that is: size and mtime,
between steps. It cannot see a write(2) that had set the mtime before we looked, and is
still changing bytes. For `strict`, and for `safe` when the mtime is young, each look at
what is read therefore waits until no write is under way: facts, wait, read, wait,
facts. Whoever changes bytes between the two waits has begun after the first facts, and
so has set a new time before the second (a write counts as under way from before it sets
the time: `kernel.files.wait_for_writes`). Stores to a mapping set no such time; only a
lease knows of them, and is refused.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable
from typing import Final, Protocol, TypeVar

from zc_response.errors import ChangedError, FileChangedError
from zc_response.guards.leases import Lease, State, leases
from zc_response.guards.snapshots import Snapshot, Stretch
from zc_response.kernel import files, pages
from zc_response.native import new_lock
from zc_response.policy import Policy
from zc_response.sources import SNAPSHOT, FileSource, grain_ns

COUNT: Final = "count"
STAT: Final = "stat"
LEASE: Final = "lease"

Bytes = bytes | bytearray
_T = TypeVar("_T")


class Rest(Protocol):
    """What is left of a slice: from `offset` on, up to `end`."""

    offset: int
    end: int


class Carrier(Protocol):
    """Who takes bytes of a file to a client. Its methods are called in any thread."""

    def is_under_way(self) -> bool:
        """True if the kernel holds pages of a file that the client has not taken."""

    def cut(self) -> bool:
        """End the connection at once; False if that cannot be done from here."""

    def wake(self) -> None:
        """Find out that it is over."""


class Hold:
    """A hold on a file, from `begin` until `close`.

    `source` is where bytes come from now; `guard` says what stands behind it, and
    `reason` why that is not a lease. One that `is_fixed` needs no guarding: its bytes
    cannot change, nor can those that are queued. Who sends bytes by reference does so
    in its context, in which `source` stays what it is, and only if it is not
    `is_broken`.
    """

    __slots__ = (
        "_failure",
        "_is_closing",
        "_is_guarded",
        "_is_open",
        "_is_settled",
        "_is_strict",
        "_is_wary",
        "_lease",
        "_lock",
        "_status",
        "budget",
        "carrier",
        "guard",
        "is_fixed",
        "most_bytes",
        "owed",
        "reason",
        "source",
    )

    def __init__(self, source: FileSource, policy: Policy) -> None:
        self._is_strict = policy.integrity == "strict"
        self.is_fixed = source.fixed is not None
        self._is_wary = self._is_strict or is_young(source)
        self._is_settled = not self._is_wary
        self._lease: Lease | None = None
        self._status: os.stat_result | None = None
        self.budget = policy.break_budget
        self.most_bytes = policy.snapshot_bytes
        self.owed: list[Rest] = []
        self.carrier: Carrier | None = None
        self._lock = new_lock()
        self._failure = ""
        self._is_open, self._is_closing = True, False
        self._is_guarded = policy.integrity != "fast" and not self.is_fixed
        self.guard, self.reason = source.fixed or (COUNT, "")
        self.source = source.retain()

    def begin(self) -> None:
        """Start to guard the file; all that will be sent of it is `owed` by now.

        Raises FileChangedError if it is not what it was when it was opened: nothing has
        been sent of it then.
        """
        if not self._is_guarded:
            return
        with self:
            lease = leases.join(self.source, self)
            if isinstance(lease, str):
                self.guard, self.reason = STAT, lease
            else:
                self.guard, self._lease = LEASE, lease
                self._is_settled = True
            if self._lease is None or self._lease.is_weak:
                # Elsewhere it has just been opened, and this must not wait.
                local = self.source.is_local
                now = os.fstat(self.source.fileno()) if local else self.source.status
                if not self.source.facts.are_still(now):
                    raise FileChangedError.of(self.source.path)
                self._status = now

    def needs(self) -> list[Stretch]:
        """What is still to be sent of the file."""
        return [(each.offset, each.end) for each in self.owed if each.offset < each.end]

    # What the steps ask -------------------------------------------------------------

    @property
    def is_broken(self) -> bool:
        """True if somebody waits to write, until the file has been let go."""
        return self._lease is not None and self._lease.state is not State.HELD

    @property
    def is_firm(self) -> bool:
        """True as long as nobody at all can change the file."""
        if self.is_fixed or self.guard == SNAPSHOT:
            return True
        return self._lease is not None and not self._lease.is_weak

    @property
    def may_wait(self) -> bool:
        """True if `read` may have to wait for a writer."""
        return self._is_wary and self._status is not None

    @property
    def compares(self) -> bool:
        """True if only a look at the facts tells whether the file has changed."""
        return self._status is not None

    def check(self) -> None:
        """Raise ChangedError if what has been read until now may not be as promised.

        It may have to wait, as a read may.
        """
        self.check_failure()
        if self._status is not None:
            now = os.fstat(self.source.fileno())
            change = _change(self._status, now, self._is_strict)
            if change:
                raise ChangedError(f"{self.source.path} {change} while it was sent")
            self._status = now

    def check_failure(self) -> None:
        """Raise ChangedError if it could not let go of the file in time."""
        if self._failure:
            raise ChangedError(f"{self.source.path} {self._failure}")

    def read(self, offset: int, count: int) -> bytes | None:
        """Up to `count` bytes from `offset` on, if they are good.

        None as long as it `is_broken`.
        """
        return self.look(lambda source: source.read(offset, count))

    def look(self, function: Callable[[FileSource], _T]) -> _T | None:
        """What `function` gets from the file, if that is good; whoever waits to write
        waits for it.

        None as long as it `is_broken`. Raises as `check`.
        """
        with self:
            if self.is_broken:
                return None
            if not self._is_settled:
                self._settle()
            found = function(self.source)
            self._check_read()
        return found

    def _check_read(self) -> None:
        if self.may_wait:
            files.wait_for_writes(self.source.fileno())
        self.check()

    def __enter__(self) -> Hold:
        self._lock.acquire()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._lock.release()
        if self._is_closing:
            self.close()

    def _settle(self) -> None:
        """Have a first look that no later change can hide from."""
        if self._status is None:
            return
        grain = grain_ns(self.source.facts.filesystem)
        young = self._status.st_mtime_ns + grain - time.time_ns()
        if 0 < young <= grain:
            time.sleep(young / 1e9)
        self._check_read()
        self._is_settled = True

    # When somebody waits to write ----------------------------------------------------

    def let_go(self, lease: Lease) -> bool:
        """Let go of the file, and go on from the snapshot; False if it is too soon.

        That is: while a step is being taken, while bytes are under way that the file
        could still change, and while the snapshot is being made.
        """
        if not self._lock.acquire(blocking=False):
            return False
        try:
            if lease is not self._lease:
                return True
            if self.carrier is not None and self.carrier.is_under_way():
                return False
            needs = self.needs()
            if needs and not lease.is_decided:
                return False
            if needs:
                self._go_on_from(lease.snapshot, needs)
            self._lease = None
            return True
        finally:
            self.__exit__()

    def _go_on_from(self, snapshot: Snapshot | None, needs: list[Stretch]) -> None:
        if snapshot is None or not snapshot.covers(needs):
            self._failure = f"{_ABOUT} there is no copy of the rest"
            return
        try:
            source = snapshot.source.retain()
        except ValueError:  # closed: its lease was taken away in this moment
            self._failure = f"{_ABOUT} it was too late for a copy of the rest"
            return
        before, self.source = self.source, source
        self.guard, self._status = SNAPSHOT, None
        before.release()

    def cut_off(self, reason: str) -> bool:
        """Have the transfer fail; True if no more of the file can reach the client."""
        carrier, is_first = self.carrier, not self._failure
        self._failure = f"{_ABOUT} {reason}"
        if carrier is None or not self._is_on_its_way(carrier):
            return True
        is_cut = carrier.cut()
        if is_first:
            carrier.wake()
        return is_cut

    def _is_on_its_way(self, carrier: Carrier) -> bool:
        """True if the client may still get bytes of the file: those that the kernel
        has, and those that a step is just about to queue."""
        if not self._lock.acquire(blocking=False):
            return True
        try:
            return carrier.is_under_way()
        finally:
            self.__exit__()

    # The end -----------------------------------------------------------------------

    def close(self) -> None:
        """Let go of everything; if a step is being taken, as soon as it is over."""
        self._is_closing = True
        if self._lock.acquire(blocking=False):
            try:
                self._close()
            finally:
                self._lock.release()

    def _close(self) -> None:
        if not self._is_open:
            return
        self._is_open = False
        lease, self._lease = self._lease, None
        if lease is not None:
            leases.leave(lease, self)
        self.carrier = None
        self.owed.clear()
        self.source.release()


_ABOUT: Final = "is about to be written to, and"


def read_at_once(
    source: FileSource, integrity: str, read: Callable[[], Bytes | None]
) -> Bytes | None:
    """What `read` gets of a small file, in one go that does not wait.

    None if it gets nothing, or something that may not be good.
    """
    if integrity == "fast" or source.fixed is not None:
        return read()
    lease = _lent(source)
    if lease is None:
        if integrity == "strict" or is_young(source):
            return None
        found = read()
        return found if found is not None and source.is_unchanged() else None
    found = read()
    if lease.is_weak and not source.is_unchanged():
        return None
    return found if lease.state is State.HELD else None


def read_borrowed(fd: int, offset: int, count: int, integrity: str) -> Bytes | None:
    """`count` bytes of a file that somebody else has opened, without waiting.

    None if they cannot be had so, or may not be good: there is no lease on a descriptor
    that others may use, so nothing but its facts speaks for them. May raise OSError.
    """
    before = os.fstat(fd)
    if integrity == "strict" or not stat.S_ISREG(before.st_mode):
        return None
    if integrity == "safe" and _is_recent(before.st_mtime_ns):
        return None
    data = pages.read_nowait(fd, offset, count)
    if len(data) != count:
        return None
    if integrity == "safe" and _change(before, os.fstat(fd), is_strict=False):
        return None
    return data


def _lent(source: FileSource) -> Lease | None:
    if not source.is_kept:  # a lease is not worth taking for one look
        return None
    try:
        lease = leases.lend(source)
    except FileChangedError:
        return None
    return None if isinstance(lease, str) else lease


def is_young(source: FileSource) -> bool:
    """True if the file was written to so lately that the write may still be under way.

    A write(2) sets the mtime as it begins.
    """
    return _is_recent(source.facts.mtime_ns)


def _is_recent(mtime_ns: int) -> bool:
    return time.time_ns() - mtime_ns < _YOUNG_NS


_YOUNG_NS: Final = 1_000_000_000


def _change(before: os.stat_result, now: os.stat_result, is_strict: bool) -> str:
    """In what way a file has changed, in words; empty if it has not.

    Who writes and sets the mtime back still leaves a new ctime. But so do chmod and
    rename, which harm nobody; so `safe` does not ask for it. `strict` does, and lets it
    pass only where the file has lost a name: publishing by rename takes the old file's.
    """
    if now.st_size != before.st_size:
        return f"changed from {before.st_size} to {now.st_size} bytes"
    if now.st_mtime_ns != before.st_mtime_ns:
        return "was written to"
    has_new_ctime = now.st_ctime_ns != before.st_ctime_ns
    if is_strict and has_new_ctime and now.st_nlink >= before.st_nlink:
        return "was changed, and its mtime perhaps set back,"
    return ""

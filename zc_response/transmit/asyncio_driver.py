"""The driver of asyncio and uvloop: steps run in callbacks, never in a task.

Only public loop methods are used. The socket is a duplicate, because a loop refuses
to watch the descriptor of its own transport. The writer is registered once and stays
while the socket is all that is waited for: both loops are level-triggered, so it calls
again in each round in which there is room.

A step that may have to wait for a disk is taken in a thread of that filesystem. As
long as it is there the loop watches nothing and touches nothing of the transfer; if
the transfer is given up meanwhile, it is closed when the thread comes back.

`loop.sendfile` is not used: uvloop has none, and CPython's fallback has sent wrong
bytes (3.12 and 3.13).
"""

from __future__ import annotations

import asyncio
import errno
import os
import time
from collections.abc import Callable
from contextlib import suppress
from enum import Enum, auto
from typing import Final

from zc_response.errors import (
    DisconnectedError,
    FilesystemTimeoutError,
    OutOfDescriptorsError,
    StalledError,
    TransferError,
)
from zc_response.report import is_wanted
from zc_response.threads import lane
from zc_response.transmit.job import Job
from zc_response.transmit.progress import Progress
from zc_response.transmit.steps import Want
from zc_response.transmit.turns import turns_of
from zc_response.transmit.waiting import waiting_on
from zc_response.transmit.waits import Waits

AWAY_SECONDS: Final = 0.05
"""How long a transfer goes on in its thread before it looks after the loop again."""
SHORT_BYTES: Final = 256 * 1024
"""A body up to this size need not queue for its first turn."""
PARK_SECONDS: Final = 1.0
"""After so long a wait for its client a transfer gives its descriptor up."""


async def drive(job: Job, before_waiting: Callable[[], None] | None = None) -> None:
    """Take the steps of `job` to their end, and close it.

    `before_waiting` is called if the first turn is not enough. Raises what the steps
    raise, and StalledError if there was no progress for `job.stall_timeout` seconds;
    the job has been aborted then, as when this is cancelled. No step is taken after
    that, and its descriptors are closed, unless a step is waiting for a disk: then as
    soon as that returns.
    """
    pump = _Pump(job)
    pump.start()
    if pump.is_over:
        return
    try:
        if before_waiting is not None:
            before_waiting()
        await pump.wait()
    except BaseException as exc:
        pump.finish(exc)
        raise


_NOT_AWAY: Final = (Want.WRITABLE, Want.READABLE, Want.SOON)
"""What only the loop's thread can wait for."""


class _State(Enum):
    READY = auto()
    """It has its turn, or is waiting for it."""
    FULL = auto()
    """The loop watches the socket."""
    EMPTY = auto()
    """The loop watches where the bytes come from."""
    PARKED = auto()
    """The same, without a descriptor of its own."""
    SOON = auto()
    """A timer runs."""
    LACKING = auto()
    """A timer runs; then there may be a descriptor to go away with."""
    AWAY = auto()
    """A thread takes its steps."""
    OVER = auto()


class _Pump:
    """Takes a job's turns, and tells who waits when it is over."""

    __slots__ = (
        "_done",
        "_error",
        "_fd",
        "_full_at",
        "_job",
        "_loop",
        "_parked_on",
        "_progress",
        "_reads",
        "_state",
        "_steps",
        "_timer",
        "_turns",
        "_waits",
        "_watched",
    )

    def __init__(self, job: Job) -> None:
        self._job = job
        self._steps = job.steps()
        self._loop = asyncio.get_running_loop()
        self._turns = turns_of(self._loop)
        self._state = _State.READY
        self._watched = False
        self._reads = -1
        self._done: asyncio.Future[None] | None = None
        self._error: BaseException | None = None
        self._waits = Waits()
        job.on_wake(self._call)

    @property
    def is_over(self) -> bool:
        """True when no step will be taken any more."""
        return self._state is _State.OVER

    def start(self) -> None:
        """Take the first turn, now or soon. Raises what its steps raise."""
        job = self._job
        is_short = job.tally.promised <= SHORT_BYTES
        self._turns.take(self._turn, is_short=is_short)
        if self._state is _State.OVER:
            if self._error is not None:
                raise self._error
            return
        self._progress = Progress(job.tally.sent)
        self._done = self._loop.create_future()
        waiting_on(self._loop).add(self)

    async def wait(self) -> None:
        """Wait until it is over. Raises what the steps raise."""
        assert self._done is not None
        await self._done

    # Turns -------------------------------------------------------------------------

    def _turn(self, until: float) -> bool:
        """Take steps until `until`, or one has to wait. True: it wants another turn."""
        if self._state is not _State.READY:  # given up while it was in the queue
            return False
        began = time.thread_time() if is_wanted() else 0.0
        want: Want | None = None
        try:
            if self._done is not None:
                self._job.check()
            for want in self._steps:
                if want is not Want.TURN or time.monotonic() > until:
                    break
            else:
                want = None
            return self._go_on(want)
        except Exception as exc:
            self.finish(exc)
            return False
        finally:
            if began:
                self._account(time.thread_time() - began)

    def _go_on(self, want: Want | None) -> bool:
        """Arrange for what is wanted next; True if it is another turn."""
        if want is None:
            self.finish(None)
            return False
        if want is Want.TURN:
            self._state = _State.READY
            return True
        if want is Want.READABLE:
            self._waits.over()
            self._unwatch()
            self._state = _State.EMPTY
            self._read(self._job.input())
            with suppress(OSError):  # without, one is borrowed for each piece
                self._job.own()
            return False
        self._read(-1)
        if want is Want.SOON:
            self._state = _State.SOON
            self._unwatch()
            seconds = self._waits.next(self._job.tally.sent)
            self._timer = self._loop.call_later(seconds, self._again)
            return False
        try:
            self._job.own()
        except OSError:  # no descriptor is left
            if want is Want.WRITABLE:
                self._park()
            else:
                self._lack()
            return False
        self._waits.over()
        if want is Want.WRITABLE:
            self._state = _State.FULL
            self._full_at = time.monotonic()
            self._watch()
        else:
            self._state = _State.AWAY
            self._unwatch()
            lane(self._job.filesystem).submit(self._away)
        return False

    def _writable(self) -> None:
        if self._state is _State.FULL:  # else the turn that this asks for is to come
            self._state = _State.READY
            self._turns.take(self._turn)

    def _readable(self) -> None:
        """There is something to send, or an end."""
        if self._state is _State.EMPTY:  # else the turn that this asks for is to come
            self._state = _State.READY
            self._turns.take(self._turn_from_anew)

    def _again(self) -> None:
        """The timer has run down, or has no need to."""
        if self._state is _State.SOON:
            self._timer.cancel()
            self._state = _State.READY
            self._turns.take(self._turn_from_anew)

    def _call(self) -> None:
        """Take a turn whatever it waits for; from any thread."""
        try:
            self._loop.call_soon_threadsafe(self._called)
        except RuntimeError:  # the loop is closed
            pass

    def _called(self) -> None:
        self._writable()
        self._readable()
        self.ready()
        self._again()

    def _lack(self) -> None:
        """Try again in a while: others end, and leave descriptors."""
        self._unwatch()
        self._state = _State.LACKING
        seconds = self._waits.next(self._job.tally.sent)
        self._timer = self._loop.call_later(seconds, self._go_away)

    def _go_away(self) -> None:
        """Have a step taken in a thread, if there is a descriptor for it by now."""
        if self._state is not _State.LACKING:
            return
        self._state = _State.READY
        try:
            self._job.check()
            self._go_on(Want.DISK)
        except Exception as exc:
            self.finish(exc)

    def _account(self, seconds: float) -> None:
        tally = self._job.tally
        tally.cpu_seconds = (tally.cpu_seconds or 0.0) + seconds

    # In a thread -------------------------------------------------------------------

    def _away(self) -> None:
        """Take steps, in a thread, as long as each may wait for a disk."""
        if self.is_over:  # given up while it waited for the thread
            self._tell(None, None)
            return
        began = time.thread_time()
        until = time.monotonic() + AWAY_SECONDS
        want: Want | None = None
        error: Exception | None = None
        try:
            for want in self._steps:
                if want in _NOT_AWAY or time.monotonic() > until:
                    break
                if self.is_over:
                    break
            else:
                want = None
        except Exception as exc:
            error = exc
        self._account(time.thread_time() - began)
        self._tell(want, error)

    def _tell(self, want: Want | None, error: Exception | None) -> None:
        try:
            self._loop.call_soon_threadsafe(self._back, want, error)
        except RuntimeError:  # the loop is closed: there is nobody else to do it
            self._job.close()

    def _back(self, want: Want | None, error: Exception | None) -> None:
        if self._state is _State.OVER:
            self._job.close()
            return
        self._state = _State.READY
        try:
            if error is not None:
                raise error
            if self._go_on(want):
                self._turns.take(self._turn)
        except Exception as exc:
            self.finish(exc)

    # Watching ----------------------------------------------------------------------

    def _watch(self) -> None:
        if not self._watched:
            self._fd = self._job.fileno()
            self._loop.add_writer(self._fd, self._writable)
            self._watched = True

    def _unwatch(self) -> None:
        """Always before the descriptor is closed: uvloop forgets one only by this."""
        if self._watched:
            self._loop.remove_writer(self._fd)
            self._watched = False

    def _read(self, fd: int) -> None:
        """Watch where the bytes come from; -1 for no more.

        It stays watched from one wait for it to the next: to change that for each
        piece cost several calls to the kernel.
        """
        if fd != self._reads:
            if self._reads >= 0:
                self._loop.remove_reader(self._reads)
            if fd >= 0:
                self._loop.add_reader(fd, self._readable)
            self._reads = fd

    def look(self) -> None:
        """Give it up if nothing has moved for too long; park it after a while."""
        job = self._job
        if self._state is _State.EMPTY:
            self._progress.rest(job.unacknowledged)
        if self._progress.is_stalled(
            job.tally.sent, lambda: job.unacknowledged, job.stall_timeout
        ):
            self.finish(self._stalled())
        elif self._state is _State.PARKED:
            try:
                self._job.check()
            except TransferError as exc:
                self.finish(exc)
        elif self._state is _State.EMPTY:
            try:
                self._job.check_client()
            except TransferError as exc:
                self.finish(exc)
        elif self._state is _State.FULL and self._has_waited_long:
            self._park()

    @property
    def _has_waited_long(self) -> bool:
        return time.monotonic() - self._full_at >= PARK_SECONDS

    def _stalled(self) -> Exception:
        seconds = f"{self._job.stall_timeout:g} s"
        if self._state is _State.AWAY:
            reason = f"the filesystem has not answered for {seconds}"
            return FilesystemTimeoutError(errno.ETIMEDOUT, reason, self._job.tally.path)
        if self._state is _State.LACKING:
            return OutOfDescriptorsError(errno.EMFILE, os.strerror(errno.EMFILE))
        return StalledError(f"the client took nothing for {seconds}")

    def _park(self) -> None:
        self._unwatch()
        try:
            self._parked_on = self._job.park()
        except DisconnectedError as exc:
            self.finish(exc)
            return
        self._state = _State.PARKED
        if not waiting_on(self._loop).park(self._parked_on, self):
            self.finish(OutOfDescriptorsError(errno.EMFILE, os.strerror(errno.EMFILE)))

    def ready(self) -> None:
        """What it has parked on is writable, or gone: take a turn and find out."""
        if self._state is not _State.PARKED:
            return
        waiting_on(self._loop).leave(self._parked_on, self)
        self._state = _State.READY
        self._turns.take(self._turn_from_anew)

    def _turn_from_anew(self, until: float) -> bool:
        """A turn after a wait in which it may have had no descriptor."""
        if self._state is not _State.READY:
            return False
        if self._job.fileno() < 0:
            try:
                self._job.borrow()
            except DisconnectedError as exc:
                self.finish(exc)
                return False
        return self._turn(until)

    # The end -----------------------------------------------------------------------

    def finish(self, error: BaseException | None) -> None:
        """End it, whole or because of an error; once it is over, nothing happens."""
        before, self._state = self._state, _State.OVER
        if before is _State.OVER:
            return
        self._unwatch()
        if before in (_State.SOON, _State.LACKING):
            self._timer.cancel()
        self._read(-1)
        if before is _State.PARKED:
            waiting_on(self._loop).leave(self._parked_on, self)
        if error is not None:
            self._job.abort()
        if before is _State.AWAY:
            self._job.reset()  # the thread still holds a descriptor
        else:
            self._job.close()
        self._error = error
        if self._done is None:
            return
        waiting_on(self._loop).discard(self)
        if self._done.done():
            return
        if error is None:
            self._done.set_result(None)
        else:
            self._done.set_exception(error)

"""The driver of a thread that may wait: it sleeps, polls, and waits for disks."""

from __future__ import annotations

import select
import time
from collections.abc import Callable, Generator
from typing import Final, TypeVar

from zc_response.errors import StalledError
from zc_response.transmit.job import Job
from zc_response.transmit.progress import Progress
from zc_response.transmit.steps import Want
from zc_response.transmit.waits import Waits

_T = TypeVar("_T")

LOOK_SECONDS: Final = 0.5
"""How often somebody who waits for a client looks whether it has been too long."""


def finish(steps: Generator[Want, None, _T]) -> _T:
    """What `steps` return in the end. They never wait for a socket."""
    waits = Waits()
    while True:
        try:
            want = next(steps)
        except StopIteration as end:
            result: _T = end.value
            return result
        assert want not in (Want.WRITABLE, Want.READABLE)
        if want is Want.SOON:
            time.sleep(waits.next())


def drive_briefly(job: Job, seconds: float, patience: float) -> bool:
    """Take steps of `job` as long as none has to wait.

    The socket is a blocking one: to wait inside of a call is cheaper than to be told
    that it is full and to ask when it no longer is. True at the end of the steps; then
    the job is closed. False if that takes longer than `seconds`, or the client takes
    nothing for `patience` seconds, or a step may have to wait for a disk: then somebody
    else has to go on. If a step raises, the job has been aborted and closed.
    """
    until = time.monotonic() + seconds
    job.wait_inside(patience)
    try:
        for want in job.steps():
            if want is not Want.TURN or time.monotonic() > until:
                job.wait_inside(0)
                return False
    except BaseException:
        job.abort()
        job.close()
        raise
    job.wait_inside(0)
    job.close()
    return True


def drive_here(job: Job, beat: Callable[[], object]) -> None:
    """Take all steps of `job`, and close it, in this thread.

    `beat` is called from time to time. Raises what the steps raise, and StalledError if
    there was no progress for `job.stall_timeout` seconds; the job has been aborted
    then.
    """
    try:
        _drive_here(job, beat)
    except BaseException:
        job.abort()
        raise
    finally:
        job.close()


def _drive_here(job: Job, beat: Callable[[], object]) -> None:
    progress, waits = Progress(job.tally.sent), Waits()
    beaten_at = time.monotonic()
    for want in job.steps():
        if want is Want.SOON:
            time.sleep(waits.next(job.tally.sent))
        elif want is Want.WRITABLE:
            waits.over()
            fd = own_or_borrow(job)
            while not _is_ready(fd, select.POLLOUT, LOOK_SECONDS):
                beat()
                _check_progress(job, progress)
                job.check()
        elif want is Want.READABLE:
            while not _is_ready(job.input(), select.POLLIN, LOOK_SECONDS):
                beat()
                progress.rest(job.unacknowledged)
                _check_progress(job, progress)
                job.check_client()
            progress.rest(job.unacknowledged)
        if time.monotonic() - beaten_at >= LOOK_SECONDS:
            beaten_at = time.monotonic()
            beat()
            _check_progress(job, progress)


def own_or_borrow(job: Job) -> int:
    """A descriptor to wait for: if none is left, the server's own.

    Who waits has the connection for himself, so nobody closes that meanwhile.
    """
    try:
        job.own()
    except OSError:
        number = job.park()
        job.borrow()
        return number
    return job.fileno()


def _check_progress(job: Job, progress: Progress) -> None:
    timeout = job.stall_timeout
    if progress.is_stalled(job.tally.sent, lambda: job.unacknowledged, timeout):
        raise StalledError(f"the client took nothing for {timeout:g} s")


def _is_ready(fd: int, event: int, seconds: float) -> bool:
    poll = select.poll()
    poll.register(fd, event)
    return bool(poll.poll(seconds * 1000))

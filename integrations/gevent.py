"""The driver of gevent: whoever waits is a greenlet, and lets the others run.

A step that may have to wait for a disk is taken in a thread of gevent's own pool.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Final

import gevent
from gevent.socket import wait_read, wait_write

from zc_response.errors import StalledError
from zc_response.transmit import Job, Progress, Waits, Want, own_or_borrow

TURN_SECONDS: Final = 0.001
"""How long one transfer goes on before it lets others have their turn."""
LOOK_SECONDS: Final = 0.5


def drive(job: Job) -> None:
    """Take all steps of `job`, and close it, in this greenlet.

    Raises what the steps raise, and StalledError if there was no progress for
    `job.stall_timeout` seconds; the job has been aborted then, as when the greenlet is
    killed.
    """
    try:
        _drive(job)
    except BaseException:
        job.abort()
        raise
    finally:
        job.close()


def _drive(job: Job) -> None:
    steps, waits, progress = job.steps(), Waits(), Progress(job.tally.sent)
    pool = gevent.get_hub().threadpool
    until = time.monotonic() + TURN_SECONDS
    want = next(steps, None)
    while want is not None:
        if want is Want.SOON:
            gevent.sleep(waits.next(job.tally.sent))
        elif want is Want.WRITABLE:
            waits.over()
            _wait(job, own_or_borrow(job), progress)
        elif want is Want.READABLE:
            _wait_for_producer(job, progress)
        elif want is Want.TURN and time.monotonic() > until:
            gevent.sleep(0)
        if want is not Want.TURN:
            _check(job, progress)
        if time.monotonic() > until:
            until = time.monotonic() + TURN_SECONDS
        if want is Want.DISK:
            want, error = pool.apply(_try, (steps,))
            if error is not None:
                raise error
        else:
            want = next(steps, None)


def _try(steps: Iterator[Want]) -> tuple[Want | None, Exception | None]:
    """Take a step; gevent prints whatever a function raises in its pool."""
    try:
        return next(steps, None), None
    except Exception as exc:
        return None, exc


def _wait(job: Job, fd: int, progress: Progress) -> None:
    while True:
        try:
            wait_write(fd, timeout=LOOK_SECONDS, timeout_exc=TimeoutError())
            return
        except TimeoutError:
            _check(job, progress)


def _wait_for_producer(job: Job, progress: Progress) -> None:
    is_there = False
    while not is_there:
        try:
            wait_read(job.input(), timeout=LOOK_SECONDS, timeout_exc=TimeoutError())
            is_there = True
        except TimeoutError:
            job.check_client()
        progress.rest(job.unacknowledged)
        _check(job, progress)


def _check(job: Job, progress: Progress) -> None:
    job.check()
    timeout = job.stall_timeout
    if progress.is_stalled(job.tally.sent, lambda: job.unacknowledged, timeout):
        raise StalledError(f"the client took nothing for {timeout:g} s")

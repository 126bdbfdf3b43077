"""Threads for work that may wait for a disk: a few for each filesystem.

An event loop must never wait for a disk, and a disk that hangs must not take the
threads that the work on another one needs. So each filesystem has a lane of its own,
with its own few threads. They start when there is work and end when there is none.

They are daemons: a thread that waits in the kernel for a server which is gone cannot
be ended, and must not keep the process from ending.
"""

from __future__ import annotations

import os
from _queue import Empty, SimpleQueue  # gevent replaces those of the module `queue`
from collections.abc import Callable, Hashable
from contextlib import suppress
from functools import partial
from typing import Final

from zc_response.native import Thread, new_lock, new_thread

Work = Callable[[], None]
"""Something to do. What it raises is its own affair: it must not raise."""

WIDTH: Final = 8
"""Threads in one lane. A disk answers several requests at once; nginx's pool has 32
for all disks together."""
IDLE_SECONDS: Final = 10.0
"""A thread that had nothing to do for so long ends."""


class Lane:
    """The threads of one filesystem, and the work that waits for them."""

    def __init__(self, name: str, width: int = WIDTH) -> None:
        self._name = name
        self._width = width
        self._queue: SimpleQueue[Work | None] = SimpleQueue()
        self._lock = new_lock()
        self._threads: set[Thread] = set()
        self._idle = 0
        self._unclaimed = 0  # pieces of work that no thread has begun

    def submit(self, work: Work) -> None:
        """Have `work` done in one of the threads, in the order of submission."""
        with self._lock:
            if self._unclaimed >= self._idle and len(self._threads) < self._width:
                self._start_thread()
            self._unclaimed += 1
            self._queue.put(work)

    def close(self) -> None:
        """Wait until all work is done and the threads have ended."""
        with self._lock:
            threads = tuple(self._threads)
            for _ in threads:
                self._queue.put(None)
        for thread in threads:
            thread.join()

    def _start_thread(self) -> None:
        me: list[Thread] = []
        thread = new_thread(partial(self._serve, me), f"zc_response-disk-{self._name}")
        me.append(thread)
        try:
            thread.start()
        except RuntimeError:  # the system has no more: others do it, if there are any
            if not self._threads:
                raise
        else:
            self._threads.add(thread)

    def _serve(self, me: list[Thread]) -> None:
        while (work := self._next()) is not None:
            work()
        with self._lock:
            self._threads.discard(me[0])

    def _next(self) -> Work | None:
        """The next piece of work; None if there was none for a while."""
        with self._lock:
            self._idle += 1
        work: Work | None = None
        is_late = False
        try:
            work = self._queue.get(timeout=IDLE_SECONDS)
        except Empty:
            is_late = True
        with self._lock:
            self._idle -= 1
            if is_late or self._unclaimed:
                # It came in this very moment, or behind a None that was left over.
                while work is None and not self._queue.empty():
                    with suppress(Empty):
                        work = self._queue.get_nowait()
            if work is not None:
                self._unclaimed -= 1
            return work


_lanes: dict[Hashable, Lane] = {}
_lock = new_lock()


def lane(filesystem: Hashable, width: int = WIDTH) -> Lane:
    """The lane of a filesystem, which any hashable value may stand for.

    Who asks first says how wide it is.
    """
    found = _lanes.get(filesystem)
    if found is None:
        with _lock:
            found = _lanes.setdefault(filesystem, Lane(str(filesystem), width))
    return found


def close_all() -> None:
    """Wait until all work is done and every thread has ended."""
    for each in tuple(_lanes.values()):
        each.close()


def _forget_after_fork() -> None:
    """In a child there are no threads, and a lock may be held for ever."""
    global _lock
    _lock = new_lock()
    _lanes.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)

"""Threads for work that may wait for a disk: a few for each filesystem.

An event loop must never wait for a disk, and a disk that hangs must not take the
threads that the work on another one needs. So each filesystem has a lane of its own,
with its own few threads. They start when there is work and end when there is none.

They are daemons: a thread that waits in the kernel for a server which is gone cannot
be ended, and must not keep the process from ending.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable
from typing import Final

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
        self._queue: deque[Work] = deque()
        self._change = threading.Condition()
        self._threads: set[threading.Thread] = set()
        self._idle = 0
        self._closing = False

    def submit(self, work: Work) -> None:
        """Have `work` done in one of the threads, in the order of submission."""
        with self._change:
            if len(self._queue) >= self._idle and len(self._threads) < self._width:
                self._start_thread()
            self._queue.append(work)
            self._change.notify()

    def close(self) -> None:
        """Wait until all work is done and the threads have ended."""
        with self._change:
            self._closing = True
            self._change.notify_all()
            threads = tuple(self._threads)
        for thread in threads:
            thread.join()
        self._closing = False

    def _start_thread(self) -> None:
        name = f"zc_response-disk-{self._name}"
        thread = threading.Thread(target=self._serve, name=name, daemon=True)
        try:
            thread.start()
        except (
            RuntimeError
        ):  # the system has no more: the others do it, if there are any
            if not self._threads:
                raise
        else:
            self._threads.add(thread)

    def _serve(self) -> None:
        while (work := self._next()) is not None:
            work()

    def _next(self) -> Work | None:
        """The next piece of work; None if there was none for a while."""
        with self._change:
            over = time.monotonic() + IDLE_SECONDS
            self._idle += 1
            try:
                while not self._queue:
                    left = over - time.monotonic()
                    if self._closing or left <= 0:
                        self._threads.discard(threading.current_thread())
                        return None
                    self._change.wait(left)
            finally:
                self._idle -= 1
            return self._queue.popleft()


_lanes: dict[Hashable, Lane] = {}
_lock = threading.Lock()


def lane(filesystem: Hashable) -> Lane:
    """The lane of a filesystem, which any hashable value may stand for."""
    found = _lanes.get(filesystem)
    if found is None:
        with _lock:
            found = _lanes.setdefault(filesystem, Lane(str(filesystem)))
    return found


def close_all() -> None:
    """Wait until all work is done and every thread has ended."""
    for each in tuple(_lanes.values()):
        each.close()


def _forget_after_fork() -> None:
    """In a child there are no threads, and a lock may be held for ever."""
    global _lock
    _lock = threading.Lock()
    _lanes.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)

"""Downloads that nobody else should wait for: a loop in a thread of its own.

A worker that has one request at a time hands a download over as soon as the client
makes it wait, and is free. There is one such loop in each process; it starts when it is
needed, and is an asyncio loop, so a download here is driven as in any other.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Final

from zc_response.report import Tally
from zc_response.transmit.asyncio_driver import drive
from zc_response.transmit.transfer import Transfer

Done = Callable[[bool], Awaitable[None]]
"""Awaited when a download has ended; True: all of it was sent."""

BEAT_SECONDS: Final = 0.5


class Offload:
    """The loop, and what is under way on it."""

    def __init__(self) -> None:
        self._reset()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._forget_after_fork)

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def take(
        self,
        transfer: Transfer,
        tally: Tally,
        prepare: Callable[[], Done],
        most: int,
    ) -> bool:
        """Carry `transfer` out, if there are fewer than `most`; False if it cannot.

        `prepare` is called before: afterwards the transfer's `fileno` has to be that of
        a socket which is nobody else's. It may raise OSError, if that cannot be done.
        """
        with self._lock:
            if self._count >= most:
                return False
            try:
                loop = self._running()
                done = prepare()
            except (OSError, RuntimeError):  # no descriptors, no thread
                return False
            self._count += 1
        loop.call_soon_threadsafe(self._start, transfer, tally, done)
        return True

    def _running(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            loop = asyncio.new_event_loop()
            thread = threading.Thread(
                target=loop.run_forever, name="zc_response-offload", daemon=True
            )
            try:
                thread.start()
            except RuntimeError:
                loop.close()
                raise
            self._loop, self._thread = loop, thread
        return self._loop

    def _start(self, transfer: Transfer, tally: Tally, done: Done) -> None:
        assert self._loop is not None
        task = self._loop.create_task(self._carry(transfer, tally, done))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry(self, transfer: Transfer, tally: Tally, done: Done) -> None:
        error: BaseException | None = None
        try:
            transfer.borrow()
            await drive(transfer)
        except BaseException as exc:
            error = exc
        tally.end(error)
        try:
            await done(error is None)
        finally:
            with self._lock:
                self._count -= 1

    def drain(self, seconds: float, beat: Callable[[], object]) -> None:
        """Wait until all is sent, but no longer than that; then abort the rest.

        `beat` is called from time to time.
        """
        until = time.monotonic() + seconds
        while self._count and time.monotonic() < until:
            beat()
            time.sleep(min(BEAT_SECONDS, 0.05))
        self.close()

    def close(self) -> None:
        """Abort what is under way, and end the thread."""
        with self._lock:
            loop, thread = self._loop, self._thread
            self._loop = self._thread = None
        if loop is None or thread is None:
            return
        asyncio.run_coroutine_threadsafe(self._cancel(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()

    async def _cancel(self) -> None:
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _forget_after_fork(self) -> None:
        """In a child there is no thread; the parent's downloads are the parent's."""
        loop = self._loop
        self._reset()
        if loop is not None:
            _close_descriptors(loop)


def _close_descriptors(loop: asyncio.AbstractEventLoop) -> None:
    """Close what a loop holds that does not run here."""
    selector = getattr(loop, "_selector", None)
    if selector is not None:
        selector.close()


handed_over: Final = Offload()
"""That of this process."""

"""Awaiting what may wait for a disk: done in a thread of that filesystem."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable, Hashable
from typing import TypeVar

from zc_response.errors import FilesystemTimeoutError
from zc_response.threads import lane

_T = TypeVar("_T")


async def elsewhere(
    filesystem: Hashable,
    function: Callable[[], _T],
    *,
    timeout: float = 0,
    discard: Callable[[_T], object] | None = None,
) -> _T:
    """The result of `function`, called in a thread of `filesystem`'s lane.

    Raises FilesystemTimeoutError after `timeout` seconds (0: never). The thread goes on
    then, as it does when this is cancelled; `discard` gets what it returns after all.
    """
    loop = asyncio.get_running_loop()
    result: asyncio.Future[_T] = loop.create_future()

    def settle(value: _T | None, error: BaseException | None) -> None:
        if not result.done():
            if error is None:
                result.set_result(value)  # type: ignore[arg-type]
            else:
                result.set_exception(error)
        elif error is None and discard is not None:
            discard(value)  # type: ignore[arg-type]

    def work() -> None:
        value, error = None, None
        try:
            value = function()
        except BaseException as exc:
            error = exc
        try:
            loop.call_soon_threadsafe(settle, value, error)
        except RuntimeError:  # the loop is closed, and nobody waits any more
            if value is not None and discard is not None:
                discard(value)

    lane(filesystem).submit(work)
    try:
        return await asyncio.wait_for(result, timeout or None)
    except asyncio.CancelledError:
        # It may have come in this very moment.
        arrived = result.done() and not result.cancelled() and not result.exception()
        if arrived and discard is not None:
            discard(result.result())
        raise
    except asyncio.TimeoutError:
        if result.done() and not result.cancelled():
            raise
        reason = f"{os.strerror(errno.ETIMEDOUT)} after {timeout:g} s"
        raise FilesystemTimeoutError(errno.ETIMEDOUT, reason, str(filesystem)) from None

"""Waiting for a producer, without holding the loop up."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, Protocol


class Waiting(Protocol):
    """How to wait on whichever loop this is."""

    async def until_readable(self, fd: int) -> None:
        """Return when a descriptor is readable."""

    async def sleep(self, seconds: float) -> None:
        """Return after a while."""

    async def at_most(self, seconds: float, work: Coroutine[Any, Any, None]) -> None:
        """Await `work`, but give it up after so many seconds."""


class AsyncioWaiting:
    """On a loop of asyncio's kind, uvloop included."""

    async def until_readable(self, fd: int) -> None:
        """See `Waiting`."""
        loop = asyncio.get_running_loop()
        readable: asyncio.Future[None] = loop.create_future()

        def tell() -> None:
            if not readable.done():
                readable.set_result(None)

        loop.add_reader(fd, tell)
        try:
            await readable
        finally:
            loop.remove_reader(fd)

    async def sleep(self, seconds: float) -> None:
        """See `Waiting`."""
        await asyncio.sleep(seconds)

    async def at_most(self, seconds: float, work: Coroutine[Any, Any, None]) -> None:
        """See `Waiting`."""
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(work, seconds)

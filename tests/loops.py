"""Coroutine functions run to their end, on asyncio's own loop or on uvloop's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final

import uvloop

from tests.live import PATIENCE

LOOPS: Final = {"asyncio": asyncio, "uvloop": uvloop}

Main = Callable[[], Coroutine[Any, Any, Any]]
Run = Callable[[Main], Any]


def run_on(name: str, main: Main) -> Any:
    """What `main` returns, on a loop of its own."""
    loop = LOOPS[name].new_event_loop()
    try:
        return loop.run_until_complete(asyncio.wait_for(main(), PATIENCE))
    finally:
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()

"""What there is one of for each event loop, and only as long as the loop is there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar
from weakref import WeakKeyDictionary

_T = TypeVar("_T")


class PerLoop(Generic[_T]):
    """A function from a loop to the thing that was made for it.

    The thing may not hold its loop, which would then never be let go.
    """

    __slots__ = ("_make", "_things")

    def __init__(self, make: Callable[[], _T]) -> None:
        self._make = make
        self._things: WeakKeyDictionary[asyncio.AbstractEventLoop, _T] = (
            WeakKeyDictionary()
        )

    def __call__(self, loop: asyncio.AbstractEventLoop) -> _T:
        """The thing of `loop`; the first time it is made."""
        thing = self._things.get(loop)
        if thing is None:
            thing = self._things[loop] = self._make()
        return thing

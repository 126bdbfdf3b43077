"""The driver of a thread that may wait: it sleeps."""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import TypeVar

from zc_response.transmit.steps import Want
from zc_response.transmit.waits import Waits

_T = TypeVar("_T")


def finish(steps: Generator[Want, None, _T]) -> _T:
    """What `steps` return in the end. They never wait for a socket."""
    waits = Waits()
    while True:
        try:
            want = next(steps)
        except StopIteration as end:
            result: _T = end.value
            return result
        assert want is not Want.WRITABLE
        if want is Want.SOON:
            time.sleep(waits.next())

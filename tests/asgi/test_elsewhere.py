"""Awaiting what may wait for a disk: nothing that comes of it is lost."""

from __future__ import annotations

import asyncio
import threading

import pytest

from tests.loops import Run
from zc_response.asgi import elsewhere
from zc_response.errors import FilesystemTimeoutError, SourceError
from zc_response.threads import close_all


class Opening:
    """Opens something, when it is let; and knows what became of it."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.began = threading.Event()
        self.done = threading.Event()
        self.discarded: list[str] = []

    def __call__(self) -> str:
        self.began.set()
        self.go.wait(10)
        return "open"

    def discard(self, value: str) -> None:
        self.discarded.append(value)
        self.done.set()


def test_the_result_comes_from_another_thread(run: Run) -> None:
    async def main() -> None:
        assert await elsewhere("disk", threading.get_ident) != threading.get_ident()

    run(main)


@pytest.mark.parametrize(
    "error", [SourceError(5, "bad"), ValueError("bug"), TimeoutError(110, "late")]
)
def test_an_error_comes_out_as_it_is(run: Run, error: Exception) -> None:
    def fail() -> None:
        raise error

    async def main() -> None:
        with pytest.raises(type(error)) as caught:
            await elsewhere("disk", fail, timeout=5)
        assert caught.value is error

    run(main)


def test_what_takes_too_long_is_given_up_and_discarded_later(run: Run) -> None:
    opening = Opening()

    async def main() -> None:
        with pytest.raises(FilesystemTimeoutError, match="timed out"):
            await elsewhere("disk", opening, timeout=0.05, discard=opening.discard)
        assert opening.discarded == []
        opening.go.set()
        await asyncio.to_thread(opening.done.wait, 10)

    run(main)
    assert opening.discarded == ["open"]


def test_what_nobody_waits_for_any_more_is_discarded(run: Run) -> None:
    opening = Opening()

    async def main() -> None:
        waiting = asyncio.create_task(
            elsewhere("disk", opening, discard=opening.discard)
        )
        await asyncio.to_thread(opening.began.wait, 10)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        opening.go.set()
        await asyncio.to_thread(opening.done.wait, 10)

    run(main)
    assert opening.discarded == ["open"]


@pytest.mark.parametrize("timeout", [0, 5])
def test_what_comes_in_the_moment_of_a_cancellation_is_not_lost(
    run: Run, timeout: float
) -> None:
    """It is either had or discarded."""
    opening = Opening()
    opening.go.set()

    async def main() -> None:
        waiting = asyncio.create_task(
            elsewhere("disk", opening, timeout=timeout, discard=opening.discard)
        )
        await asyncio.sleep(0)
        close_all()  # the thread has handed it over, and the loop has not seen it yet
        asyncio.get_running_loop().call_soon(waiting.cancel)
        had: list[str] = []
        try:
            had.append(await waiting)
        except asyncio.CancelledError:
            pass
        assert had + opening.discarded == ["open"]

    run(main)


def test_on_a_loop_that_is_closed_it_is_discarded(run: Run) -> None:
    opening = Opening()

    async def main() -> None:
        waiting = asyncio.create_task(
            elsewhere("disk", opening, discard=opening.discard)
        )
        await asyncio.to_thread(opening.began.wait, 10)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    run(main)
    opening.go.set()
    close_all()
    assert opening.discarded == ["open"]

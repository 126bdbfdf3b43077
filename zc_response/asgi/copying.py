"""A body as ordinary messages: the way that is always there.

What is in memory is read on the loop: a thread costs more than the read does. What may
have to wait for a disk is read in a thread, which also has the kernel read ahead, so
that the disk works while the loop encrypts.

A server takes a chunk at once, encrypts it and sends it; nobody else has his turn if
the client is fast enough. So who copies asks for his turn too.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Hashable, Iterator
from contextlib import suppress
from functools import partial
from typing import Final, Protocol, TypeVar

from zc_response.asgi.messages import Send
from zc_response.policy import Policy
from zc_response.report import Tally
from zc_response.sources import Stream
from zc_response.transmit import (
    Body,
    Outbox,
    Turns,
    Waits,
    Want,
    body_into,
    stream_into,
    turns_of,
)

_T = TypeVar("_T")


class InThread(Protocol):
    """`elsewhere`, or what stands in for it on another loop."""

    async def __call__(
        self,
        filesystem: Hashable,
        function: Callable[[], _T],
        *,
        timeout: float,
        discard: Callable[[_T], object] | None = None,
    ) -> _T:
        """The function's result; FilesystemTimeoutError after `timeout` seconds.

        `discard` gets what comes after that.
        """


async def copy_body(
    send: Send,
    body: Body,
    tally: Tally,
    policy: Policy,
    in_thread: InThread,
) -> None:
    """Send a body as ordinary body messages."""
    turns, outbox = _turns(), Outbox(policy, tally)
    seconds = outbox.pace.step * SECONDS_PER_BYTE
    steps = body_into(outbox, body, policy)
    want: Want | None = Want.TURN
    try:
        while want is not None:
            if turns is None or want in (Want.DISK, Want.SOON):
                want = await in_thread(
                    body.filesystem,
                    partial(_next_piece, steps),
                    timeout=policy.stall_timeout,
                    discard=lambda _: steps.close(),
                )
            else:
                want = next(steps, None)
            if want is Want.TURN and turns is not None:
                await turns.admit(seconds)
            elif want is Want.WRITABLE:
                data = outbox.data
                more = {"type": "http.response.body", "body": data, "more_body": True}
                await send(more)
    finally:
        with suppress(ValueError):  # a thread is taking a step, and given up
            steps.close()


def _next_piece(steps: Iterator[Want]) -> Want | None:
    """Take steps until there is something to send, in a thread; None at the end."""
    waits = Waits()
    for want in steps:
        if want is Want.WRITABLE:
            return want
        if want is Want.SOON:
            time.sleep(waits.next())
    return None


SECONDS_PER_BYTE: Final = 0.7e-9
"""What reading, encrypting and sending take (`bench throughput`, tls-response)."""


def _turns() -> Turns | None:
    """The turns of this loop; None if it is not one of asyncio's."""
    try:
        return turns_of(asyncio.get_running_loop())
    except RuntimeError:
        return None


class Waiting(Protocol):
    """How to wait on whichever loop this is."""

    async def until_readable(self, fd: int) -> None:
        """Return when a descriptor is readable."""

    async def sleep(self, seconds: float) -> None:
        """Return after a while."""


async def copy_stream(
    send: Send,
    stream: Stream,
    tally: Tally,
    policy: Policy,
    waiting: Waiting,
    *,
    is_promised: bool,
) -> None:
    """Send a stream as ordinary body messages, but for the last one.

    `is_promised` says that the account has its length.
    """
    outbox, waits = Outbox(policy, tally), Waits()
    for want in stream_into(outbox, stream, is_promised=is_promised):
        if want is Want.WRITABLE:
            body = outbox.data
            await send({"type": "http.response.body", "body": body, "more_body": True})
        elif want is Want.READABLE:
            await waiting.until_readable(stream.fileno())
        elif want is Want.SOON:
            await waiting.sleep(waits.next(tally.sent))

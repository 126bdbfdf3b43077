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
from collections.abc import AsyncGenerator, Callable, Hashable, Iterator
from contextlib import aclosing, suppress
from functools import partial
from types import TracebackType
from typing import Final, Protocol, TypeVar

from zc_response.asgi.connections import Taker, taker_behind
from zc_response.asgi.messages import Send
from zc_response.asgi.waiting import Waiting
from zc_response.errors import StalledError
from zc_response.guards import COUNT
from zc_response.policy import Policy
from zc_response.report import Tally
from zc_response.sources import Stream
from zc_response.transmit import (
    Body,
    Outbox,
    Strategy,
    Turns,
    Waits,
    Want,
    beginning,
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
        async with _Sending(send, policy) as sending:
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
                    await sending(outbox.data)
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


BACKLOG_BYTES: Final = 1024 * 1024
"""The most that a server which never waits is given ahead of its client."""


class _Sending:
    """Sends body messages no faster than the client takes them.

    A context manager: what fails in it ends the response visibly.
    """

    def __init__(self, send: Send, policy: Policy) -> None:
        self._send = send
        self._timeout = policy.stall_timeout
        self._taker = taker_behind(send)
        # On trio `send` waits, wherever that has been tried.
        self._waits = self._taker is None or _turns() is None

    async def __call__(self, body: bytes | bytearray) -> None:
        await self._send(
            {"type": "http.response.body", "body": body, "more_body": True}
        )
        if self._taker is not None and not self._waits:
            await self._ebb(self._taker)

    async def _ebb(self, taker: Taker) -> None:
        waits, least, since = Waits(), taker.backlog(), time.monotonic()
        while least > BACKLOG_BYTES:
            await asyncio.sleep(waits.next(least))
            left = taker.backlog()
            if left < least:
                least, since = left, time.monotonic()
            elif 0 < self._timeout < time.monotonic() - since:
                raise StalledError(f"the client took nothing for {self._timeout:g} s")

    async def __aenter__(self) -> _Sending:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None and self._taker is not None:
            await self._taker.abort()


SECONDS_PER_BYTE: Final = 0.7e-9
"""What reading, encrypting and sending take (`bench throughput`, tls-response)."""


def _turns() -> Turns | None:
    """The turns of this loop; None if it is not one of asyncio's."""
    try:
        return turns_of(asyncio.get_running_loop())
    except RuntimeError:
        return None


async def begin(stream: Stream, policy: Policy, waiting: Waiting) -> None:
    """Wait for the first byte of a process, or its end, or as long as that may take.

    Raises ProducerError if it has failed by then.
    """

    async def wait() -> None:
        waits = Waits()
        for want in beginning(stream):
            await _wait(want, stream, waits.next, waiting)

    if policy.first_byte_wait:
        await waiting.at_most(policy.first_byte_wait, wait())


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
    pieces = _pieces(stream, tally, policy, waiting, is_promised=is_promised)
    async with aclosing(pieces), _Sending(send, policy) as sending:
        async for piece in pieces:
            await sending(piece)


async def read_stream(
    stream: Stream, policy: Policy, status: int, promised: int | None, waiting: Waiting
) -> AsyncGenerator[bytes, None]:
    """The bytes of a stream, which is closed then; one report at the end."""
    with (
        stream,
        Tally(
            path=stream.name,
            status=status,
            promised=promised or 0,
            strategy=Strategy.COPY,
            reason="the server's own way",
            guard=COUNT,
        ) as tally,
    ):
        is_promised = promised is not None
        pieces = _pieces(stream, tally, policy, waiting, is_promised=is_promised)
        async with aclosing(pieces):
            async for piece in pieces:
                yield piece


async def _pieces(
    stream: Stream, tally: Tally, policy: Policy, waiting: Waiting, *, is_promised: bool
) -> AsyncGenerator[bytes, None]:
    outbox, waits = Outbox(policy, tally), Waits()
    for want in stream_into(outbox, stream, is_promised=is_promised):
        if want is Want.WRITABLE:
            yield outbox.data
        else:
            await _wait(want, stream, partial(waits.next, tally.sent), waiting)


async def _wait(
    want: Want, stream: Stream, pause: Callable[[], float], waiting: Waiting
) -> None:
    if want is Want.READABLE:
        await waiting.until_readable(stream.fileno())
    elif want is Want.SOON:
        await waiting.sleep(pause())

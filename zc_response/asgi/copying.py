"""A body as ordinary messages: the way that is always there.

What is in memory is read on the loop: a thread costs more than the read does. What may
have to wait for a disk is read in a thread, which also has the kernel read ahead, so
that the disk works while the loop encrypts.

A server takes a chunk at once, encrypts it and sends it; nobody else has his turn if
the client is fast enough. So who copies asks for his turn too.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Hashable
from contextlib import aclosing
from functools import partial
from typing import Final, Protocol, TypeVar

from zc_response.asgi.messages import Send
from zc_response.asgi.waiting import Waiting
from zc_response.guards import COUNT
from zc_response.policy import Policy
from zc_response.report import Tally
from zc_response.sources import Stream
from zc_response.transmit import (
    Body,
    Cursor,
    Outbox,
    Strategy,
    Turns,
    Waits,
    Want,
    beginning,
    finish,
    full_records,
    read_if_resident,
    stream_into,
    turns_of,
)

_T = TypeVar("_T")


class InThread(Protocol):
    """`elsewhere`, or what stands in for it on another loop."""

    async def __call__(
        self, filesystem: Hashable, function: Callable[[], _T], *, timeout: float
    ) -> _T:
        """The function's result; FilesystemTimeoutError after `timeout` seconds."""


async def copy_body(
    send: Send,
    body: Body,
    tally: Tally,
    policy: Policy,
    in_thread: InThread,
) -> None:
    """Send a body as ordinary body messages."""
    turns, limit = _turns(), full_records(policy.copy_bytes)

    async def pass_on(data: bytes) -> None:
        await send({"type": "http.response.body", "body": data, "more_body": True})
        tally.sent += len(data)

    async def read(cursor: Cursor) -> bytes:
        reading = read_if_resident(cursor, limit)
        if turns is not None:
            await turns.admit(limit * SECONDS_PER_BYTE)
            try:
                next(reading)
            except StopIteration as end:
                at_once: bytes = end.value
                return at_once
        return await in_thread(
            cursor.source.facts.device,
            partial(finish, reading),
            timeout=policy.stall_timeout,
        )

    for piece in body.pieces:
        if isinstance(piece, bytes):
            await pass_on(piece)
            continue
        while piece.left:
            data = await read(piece)
            tally.guard = piece.hold.guard
            await pass_on(data)


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
    async with aclosing(pieces):
        async for body in pieces:
            await send({"type": "http.response.body", "body": body, "more_body": True})


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

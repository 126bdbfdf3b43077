"""A body as ordinary messages, read in a thread: the way that is always there."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import partial
from typing import Protocol, TypeVar

from zc_response.asgi.messages import Send
from zc_response.policy import Policy
from zc_response.report import Tally
from zc_response.sources import Stream
from zc_response.transmit import (
    Body,
    Cursor,
    Outbox,
    Waits,
    Want,
    finish,
    read,
    stream_into,
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
    """Send a body as ordinary body messages, reading in a thread."""

    async def pass_on(data: bytes) -> None:
        await send({"type": "http.response.body", "body": data, "more_body": True})
        tally.sent += len(data)

    for piece in body.pieces:
        if isinstance(piece, bytes):
            await pass_on(piece)
            continue
        while piece.left:
            data = await in_thread(
                piece.source.facts.device,
                partial(_read, piece, policy.copy_bytes),
                timeout=policy.stall_timeout,
            )
            tally.guard = piece.hold.guard
            await pass_on(data)


def _read(cursor: Cursor, limit: int) -> bytes:
    return finish(read(cursor, limit))


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

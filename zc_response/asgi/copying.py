"""A body as ordinary messages, read in a thread: the way that is always there."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import Protocol, TypeVar

from zc_response.asgi.messages import Send
from zc_response.planning import Segment
from zc_response.policy import Policy
from zc_response.report import Tally
from zc_response.transmit import Cursor, read

_T = TypeVar("_T")


class InThread(Protocol):
    """`elsewhere`, or what stands in for it on another loop."""

    async def __call__(
        self, filesystem: Hashable, function: Callable[[], _T], *, timeout: float
    ) -> _T:
        """The function's result; FilesystemTimeoutError after `timeout` seconds."""


async def copy_body(
    send: Send,
    segments: Sequence[Segment],
    tally: Tally,
    policy: Policy,
    in_thread: InThread,
) -> None:
    """Send segments as ordinary body messages, reading in a thread."""

    async def pass_on(data: bytes) -> None:
        await send({"type": "http.response.body", "body": data, "more_body": True})
        tally.sent += len(data)

    for segment in segments:
        if isinstance(segment, bytes):
            await pass_on(segment)
            continue
        cursor = Cursor(segment)
        filesystem = cursor.source.facts.device
        read_on = partial(read, cursor, policy.copy_bytes)
        while cursor.left:
            timeout = policy.stall_timeout
            await pass_on(await in_thread(filesystem, read_on, timeout=timeout))

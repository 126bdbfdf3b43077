"""A body as ordinary messages, read in a thread: the way that is always there."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any, Protocol, TypeVar

from zc_response.asgi.messages import Send
from zc_response.planning import Segment
from zc_response.policy import Policy
from zc_response.report import Tally
from zc_response.transmit import Cursor, read

_T = TypeVar("_T")


class InThread(Protocol):
    """Runs a function in a thread that may wait for the disk of one filesystem."""

    async def __call__(
        self,
        filesystem: Hashable,
        function: Callable[..., _T],
        /,
        *args: Any,
        timeout: float,
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
        while cursor.left:
            limit, timeout = policy.copy_bytes, policy.stall_timeout
            data = await in_thread(filesystem, read, cursor, limit, timeout=timeout)
            await pass_on(data)

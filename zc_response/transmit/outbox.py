"""Bodies that a server sends itself: they are handed to it piece by piece.

The strategies are the same as on a socket, as far as they read: `copy`, `direct`, and
for streams the copying part of theirs. What they write lies in an outbox.
"""

from __future__ import annotations

from collections.abc import Generator

from zc_response.policy import Policy
from zc_response.report import Tally
from zc_response.sources import Stream
from zc_response.transmit.access import Access
from zc_response.transmit.body import Body
from zc_response.transmit.copy import full_records
from zc_response.transmit.pace import Pace
from zc_response.transmit.pieces import Sender
from zc_response.transmit.steps import Line, Steps, Want
from zc_response.transmit.streaming import stream_chunks, stream_promised


class Outbox(Line):
    """In place of a line: what is to be sent lies in `data`, for somebody else to send.

    WRITABLE asks for that. A step is a piece: `copy_bytes`, in full records of TLS.
    """

    __slots__ = ("data",)

    def __init__(self, policy: Policy, tally: Tally) -> None:
        self.data = b""
        self.tally = tally
        most = full_records(policy.copy_bytes)
        self.pace = Pace(most, policy.unsent_bytes, policy.unsent_max)
        self.pace.step = self.cold_bytes = most

    def write(
        self, data: bytes | memoryview, *, more: bool, counted: bool = True
    ) -> Steps:
        """Have it sent; see `Line`."""
        if data:
            self.data = bytes(data)
            yield Want.WRITABLE
            self.data = b""
            if counted:
                self.tally.sent += len(data)


def body_into(
    outbox: Outbox, body: Body, policy: Policy
) -> Generator[Want, None, None]:
    """Have all of a body sent; a turn is wanted before each piece of a file."""
    tally = outbox.tally
    sender = Sender(body, Access(None, tally.reason), policy, tally)
    try:
        for piece in body.pieces:
            if isinstance(piece, bytes):
                yield from outbox.write(piece, more=True)
            else:
                yield Want.TURN
                yield from sender.send(outbox, piece)
    finally:
        tally.guard = body.guard


def stream_into(outbox: Outbox, stream: Stream, *, is_promised: bool) -> Steps:
    """Have all of a stream sent by a server that does the framing itself."""
    if is_promised:
        return stream_promised(outbox, stream)
    return stream_chunks(outbox, stream, lambda _count: (b"", b""))

"""A body as ordinary chunks, read in the thread that asks for them."""

from __future__ import annotations

import select
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from typing import Final

from zc_response.guards import COUNT
from zc_response.planning import Segment, Slice
from zc_response.policy import Policy
from zc_response.report import Tally
from zc_response.sources import Stream
from zc_response.transmit import (
    Access,
    Body,
    Outbox,
    Strategy,
    Waits,
    Want,
    beginning,
    body_into,
    source_of,
    stream_into,
)

Beat = Callable[[], object]


def read_segments(
    segments: Sequence[Segment], policy: Policy, status: int
) -> Generator[bytes, None, None]:
    """The bytes of segments, a piece at a time; one report at the end."""
    body, count = Body(segments, policy), sum(map(len, segments))
    access, path = Access(None, "the server's own way"), path_of(segments)
    tally = body.account(access, policy, path=path, status=status, count=count)
    yield from copy_body(body, tally, policy, _nobody)


def copy_body(
    body: Body, tally: Tally, policy: Policy, beat: Beat
) -> Generator[bytes, None, None]:
    """The bytes of a body, which is closed then, as long as they are good.

    `beat` is called before each piece.
    """
    outbox, waits = Outbox(policy, tally), Waits()
    try:
        with tally, closing(body_into(outbox, body, policy)) as steps:
            for want in steps:
                if want is Want.WRITABLE:
                    yield outbox.data
                elif want is Want.SOON:
                    time.sleep(waits.next(tally.sent))
                else:
                    beat()
    finally:
        body.close()


def read_stream(
    stream: Stream,
    policy: Policy,
    status: int,
    promised: int | None,
    beat: Beat,
) -> Generator[bytes, None, None]:
    """The bytes of a stream, a piece at a time; one report at the end.

    `beat` is called now and then, and may raise to have it end.
    """
    tally = Tally(
        path=stream.name,
        status=status,
        promised=promised or 0,
        strategy=Strategy.COPY,
        reason="the server's own way",
        guard=COUNT,
    )
    is_promised = promised is not None
    yield from copy_stream(stream, tally, policy, beat, is_promised=is_promised)


def copy_stream(
    stream: Stream,
    tally: Tally,
    policy: Policy,
    beat: Beat,
    *,
    is_promised: bool,
) -> Generator[bytes, None, None]:
    """The bytes of a stream, which is closed then; `beat` is called now and then."""
    outbox, waits = Outbox(policy, tally), Waits()
    with stream, tally:
        for want in stream_into(outbox, stream, is_promised=is_promised):
            beat()
            if want is Want.WRITABLE:
                yield outbox.data
            elif want is Want.READABLE:
                _await_readable(stream.fileno(), BEAT_SECONDS)
            elif want is Want.SOON:
                time.sleep(waits.next(tally.sent))


def await_beginning(stream: Stream, policy: Policy, beat: Beat) -> None:
    """Wait for the first byte of a process, or its end, or as long as that may take.

    Raises ProducerError if it has failed by then.
    """
    until, waits = time.monotonic() + policy.first_byte_wait, Waits()
    for want in beginning(stream):
        beat()
        seconds = until - time.monotonic()
        if seconds <= 0:
            return
        if want is Want.READABLE:
            _await_readable(stream.fileno(), min(seconds, BEAT_SECONDS))
        else:
            time.sleep(waits.next())


def _await_readable(fd: int, seconds: float) -> None:
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    poll.poll(seconds * 1000)


BEAT_SECONDS: Final = 0.5


def path_of(segments: Sequence[Segment]) -> str:
    """The path of the first file among them, or nothing."""
    slices = (segment for segment in segments if isinstance(segment, Slice))
    first = next(slices, None)
    return source_of(first).path if first is not None else ""


def _nobody() -> None:
    """Nobody watches."""

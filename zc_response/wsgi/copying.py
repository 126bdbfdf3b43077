"""A body as ordinary chunks, read in the thread that asks for them."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence

from zc_response.planning import Segment, Slice
from zc_response.policy import Policy
from zc_response.report import Tally
from zc_response.transmit import (
    Body,
    Strategy,
    finish,
    full_records,
    read,
    source_of,
)


def read_segments(
    segments: Sequence[Segment], policy: Policy, status: int
) -> Generator[bytes, None, None]:
    """The bytes of segments, a piece at a time; one report at the end."""
    body = Body(segments, policy)
    tally = Tally(
        path=path_of(segments),
        status=status,
        promised=sum(map(len, segments)),
        strategy=Strategy.COPY,
        reason="the server's own way",
        guard=body.guard,
        guard_reason=body.guard_reason,
    )
    yield from copy_body(body, tally, policy, _nobody)


def copy_body(
    body: Body, tally: Tally, policy: Policy, beat: Callable[[], object]
) -> Generator[bytes, None, None]:
    """The bytes of a body, which is closed then, as long as they are good.

    `beat` is called before each piece.
    """
    limit = full_records(policy.copy_bytes)
    try:
        with tally:
            for piece in body.pieces:
                if isinstance(piece, bytes):
                    tally.sent += len(piece)
                    yield piece
                    continue
                while piece.left:
                    beat()
                    data = finish(read(piece, limit))
                    tally.guard = piece.hold.guard
                    tally.sent += len(data)
                    yield data
    finally:
        body.close()


def path_of(segments: Sequence[Segment]) -> str:
    """The path of the first file among them, or nothing."""
    slices = (segment for segment in segments if isinstance(segment, Slice))
    first = next(slices, None)
    return source_of(first).path if first is not None else ""


def _nobody() -> None:
    """Nobody watches."""

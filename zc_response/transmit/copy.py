"""By value: bytes are read into memory and written out again.

The way that always works. Once a byte has been read it can no longer change; and it is
only sent if the file was good until after it had been read.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from functools import partial
from typing import Final

from zc_response.errors import ChangedError, FileChangedError, TruncatedError
from zc_response.guards import read_at_once
from zc_response.kernel import pages
from zc_response.planning import Segment, Slice
from zc_response.policy import Policy
from zc_response.report import Tally
from zc_response.sources import FileSource
from zc_response.transmit.blocking_driver import finish
from zc_response.transmit.body import Body
from zc_response.transmit.residency import AHEAD, is_resident, read_resident
from zc_response.transmit.steps import (
    Cursor,
    Line,
    Steps,
    Want,
    source_of,
    until_free,
)

_Bytes = bytes | bytearray


def copy(line: Line, cursor: Cursor) -> Steps:
    """Send what is left of a slice, a step at a time."""
    while cursor.left:
        step = min(line.pace.step, line.cold_bytes)
        data = yield from read_if_resident(cursor, step)
        yield from line.write(data, more=bool(cursor.left))
        if cursor.left:
            yield Want.TURN


RECORD: Final = 16 * 1024
"""The most plaintext that one record of TLS holds (RFC 8446 section 5.1)."""


def full_records(limit: int) -> int:
    """The most bytes, up to `limit`, that leave in full records only."""
    return max(limit - limit % RECORD, min(limit, RECORD))


def read_if_resident(cursor: Cursor, limit: int) -> Generator[Want, None, bytes]:
    """The same as `read`, for who must not wait.

    If the bytes may have to come from a disk, it first wants to be elsewhere. There it
    also has the kernel read ahead, for the calls that follow.
    """
    hold, count = cursor.hold, min(cursor.left, limit)
    yield from until_free(hold)
    is_cold = hold.may_wait or not is_resident(hold.source, cursor.offset, count)
    if is_cold:
        yield Want.DISK
    data = yield from read(cursor, count)
    if is_cold and cursor.left:
        ahead = min(cursor.left, limit + AHEAD)
        pages.will_need(hold.source.fileno(), cursor.offset, ahead)
    return data


def read(cursor: Cursor, limit: int) -> Generator[Want, None, bytes]:
    """The next bytes of a slice, at most `limit`; the cursor moves past them.

    They may have to come from a disk. Raises TruncatedError if there are none, and
    ChangedError if they may not be those that were promised.
    """
    hold, count = cursor.hold, min(cursor.left, limit)
    data = hold.read(cursor.offset, count)
    while data is None:
        yield from until_free(hold)
        data = hold.read(cursor.offset, count)
    if not data:
        raise TruncatedError(f"{hold.source.path} ends at byte {cursor.offset}")
    cursor.offset += len(data)
    return data


def gather(segments: Sequence[Segment], policy: Policy, tally: Tally) -> bytes:
    """A small body as one piece; it may wait for a disk.

    Raises FileChangedError if a file is not, or no longer, as it was opened: nothing
    has been sent of it then.
    """
    body = Body(segments, policy)
    tally.guard, tally.guard_reason = body.guard, body.guard_reason
    try:
        return b"".join(
            piece if isinstance(piece, bytes) else _read_all(piece)
            for piece in body.pieces
        )
    except (ChangedError, TruncatedError) as exc:
        raise FileChangedError.of(tally.path) from exc
    finally:
        body.close()


def read_whole(
    source: FileSource, policy: Policy, take: Callable[[bytes], object]
) -> None:
    """Give `take` all bytes of a file, in pieces; it may wait for a disk.

    They are guarded as the policy wants it, or better: at least as `safe` says. Raises
    FileChangedError if the file is not, or no longer, as it was opened.
    """
    if policy.integrity == "fast":
        policy = replace(policy, integrity="safe")
    body = Body([Slice(source, 0, source.facts.size)], policy)
    try:
        for cursor in body.pieces:
            assert isinstance(cursor, Cursor)
            while cursor.left:
                take(finish(read(cursor, policy.copy_bytes)))
    except (ChangedError, TruncatedError) as exc:
        raise FileChangedError.of(source.path) from exc
    finally:
        body.close()


def _read_all(cursor: Cursor) -> bytes:
    pieces = []
    while cursor.left:
        pieces.append(finish(read(cursor, cursor.left)))
    return b"".join(pieces)


def gather_at_once(segments: Sequence[Segment], policy: Policy) -> _Bytes | None:
    """A small body as one piece, or None if that might have to wait."""
    for segment in segments:
        if not isinstance(segment, bytes):
            look = partial(_at_once, segments)
            return read_at_once(source_of(segment), policy.integrity, look)
    return _at_once(segments)


def _at_once(segments: Sequence[Segment]) -> _Bytes | None:
    if len(segments) == 1:
        return _resident(segments[0])
    pieces = list(map(_resident, segments))
    return None if None in pieces else b"".join(filter(None, pieces))


def _resident(segment: Segment) -> _Bytes | None:
    if isinstance(segment, bytes):
        return segment
    return read_resident(source_of(segment), segment.offset, segment.count)

"""By value: bytes are read into memory and written out again.

The way that always works. Once a byte has been read it can no longer change, so what
a copy sends is at least what the file once said.
"""

from __future__ import annotations

from collections.abc import Sequence

from zc_response.errors import TruncatedError
from zc_response.planning import Segment
from zc_response.transmit.residency import is_resident, read_at_once
from zc_response.transmit.steps import Cursor, Line, Steps, Want, source_of


def copy(line: Line, cursor: Cursor) -> Steps:
    """Send what is left of a slice, a step at a time."""
    while cursor.left:
        step = min(cursor.left, line.pace.step, line.cold_bytes)
        if not is_resident(cursor.source, cursor.offset, step):
            yield Want.DISK
        data = read(cursor, step)
        yield from line.write(data, more=bool(cursor.left))
        if cursor.left:
            yield Want.TURN


def read(cursor: Cursor, limit: int) -> bytes:
    """The next bytes of a slice, at most `limit`; the cursor moves past them.

    It takes a share of the source for itself, because it may run in a thread that
    nobody waits for any more.
    """
    with cursor.source.retain() as source:
        data = source.read(cursor.offset, min(cursor.left, limit))
    if not data:
        raise TruncatedError(f"{cursor.source.path} ends at byte {cursor.offset}")
    cursor.offset += len(data)
    return data


def gather(segments: Sequence[Segment]) -> bytes:
    """A small body as one piece; it may wait for a disk.

    Raises TruncatedError if a file is shorter than its slice.
    """
    return b"".join(
        segment if isinstance(segment, bytes) else _read_all(Cursor(segment))
        for segment in segments
    )


def gather_at_once(segments: Sequence[Segment]) -> bytes | bytearray | None:
    """A small body as one piece, or None if that might wait for a disk."""
    if len(segments) == 1:
        return _at_once(segments[0])
    pieces = list(map(_at_once, segments))
    return None if None in pieces else b"".join(filter(None, pieces))


def _at_once(segment: Segment) -> bytes | bytearray | None:
    if isinstance(segment, bytes):
        return segment
    return read_at_once(source_of(segment), segment.offset, segment.count)


def _read_all(cursor: Cursor) -> bytes:
    pieces = []
    while cursor.left:
        pieces.append(read(cursor, cursor.left))
    return b"".join(pieces)

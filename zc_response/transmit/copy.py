"""By value: bytes are read into memory and written out again.

The way that always works. Once a byte has been read it can no longer change, so what
a copy sends is at least what the file once said.
"""

from __future__ import annotations

from zc_response.errors import TruncatedError
from zc_response.transmit.steps import Cursor, Line, Steps, Want


def copy(line: Line, cursor: Cursor) -> Steps:
    """Send what is left of a slice, at most `line.step_bytes` a step."""
    while cursor.left:
        data = read(cursor, line.step_bytes)
        yield from line.write(data, more=bool(cursor.left))
        line.tally.sent += len(data)
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

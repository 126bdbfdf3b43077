"""Straight from a file to a socket: the steps that sendfile and mmap share.

The bytes never are an object of Python's. One call moves them (`send`), and the rules
for it are nginx's. Ask for a bounded piece at a time, or one fast client keeps the loop
for up to 2 GiB. A short count is not yet "full": only EAGAIN says that the socket must
be waited for. A count of 0 is the end of the file: if bytes are still owed, the file
has shrunk and the framing of this connection is past repair.

Pages that are not in memory are read inside the call. Such a step is taken elsewhere,
and a smaller one: the kernel reads ahead of it, but no further than the client asks.

Nothing is looked at before it leaves. So where nothing but a look at the facts tells of
a change, the last byte leaves after the last look.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from zc_response.errors import TruncatedError
from zc_response.kernel import sockets
from zc_response.sources import FileSource
from zc_response.transmit.residency import is_resident
from zc_response.transmit.steps import (
    Cursor,
    Line,
    RefusedError,
    Steps,
    Want,
    peer_gone,
    until_free,
)

Send = Callable[[Line, FileSource, int, int], int]
"""Hands up to so many bytes from an offset on to the socket; says how many."""
Warm = Callable[[FileSource, int, int], object]
"""Has a range in memory; it may wait for a disk."""


def straight(
    line: Line, cursor: Cursor, name: str, send: Send, warm: Warm | None = None
) -> Steps:
    """Send what is left of a slice, a step at a time."""
    hold, tally, pace = cursor.hold, line.tally, line.pace
    while cursor.left:
        yield from until_free(hold)
        source = hold.source
        asked = min(cursor.left, pace.step)
        if hold.compares and 1 < asked == cursor.left:
            asked -= 1
        cold = not is_resident(source, cursor.offset, asked)
        if cold:
            asked = min(asked, line.cold_bytes)
            yield Want.DISK
            if warm is not None:
                warm(source, cursor.offset, asked)
        hold.check()
        began = time.monotonic()
        try:
            with hold:
                if hold.source is not source or hold.is_broken:
                    continue
                count = send(line, source, cursor.offset, asked)
        except BlockingIOError:
            yield line.is_full()
            continue
        except OSError as exc:
            hold.check_failure()
            if exc.errno in sockets.REFUSED:
                raise RefusedError(f"{name}: {exc.strerror}") from exc
            raise peer_gone(exc) from exc
        hold.check_failure()
        if count == 0:
            raise TruncatedError(f"{source.path} ends at byte {cursor.offset}")
        cursor.offset += count
        tally.sent += count
        if count == asked and cursor.left:
            if not cold:
                pace.stepped(0 if line.waits else time.monotonic() - began)
            yield Want.TURN
        elif line.waits and cursor.left:  # as long as it may; not once more
            yield line.is_full()

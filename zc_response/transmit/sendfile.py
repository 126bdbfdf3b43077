"""By reference: the kernel queues pages of the file on the socket.

nginx's rules hold here too. Ask for a bounded piece at a time, or one fast client
keeps the loop for up to 2 GiB. A short count is not yet "full": since Linux 4.3 the
call may return early for no reason, so only EAGAIN says that the socket must be
waited for. A count of 0 is the end of the file: if bytes are still owed, the file has
shrunk and the framing of this connection is past repair.
"""

from __future__ import annotations

from zc_response.errors import TruncatedError
from zc_response.kernel import sockets
from zc_response.transmit.steps import (
    Cursor,
    Line,
    RefusedError,
    Steps,
    Want,
    peer_gone,
)


def sendfile(line: Line, cursor: Cursor) -> Steps:
    """Send what is left of a slice, at most `line.step_bytes` a step."""
    out, tally = line.socket.fileno(), line.tally
    while cursor.left:
        asked = min(cursor.left, line.step_bytes)
        try:
            count = sockets.sendfile(out, cursor.source.fileno(), cursor.offset, asked)
        except BlockingIOError:
            yield Want.WRITABLE
            continue
        except OSError as exc:
            if exc.errno in sockets.REFUSED:
                raise RefusedError(f"sendfile: {exc.strerror}") from exc
            raise peer_gone(exc) from exc
        if count == 0:
            raise TruncatedError(f"{cursor.source.path} ends at byte {cursor.offset}")
        cursor.offset += count
        tally.sent += count
        if count == asked and cursor.left:
            yield Want.TURN

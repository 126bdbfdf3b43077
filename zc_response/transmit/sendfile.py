"""By reference: the kernel queues pages of the file on the socket.

Since Linux 4.3 the call may return early for no reason. What has been queued can still
change with the file, until the client has it.
"""

from __future__ import annotations

from zc_response.kernel import sockets
from zc_response.sources import FileSource
from zc_response.transmit.steps import Cursor, Line, Steps
from zc_response.transmit.straight import straight


def sendfile(line: Line, cursor: Cursor) -> Steps:
    """Send what is left of a slice, a step at a time."""
    return straight(line, cursor, "sendfile", _send)


def _send(line: Line, source: FileSource, offset: int, count: int) -> int:
    line.has_references = True
    return sockets.sendfile(line.socket.fileno(), source.fileno(), offset, count)

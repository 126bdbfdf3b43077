"""hypercorn: what it keeps of a stream of HTTP/2, because it does not say when to stop.

Its buffer of a stream counts as emptied each time nothing can be taken out of it
(hypercorn/protocol/h2.py, StreamBuffer.pop): so while the client's window is closed,
`send` takes whatever it is given. And when an application fails whose response has
begun, hypercorn forgets the stream, and the client waits for the rest. Seen in
hypercorn 0.18.
"""

from __future__ import annotations

from typing import Any, Final

INTERNAL_ERROR: Final = 2  # RFC 9113 section 7


def taker(send: Any) -> _StreamOfHttp2 | None:
    """The stream behind hypercorn's `send`; None for HTTP/1.1, where `send` waits."""
    stream = send.__self__
    protocol = getattr(getattr(stream, "send", None), "__self__", None)
    needs = ("_flush", "connection", "stream_buffers")
    if not all(hasattr(protocol, need) for need in needs):
        return None
    return _StreamOfHttp2(protocol, stream.stream_id)


class _StreamOfHttp2:
    """One response, among others on its connection."""

    def __init__(self, protocol: Any, number: int) -> None:
        self._protocol = protocol
        self._number = number

    def backlog(self) -> int:
        """How many bytes of this response are not sent yet."""
        buffer = self._protocol.stream_buffers.get(self._number)
        return len(getattr(buffer, "buffer", b""))

    async def abort(self) -> None:
        """Reset the stream."""
        connection = self._protocol.connection
        try:
            connection.reset_stream(self._number, INTERNAL_ERROR)
        except Exception:  # h2's own, which knows that the client has done so already
            return
        await self._protocol._flush()

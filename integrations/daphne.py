"""daphne: what Twisted keeps of a response, because `send` never waits.

`send` writes to a transport of Twisted's, which takes whatever it is given
(twisted/internet/abstract.py, FileDescriptor.write). And when an application fails
whose response has begun, daphne leaves the client waiting for the rest. Seen in daphne
4.2 with Twisted 26.10.
"""

from __future__ import annotations

from typing import Any


def taker(send: Any) -> _Connection | None:
    """The connection behind daphne's `send`; None with TLS or HTTP/2."""
    (request,) = send.args
    transport = getattr(getattr(request, "channel", None), "transport", None)
    needs = ("_tempDataLen", "abortConnection", "dataBuffer", "disconnected", "offset")
    if not all(hasattr(transport, need) for need in needs):
        return None
    return _Connection(transport)


class _Connection:
    """A connection with one response at a time."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport

    def backlog(self) -> int:
        """How many bytes it has not sent yet."""
        transport = self._transport
        if transport.disconnected:
            return 0
        waiting: int = len(transport.dataBuffer) - transport.offset
        return waiting + int(transport._tempDataLen)

    async def abort(self) -> None:
        """Drop the connection at once."""
        self._transport.abortConnection()

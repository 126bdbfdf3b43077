"""uvicorn: its two HTTP/1.1 protocols, h11 and httptools, on asyncio and uvloop.

    uvicorn app:app --http zc_response.integrations.uvicorn:ZeroCopyProtocol

This is the one place that touches what uvicorn does not promise to keep: the
`RequestResponseCycle` behind `send`. What is relied upon is looked up on each class
once; where anything is missing the server counts as unknown and bodies are copied.
Seen to work: uvicorn 0.36 to 0.54.

What the cycle does for a body is bookkeeping (h11's state, or a count of the bytes
still expected) and `transport.write`. Here the first is kept and the second is done by
somebody else; the start message and the end of the body still go through the cycle, so
the access log, keep-alive, pipelining and shutdown remain uvicorn's own.
"""

from __future__ import annotations

import asyncio
from importlib.util import find_spec
from typing import Any, Final, NamedTuple

from uvicorn.protocols.http.h11_impl import H11Protocol

from zc_response.asgi import Fields, Message, Send, ZeroCopyMiddleware
from zc_response.errors import DisconnectedError
from zc_response.planning import has_no_body
from zc_response.policy import default_policy
from zc_response.transmit import MULTIPLEXED, Access

try:
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
except ImportError:  # pragma: no cover

    class HttpToolsProtocol(asyncio.Protocol):  # type: ignore[no-redef]
        """Stands in where httptools is not installed."""

        def __init__(self, *_args: Any, **_kwargs: Any) -> None:
            raise RuntimeError("this protocol needs httptools: pip install httptools")


Bytes = bytes | bytearray

__all__ = ["ZeroCopyH11Protocol", "ZeroCopyHttpToolsProtocol", "ZeroCopyProtocol"]


# The protocols ---------------------------------------------------------------------


class _ZeroCopy:
    """Puts our middleware around the application, outside of everything."""

    app: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.app = ZeroCopyMiddleware(self.app, default_policy())


class ZeroCopyH11Protocol(_ZeroCopy, H11Protocol):
    """uvicorn's h11 protocol, with zero copy for every application behind it."""


class ZeroCopyHttpToolsProtocol(_ZeroCopy, HttpToolsProtocol):
    """uvicorn's httptools protocol, with zero copy for every application behind it."""


ZeroCopyProtocol: type[asyncio.Protocol] = (
    ZeroCopyHttpToolsProtocol if find_spec("httptools") else ZeroCopyH11Protocol
)
"""What uvicorn's `--http auto` would pick, with zero copy."""


# The connection --------------------------------------------------------------------


def connect(send: Any) -> _CycleConnection | str:
    """The connection behind uvicorn's `send`, or why it cannot be used."""
    cycle = send.__self__
    kind = _known.get(type(cycle)) or _examine(cycle)
    return kind if isinstance(kind, str) else kind(cycle)


_known: dict[type, type[_CycleConnection] | str] = {}


def _examine(cycle: Any) -> type[_CycleConnection] | str:
    """What to make of a cycle of this class, found out on the first one."""
    name = type(cycle).__module__
    kind = _KINDS.get(f"{name}.{type(cycle).__name__}")
    missing = [need for need in kind.needs if not hasattr(cycle, need)] if kind else []
    if name.endswith("_h2_impl"):
        _known[type(cycle)] = MULTIPLEXED
    elif kind is None:
        _known[type(cycle)] = f"{name} cannot be written behind"
    elif missing:
        _known[type(cycle)] = f"this {name} has no {', '.join(missing)}"
    else:
        _known[type(cycle)] = kind
    return _known[type(cycle)]


class _CycleConnection:
    """One request of uvicorn, seen through its RequestResponseCycle."""

    __slots__ = ("_cycle",)

    needs: tuple[str, ...] = (
        "disconnected",
        "flow",
        "message_event",
        "scope",
        "transport",
    )

    def __init__(self, cycle: Any) -> None:
        self._cycle = cycle

    @property
    def obstacle(self) -> str:
        """Why the socket is out of reach; the scope's scheme would not be proof."""
        transport = self._cycle.transport
        if transport.get_extra_info("sslcontext") is not None:
            return "TLS"
        if transport.get_extra_info("socket") is None:
            return "the transport has no socket"
        return ""

    @property
    def disconnected(self) -> bool:
        """True when the connection is lost, or is being closed."""
        return bool(self._cycle.disconnected or self._cycle.transport.is_closing())

    def bodiless(self, status: int) -> bool:
        """HEAD, 1xx, 204 and 304 have no body (RFC 9112 section 6.3)."""
        return has_no_body(self._cycle.scope["method"], status)

    async def drain(self) -> None:
        """Wait until the transport has written everything uvicorn gave it."""
        transport = self._cycle.transport
        if not transport.get_write_buffer_size():
            return
        low, high = transport.get_write_buffer_limits()
        transport.set_write_buffer_limits(high=0)
        try:
            await self._cycle.flow.drain()
        finally:
            transport.set_write_buffer_limits(high=high, low=low)

    async def head(self, send: Send, start: Message) -> bytes:
        """Let the cycle write its status line and header fields into our hands."""
        cycle = self._cycle
        transport = cycle.transport
        cycle.transport = recorder = _Recorder(transport)
        try:
            await send(start)
        finally:
            cycle.transport = transport
        return b"".join(recorder.written)

    async def send_together(self, send: Send, start: Message, body: Message) -> bytes:
        """Let the cycle send a whole response, in one write instead of two.

        Returns the head as it was written.
        """
        cycle = self._cycle
        transport = cycle.transport
        cycle.transport = joiner = _Joiner(transport)
        try:
            await send(start)
            await send(body)
        finally:
            cycle.transport = transport
            joiner.flush()
        return joiner.head or b""

    async def send_whole(self, status: int, headers: Fields, body: Bytes) -> None:
        """The same, without anybody in between."""
        await self._send_whole(status, headers, body)

    async def _send_whole(self, status: int, headers: Fields, body: Bytes) -> bytes:
        return await self.send_together(
            self._cycle.send,
            {
                "type": "http.response.start",
                "status": status,
                "headers": list(headers),
            },
            {"type": "http.response.body", "body": body},
        )

    def frame(self, count: int) -> tuple[bytes, bytes]:
        """Enter `count` body bytes into the cycle's books."""
        raise NotImplementedError

    def access(self) -> Access:
        """The connection's socket."""
        return Access(self._fileno)

    def _fileno(self) -> int:
        if self.disconnected:
            raise DisconnectedError("the client left")
        number: int = self._cycle.transport.get_extra_info("socket").fileno()
        return number

    def pause_reading(self) -> None:
        """As uvicorn does when a pipelined request waits; the cycle's end undoes it."""
        self._cycle.flow.pause_reading()

    def abort(self) -> None:
        """Drop the connection, and tell the cycle before the loop gets round to it."""
        self._cycle.disconnected = True
        self._cycle.message_event.set()
        self._cycle.transport.abort()


class _Recorder:
    """A transport that keeps what is written to it, and is the real one otherwise."""

    __slots__ = ("_transport", "written")

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self.written: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class _Joiner:
    """A transport that lets what is written first leave with what is written second.

    Whatever else is done to it is done to the real one, at once: so nothing that the
    end of a response sets off (a close, the next pipelined response) gets ahead of it.
    """

    __slots__ = ("_transport", "_written", "head")

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self._written = False
        self.head: bytes | None = None

    def write(self, data: bytes) -> None:
        if self.head is None:
            self.head = data
        elif self._written:
            self._transport.write(data)
        else:
            self._written = True
            self._transport.writelines((self.head, data))

    def flush(self) -> None:
        if self.head and not self._written:
            self._transport.write(self.head)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class _H11Connection(_CycleConnection):
    """h11 frames anything that has a length, so a placeholder stands for the body."""

    __slots__ = ()

    needs = (*_CycleConnection.needs, "conn")

    def frame(self, count: int) -> tuple[bytes, bytes]:
        import h11

        placeholder = _Placeholder(count)
        data = h11.Data(data=placeholder)  # type: ignore[arg-type]
        parts = self._cycle.conn.send_with_data_passthrough(data)
        place = parts.index(placeholder)
        return b"".join(parts[:place]), b"".join(parts[place + 1 :])


class _Placeholder:
    """Something as long as the body."""

    __slots__ = ("_count",)

    def __init__(self, count: int) -> None:
        self._count = count

    def __len__(self) -> int:
        return self._count


class _HttpToolsConnection(_CycleConnection):
    """With httptools uvicorn does the framing itself."""

    __slots__ = ()

    _cycle: Any

    needs = (
        *_CycleConnection.needs,
        "access_log",
        "chunked_encoding",
        "default_headers",
        "expected_content_length",
        "keep_alive",
        "response_started",
        "waiting_for_100_continue",
    )

    async def send_whole(self, status: int, headers: Fields, body: Bytes) -> None:
        """As the cycle does it, or as it has just done it for the same answer."""
        cycle = self._cycle
        if cycle.access_log or cycle.disconnected or cycle.flow.write_paused:
            await self._send_whole(status, headers, body)
            return
        head = _heads.find(cycle, headers)
        if head is None:
            written = await self._send_whole(status, headers, body)
            _heads.keep(cycle, headers, written, len(body))
            return
        self._take_up(0)
        cycle.transport.writelines((head.data, body))
        await cycle.send(_END)

    async def head(self, send: Send, start: Message) -> bytes:
        """The same for a head alone, if it is that of an answer of ours."""
        cycle = self._cycle
        headers = start["headers"]
        is_direct = getattr(send, "__self__", None) is self._cycle
        if type(headers) is not tuple or not is_direct or cycle.access_log:
            return await super().head(send, start)
        head = _heads.find(cycle, headers)
        if head is None:
            written = await super().head(send, start)
            _heads.keep(cycle, headers, written, cycle.expected_content_length)
            return written
        self._take_up(head.length)
        return head.data

    def _take_up(self, owed: int) -> None:
        """Leave the cycle as it is after a start message, `owed` bytes to come."""
        cycle = self._cycle
        cycle.response_started = True
        cycle.waiting_for_100_continue = cycle.chunked_encoding = False
        cycle.expected_content_length = owed

    def frame(self, count: int) -> tuple[bytes, bytes]:
        cycle = self._cycle
        if cycle.chunked_encoding:
            return b"%x\r\n" % count, b"\r\n"
        if count > cycle.expected_content_length:
            raise RuntimeError("Response content longer than Content-Length")
        cycle.expected_content_length -= count
        return b"", b""


class _Heads:
    """Heads as cycles have written them, until the fields of uvicorn's own change.

    For a small response, checking and joining its header fields anew is a good part of
    the work. What a cycle writes for an answer depends on nothing but the answer,
    whether the connection stays open, and the default fields: the date is among them,
    so they are a new list every second.
    """

    __slots__ = ("_heads",)

    def __init__(self) -> None:
        self._heads: dict[tuple[int, bool], _Head] = {}

    def find(self, cycle: Any, headers: Fields) -> _Head | None:
        """What was written for these very header fields, if that still holds."""
        found = self._heads.get((id(headers), cycle.keep_alive))
        if found is None or found.fields is not headers:
            return None
        return found if found.defaults is cycle.default_headers else None

    def keep(self, cycle: Any, headers: Fields, data: bytes, length: int) -> None:
        """Keep what was written for the header fields that `find` did not know."""
        if not data or cycle.chunked_encoding is not False:
            return
        if len(self._heads) >= _MOST_HEADS:
            self._heads.clear()
        head = _Head(headers, cycle.default_headers, data, length)
        self._heads[id(headers), cycle.keep_alive] = head


class _Head(NamedTuple):
    """A head as it was written, what it was made of, and the content length in it."""

    fields: Fields
    defaults: Any
    data: bytes
    length: int


_END: Final = {"type": "http.response.body", "body": b"", "more_body": False}
_MOST_HEADS: Final = 1024
_heads: Final = _Heads()

_KINDS: Final[dict[str, type[_CycleConnection]]] = {
    "uvicorn.protocols.http.h11_impl.RequestResponseCycle": _H11Connection,
    "uvicorn.protocols.http.httptools_impl.RequestResponseCycle": _HttpToolsConnection,
}


# HTTP/2 ----------------------------------------------------------------------------


def taker(send: Any) -> _ZttpStream | None:
    """The stream of HTTP/2 behind uvicorn's `send`; None where that waits by itself."""
    stream = getattr(send.__self__, "stream", None)
    return None if stream is None else _ZttpStream(send.__self__, stream)


class _ZttpStream:
    """One response among others on a connection of zttp's.

    zttp keeps what the client's window has no room for, as much as it is given
    (`zttp_h2_impl`, uvicorn 0.54): `send` waits for the transport alone.
    """

    def __init__(self, cycle: Any, stream: Any) -> None:
        self._cycle = cycle
        self._stream = stream

    def backlog(self) -> int:
        """How many bytes wait for the window."""
        if self._cycle.disconnected:
            return 0
        return getattr(self._stream, "pending_bytes", None) or 0

    async def abort(self) -> None:
        """uvicorn resets a stream by itself when its application has failed."""

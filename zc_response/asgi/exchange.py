"""Executing what was announced: one response's messages, on their way to the server."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeGuard

from zc_response.asgi.connections import Connection
from zc_response.asgi.copying import copy_body
from zc_response.asgi.elsewhere import elsewhere
from zc_response.asgi.messages import (
    PATHSEND,
    POLICY,
    SEGMENTS,
    STREAM,
    ZEROCOPYSEND,
    Fields,
    Message,
    Send,
)
from zc_response.errors import (
    ChangedError,
    DisconnectedError,
    FileChangedError,
    StalledError,
    TransferError,
)
from zc_response.planning import Segment, Slice
from zc_response.policy import Policy
from zc_response.report import IN_MEMORY, Tally
from zc_response.sources import FileSource, Stream, open_files, place_of
from zc_response.transmit import Access, Body, Transfer, drive, is_to_be_lent


class Exchange:
    """The way of one response's messages from the application to the server.

    A start message that announces its Content-Length is held back until the message
    after it, as the ASGI specification asks of servers. So a file that turns out to be
    missing or changed can still become an error, and header and body can leave in one
    segment. Every other message passes at once.
    """

    __slots__ = (
        "_busy",
        "_connection",
        "_owed",
        "_policy",
        "_send",
        "_start",
        "_status",
    )

    def __init__(self, connection: Connection, send: Send, policy: Policy) -> None:
        self._connection = connection
        self._send = send
        self._policy = policy
        self._start: Message | None = None
        self._status = 0
        self._owed: int | None = None
        self._busy = False

    async def send(self, message: Message) -> None:
        """The `send` that the application sees (ASGI)."""
        if self._busy:
            raise RuntimeError("a file is being sent; await that `send` first")
        kind = message["type"]
        if kind == "http.response.start" and self._start is None:
            self._status = message["status"]
            self._owed = _content_length(message)
            if self._owed is None:
                await self._send(message)
            else:
                self._start = message
        elif kind == "http.response.body":
            await self._body(message)
        elif kind == PATHSEND:
            await self._pathsend(message)
        elif kind == ZEROCOPYSEND:
            await self._zerocopysend(message)
        else:
            await self.release_start()
            await self._send(message)

    async def _body(self, message: Message) -> None:
        """Pass body bytes on, together with the start if they are all there is."""
        data = message.get("body", b"")
        size = len(data)
        if self._owed is not None:
            self._owed -= size
        start = self._start
        is_whole = (
            start is not None
            and size > 0
            and not message.get("more_body", False)
            and not self._connection.bodiless(self._status)
        )
        if is_whole and self._owed == 0 and self._is_to_be_lent(data):
            await self._lend(data)
        elif start is not None and is_whole and size <= self._policy.small_bytes:
            self._start = None
            await self._connection.send_together(self._send, start, message)
        else:
            await self.release_start()
            await self._send(message)

    def _is_to_be_lent(self, data: object) -> TypeGuard[bytes]:
        connection = self._connection
        try:
            return is_to_be_lent(data, connection.access, self._policy)
        except DisconnectedError:
            return False

    async def _lend(self, data: bytes) -> None:
        """Send a body that is in memory, and tell the server that it is complete."""
        body = partial(Body.of_memory, data, self._policy)
        if await self._transmit(body, IN_MEMORY, len(data)):
            await self._send({"type": "http.response.body", "body": b""})

    @property
    def is_untouched(self) -> bool:
        """True as long as no message of the response has come."""
        return not self._busy and not self._status

    @property
    def connection(self) -> Connection:
        """The server's side of the connection."""
        return self._connection

    async def deliver(
        self,
        status: int,
        headers: Fields,
        segments: Sequence[Segment],
        path: str,
        policy: Policy,
    ) -> None:
        """Send a whole response: what its start message and its pathsend would do."""
        self._policy = policy
        self._status = status
        self._start = {
            "type": "http.response.start",
            "status": status,
            "headers": headers,
        }
        await self._deliver(segments, path, more_body=False)

    @property
    def is_holding(self) -> bool:
        """True while a start message is held back."""
        return self._start is not None

    async def release_start(self) -> None:
        """Let the server have the start message, if it is still held back."""
        start, self._start = self._start, None
        if start is not None:
            await self._send(start)

    async def _pathsend(self, message: Message) -> None:
        if STREAM in message:
            self._policy = message.get(POLICY, self._policy)
            await self._flow(message[STREAM])
            return
        segments = message.get(SEGMENTS)
        if segments is not None:
            self._policy = message.get(POLICY, self._policy)
            await self._deliver(segments, message["path"], more_body=False)
            return
        with await self._open(message["path"]) as source:
            piece = Slice(source, 0, source.facts.size)
            await self._deliver([piece], source.path, more_body=False)

    async def _open(self, path: str) -> FileSource:
        """A share of the file that an application has named."""
        files = open_files(self._policy)
        source = files.fresh(path)
        if source is None:
            source = await elsewhere(
                place_of(path),
                partial(files.open, path),
                timeout=self._policy.stall_timeout,
                discard=FileSource.release,
            )
        return source

    async def _zerocopysend(self, message: Message) -> None:
        file = message["file"]
        fd = file if isinstance(file, int) else file.fileno()
        with FileSource.borrow(fd) as source:
            piece, after = _named_slice(source, message)
            await self._deliver([piece], source.path, message.get("more_body", False))
            if after is not None:
                os.lseek(source.fileno(), after, os.SEEK_SET)

    async def _deliver(
        self, segments: Sequence[Segment], path: str, more_body: bool
    ) -> None:
        """Send segments as (a part of) the body, and tell the server of it."""
        count = sum(map(len, segments))
        bodiless = self._connection.bodiless(self._status)
        if not bodiless:
            self._owe(count, path, more_body)
        if bodiless or not count:
            await self.release_start()
        elif not await self._transmit(partial(self._hold, segments), path, count):
            return
        await self._send(
            {"type": "http.response.body", "body": b"", "more_body": more_body}
        )

    def _owe(self, count: int, path: str, more_body: bool) -> None:
        """Refuse what cannot be framed, before it is too late for an honest error."""
        if self._owed is None:
            return
        self._owed -= count
        if self._owed < 0 or (self._owed and not more_body):
            raise TransferError(
                f"{path}: the {count} bytes to be sent do not make up the "
                f"Content-Length; has the file changed since it was looked at?"
            )

    async def _flow(self, stream: Stream) -> None:
        """Send a stream as the body, and tell the server that it is complete."""
        with stream:
            if self._connection.bodiless(self._status):
                await self.release_start()
            elif not await self._transmit(
                partial(Body.of_stream, stream, self._policy),
                stream.name,
                self._owed or 0,
            ):
                return
        await self._send({"type": "http.response.body", "body": b""})

    async def _transmit(
        self, make_body: Callable[[], Body], path: str, count: int
    ) -> bool:
        """Put a body on the wire. False if the client has left meanwhile."""
        await self._connection.drain()
        if self._connection.disconnected:
            return False
        access = self._connection.access()
        body = make_body()
        tally = body.account(
            access, self._policy, path=path, status=self._status, count=count
        )
        self._busy = True
        try:
            with tally:
                if access.fileno is None:
                    await self._copy(body, tally)
                else:
                    await self._run(body, access, tally)
        except (DisconnectedError, StalledError):
            return False
        except ChangedError:
            if access.fileno is None:  # the server has to end what it sends itself
                raise
            return False
        finally:
            self._busy = False
        return True

    def _hold(self, segments: Sequence[Segment]) -> Body:
        """The body, if its files are still as they were when they were opened.

        If not, and nothing has been sent, the application may answer something else.
        """
        try:
            return Body(segments, self._policy)
        except FileChangedError:
            if self._start is not None:
                self._start, self._status = None, 0
            raise

    async def _copy(self, body: Body, tally: Tally) -> None:
        try:
            await self.release_start()
            await copy_body(self._send, body, tally, self._policy, elsewhere)
        finally:
            body.close()

    async def _run(self, body: Body, access: Access, tally: Tally) -> None:
        """Carry out a transfer; whatever goes wrong ends the connection with it."""
        connection = self._connection
        try:
            transfer = Transfer(body, access, self._policy, tally)
            try:
                start, self._start = self._start, None
                if start is not None:
                    transfer.head = await connection.head(self._send, start)
                if body.stream is not None and self._owed is None:
                    transfer.frame = connection.frame
                else:
                    count = transfer.tally.promised
                    before, transfer.tail = connection.frame(count)
                    transfer.head += before
            except BaseException:
                transfer.abort()
                transfer.close()
                raise
            # What the client sends meanwhile must not make the server answer: that
            # would land inside of this body.
            await drive(transfer, before_waiting=connection.pause_reading)
        except BaseException:
            connection.abort()
            raise


def _content_length(start: Message) -> int | None:
    for name, value in start.get("headers", ()):
        if len(name) == 14 and name.lower() == b"content-length" and value.isdigit():
            return int(value)
    return None


def _named_slice(source: FileSource, message: Message) -> tuple[Slice, int | None]:
    """What a zerocopysend message names, and where its file is to stand afterwards.

    Without an offset it starts where the file stands, and moves that on as a read
    would; without a count it goes to the end of the file.
    """
    offset, count = message.get("offset"), message.get("count")
    start = os.lseek(source.fileno(), 0, os.SEEK_CUR) if offset is None else offset
    if count is None:
        count = max(source.facts.size - start, 0)
    if start < 0 or count < 0 or (count and start + count > source.facts.size):
        raise ValueError(
            f"offset {start} and count {count} do not lie inside {source.path}, "
            f"which has {source.facts.size} bytes"
        )
    return Slice(source, start, count), start + count if offset is None else None

"""Sending a body: by zero copy if it is still what it was, else as it comes."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, TypeGuard

from zc_response.errors import FileChangedError
from zc_response.planning import Segment
from zc_response.policy import Policy
from zc_response.report import IN_MEMORY, Tally, is_wanted
from zc_response.transmit import (
    Access,
    Body,
    Strategy,
    Transfer,
    is_to_be_lent,
)
from zc_response.wsgi.bodies import (
    FileWrapper,
    FirstChunk,
    StreamBody,
    ZeroCopyBody,
)
from zc_response.wsgi.connections import Connection
from zc_response.wsgi.copying import (
    await_beginning,
    copy_body,
    copy_stream,
    path_of,
)

EXCHANGE: Final = "zc_response.exchange"
"""The key in `environ` under which a response of ours finds the exchange."""


class Exchange:
    """One response, on its way from the application to the server."""

    __slots__ = ("_connection", "policy")

    def __init__(self, connection: Connection, policy: Policy) -> None:
        self._connection = connection
        self.policy = policy

    def body(self, body: Iterable[bytes]) -> Iterable[bytes]:
        """What the server gets in place of the application's body.

        Whatever is no plain list may begin with a chunk of ours when it is iterated,
        and what is one may be a single large chunk.
        """
        is_plain = isinstance(body, list | tuple)
        return (
            body if is_plain and not self._may_be_lent(body) else _Sending(self, body)
        )

    def _may_be_lent(self, body: Any) -> bool:
        least = self.policy.zerocopy_min
        is_one = least > 0 and len(body) == 1 and type(body[0]) is bytes
        return is_one and len(body[0]) >= least

    def expect(self, memo: dict[object, Any]) -> None:
        """See `Connection`."""
        self._connection.expect(memo)

    # What a body asks for, as it is iterated -----------------------------------------

    def segments_of(self, body: object) -> Sequence[Segment] | None:
        """The segments that a body stands for, if it is one of ours.

        None if it has to be iterated.
        """
        if not isinstance(body, ZeroCopyBody):
            return None
        if self._connection.is_bodiless:  # not to be read for nothing
            return ()
        return body.take(self._connection.content_length, self.policy)

    def segments_behind(self, first: bytes) -> Sequence[Segment] | None:
        """The same for the body of a first chunk that has come through unchanged.

        Whoever changes the length of what comes after it has to take back the promise
        of a length: so without one, nothing is sure.
        """
        if not isinstance(first, FirstChunk) or not self.policy.zero_copy:
            return None
        if self._connection.content_length is None:
            return None
        return self.segments_of(first.body)

    def is_to_be_lent(self, first: bytes) -> TypeGuard[bytes]:
        """True if a first chunk is all that is promised, and its memory worth lending.

        Whatever has become of it on its way, it is what the server would send.
        """
        connection = self._connection
        return (
            connection.content_length == len(first)
            and not connection.is_bodiless
            and is_to_be_lent(first, connection.access, self.policy)
        )

    def passing(self, chunk: bytes) -> bytes:
        """A chunk that the server sends by itself."""
        self._connection.passed(len(chunk))
        return chunk

    def send_at_once(self, body: object) -> bool:
        """Send a small body of ours in one write, if nothing speaks against that.

        Such as somebody who wants a report of it, or a disk that has to be asked.
        """
        connection, policy = self._connection, self.policy
        count = connection.content_length
        if (
            not isinstance(body, ZeroCopyBody)
            or not count
            or count > policy.small_bytes
            or policy.max_rate
            or not policy.zero_copy
            or connection.is_bodiless
            or is_wanted()
        ):
            return False
        data = body.at_once(count, policy)
        try:
            return data is not None and connection.send_together(data)
        except Exception:
            connection.abort()
            raise

    def deliver(
        self, segments: Sequence[Segment], others: Iterator[bytes]
    ) -> Iterator[bytes]:
        """Send segments; what the server has to send itself is yielded.

        They are the whole body. So `others`, which had the first of its chunks, is only
        iterated to its end because there may be more to it than chunks.
        """
        connection, policy = self._connection, self.policy
        if connection.is_bodiless:
            return
        count = sum(map(len, segments))
        path = path_of(segments)
        try:
            body = Body(segments, policy)
        except FileChangedError:  # nothing has been sent
            connection.start_response(*_CHANGED, sys.exc_info())
            return
        access = connection.access()
        tally = body.account(
            access, policy, path=path, status=connection.status, count=count
        )
        is_small = count <= policy.small_bytes
        if is_small:
            tally.strategy, tally.reason = Strategy.COPY, "small"
        if access.fileno is None or is_small:
            try:
                is_all = connection.content_length == count
                for data in copy_body(body, tally, policy, connection.beat):
                    is_whole = is_all and len(data) == count
                    if not (is_whole and connection.send_together(data)):
                        yield self.passing(data)
            except Exception:
                connection.abort()
                raise
        else:
            yield from self._transmit(body, access, tally)
        yield from map(self.passing, others)

    def lend(self, data: bytes, others: Iterator[bytes]) -> Iterator[bytes]:
        """Send a body that is in memory; what the server sends itself is yielded."""
        connection, policy = self._connection, self.policy
        access, body = connection.access(), Body.of_memory(data, policy)
        status, count = connection.status, len(data)
        tally = body.account(access, policy, path=IN_MEMORY, status=status, count=count)
        yield from self._transmit(body, access, tally)
        yield from map(self.passing, others)

    def _transmit(self, body: Body, access: Access, tally: Tally) -> Iterator[bytes]:
        connection, policy = self._connection, self.policy
        transfer = Transfer(body, access, policy, tally)
        try:
            head = connection.head(policy)
            if head is None:
                yield b""
            transfer.head = head or b""
            if body.stream is not None and connection.content_length is None:
                transfer.frame, transfer.tail = connection.frames()
            else:
                before, transfer.tail = connection.frame(tally.promised)
                transfer.head += before
        except BaseException:
            transfer.close()
            raise
        connection.carry(transfer, tally, policy)

    def flow(self, body: StreamBody) -> Iterator[bytes]:
        """Send a stream; what the server has to send itself is yielded."""
        connection, policy = self._connection, self.policy
        if connection.is_bodiless:
            return
        promised, access = connection.content_length, connection.access()
        status, count = connection.status, promised or 0
        stream = body.open()
        whole = Body.of_stream(stream, policy)
        tally = whole.account(
            access, policy, path=stream.name, status=status, count=count
        )
        if access.fileno is not None:
            try:
                await_beginning(stream, policy, connection.beat)
            except BaseException:
                stream.close()
                raise
            yield from self._transmit(whole, access, tally)
            if promised is None:
                connection.flowed(tally.sent)
            return
        is_promised = promised is not None
        beat = connection.beat
        try:
            yield from map(
                self.passing,
                copy_stream(stream, tally, policy, beat, is_promised=is_promised),
            )
        except Exception:
            connection.abort()
            raise

    def end(self) -> None:
        """The body is at its end. If it was too short, so is the connection's life."""
        connection = self._connection
        promised = connection.content_length
        if promised is None or connection.is_bodiless or connection.sent >= promised:
            return
        connection.abort()


_CHANGED: Final = (
    "503 Service Unavailable",
    [("Content-Length", "0"), ("Retry-After", "1")],
)
"""When the header fields speak of a file that is another by now."""


class Wrapper:
    """`wsgi.file_wrapper` (PEP 3333), in place of the server's own.

    A server may ask whether a body is an instance of it: what it gets never is.
    """

    def __call__(self, filelike: Any, block_size: int = 8192) -> ZeroCopyBody:
        """An iterable over what is left of the file, which may be a body already."""
        if isinstance(filelike, ZeroCopyBody):
            return filelike
        return FileWrapper(filelike, block_size)

    def __instancecheck__(self, instance: object) -> bool:
        return False


WRAPPER: Final = Wrapper()


class _Sending:
    """The iterable that the server gets in place of the application's."""

    def __init__(self, exchange: Exchange, body: Iterable[bytes]) -> None:
        self._exchange = exchange
        self._body = body

    def __iter__(self) -> Iterator[bytes]:
        exchange = self._exchange
        if exchange.send_at_once(self._body):
            return
        segments = exchange.segments_of(self._body)
        if segments is not None:
            yield from exchange.deliver(segments, iter(()))
            return
        chunks = iter(self._body)
        if isinstance(chunks, StreamBody):
            yield from exchange.flow(chunks)
            return
        first = next(chunks, None)
        if first is not None:
            segments = exchange.segments_behind(first)
            if segments is None and exchange.is_to_be_lent(first):
                yield from exchange.lend(first, chunks)
            elif segments is None:
                yield exchange.passing(first)
                yield from map(exchange.passing, chunks)
            else:
                yield from exchange.deliver(segments, chunks)
        exchange.end()

    def close(self) -> None:
        """Close the application's body (PEP 3333)."""
        close = getattr(self._body, "close", None)
        if close is not None:
            close()

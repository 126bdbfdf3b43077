"""Sending a body: by zero copy if it is still what it was, else as it comes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from zc_response.planning import Segment
from zc_response.policy import Policy
from zc_response.report import Tally
from zc_response.transmit import (
    Body,
    Strategy,
    Transfer,
    choose,
)
from zc_response.wsgi.bodies import FileWrapper, FirstChunk, ZeroCopyBody
from zc_response.wsgi.connections import Connection
from zc_response.wsgi.copying import copy_body, path_of

EXCHANGE: Final = "zc_response.exchange"
"""The key in `environ` under which a response of ours finds the exchange."""


class Exchange:
    """One response, on its way from the application to the server."""

    __slots__ = ("_connection", "_expects", "policy")

    def __init__(self, connection: Connection, policy: Policy) -> None:
        self._connection = connection
        self.policy = policy
        self._expects = False

    def wrap(self, filelike: Any, block_size: int = 8192) -> FileWrapper:
        """`wsgi.file_wrapper` (PEP 3333)."""
        self.expect()
        return FileWrapper(filelike, block_size)

    def expect(self) -> None:
        """There will be a body that may leave by zero copy, perhaps wrapped."""
        self._expects = True

    def body(self, body: Iterable[bytes]) -> Iterable[bytes]:
        """What the server gets in place of the application's body."""
        return _Sending(self, body) if self._expects else body

    # What a body asks for, as it is iterated -----------------------------------------

    def segments_of(self, body: object) -> Sequence[Segment] | None:
        """The segments that a body or its first chunk stands for, if it is one of ours.

        None if it has to be iterated.
        """
        if isinstance(body, FirstChunk):
            body = body.body
        if not isinstance(body, ZeroCopyBody) or self._connection.is_bodiless:
            return None
        return body.take(self._connection.content_length)

    def deliver(self, segments: Sequence[Segment]) -> Iterator[bytes]:
        """Send segments; what the server has to send itself is yielded."""
        connection, policy = self._connection, self.policy
        count = sum(map(len, segments))
        path = path_of(segments)
        body = Body(segments, policy)
        access = connection.access()
        strategy, reason = choose(access, policy, is_firm=body.is_firm)
        is_small = count <= policy.small_bytes
        tally = Tally(
            path=path,
            status=connection.status,
            promised=count,
            strategy=Strategy.COPY if is_small else strategy,
            reason="small" if is_small else reason,
            guard=body.guard,
            guard_reason=body.guard_reason,
        )
        if access.fileno is None or is_small:
            try:
                yield from copy_body(body, tally, policy, connection.beat)
            except Exception:
                connection.abort()
                raise
            return
        transfer = Transfer(body, access, policy, tally)
        try:
            head = connection.head()
            if head is None:
                yield b""
            before, transfer.tail = connection.frame(count)
            transfer.head = (head or b"") + before
        except BaseException:
            transfer.close()
            raise
        connection.carry(transfer, tally)

    def end(self) -> None:
        """The body is at its end. If it was too short, so is the connection's life."""
        connection = self._connection
        promised = connection.content_length
        if promised is None or connection.is_bodiless or connection.sent >= promised:
            return
        connection.abort()


class _Sending:
    """The iterable that the server gets in place of the application's."""

    def __init__(self, exchange: Exchange, body: Iterable[bytes]) -> None:
        self._exchange = exchange
        self._body = body

    def __iter__(self) -> Iterator[bytes]:
        exchange = self._exchange
        segments = exchange.segments_of(self._body)
        if segments is not None:
            yield from exchange.deliver(segments)
            return
        chunks = iter(self._body)
        first = next(chunks, None)
        if first is not None:
            segments = exchange.segments_of(first)
            if segments is None:
                yield first
            else:
                yield from exchange.deliver(segments)
        # What comes now is what somebody has added; usually nothing.
        yield from chunks
        exchange.end()

    def close(self) -> None:
        """Close the application's body (PEP 3333)."""
        close = getattr(self._body, "close", None)
        if close is not None:
            close()

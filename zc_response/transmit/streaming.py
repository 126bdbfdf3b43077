"""A stream, piece by piece: what is in the pipe now goes to the socket, by reference.

Where the length is not known beforehand each piece is a chunk (RFC 9112 section 7.1),
and its head has to say how long it is before it is sent. So the pipe is asked first
(FIONREAD), and that much is promised and moved: nobody else reads from it, so nothing
of it can go away. The end of a chunk leaves with the head of the next one, if more is
waiting already, and else at once: a client that waits for whole chunks must not wait
for the producer's next word.

The end counts as good only when the pipe is at its end and the producer has ended well.
Until then the client must not be able to take the body for whole: the last chunk is not
sent, or, where the length was promised, the last byte is kept back.

By reference each byte of a small piece keeps a page of the pipe in the socket's queue,
and two calls cost more than to copy it. So small pieces are read, and leave in one send
with what is around them.

A producer whose every write is taken at once never fills its pipe, and each of its
writes costs everybody a round. So one whose bytes come faster than they can be taken in
large pieces is left alone for a millisecond.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from typing import Final

from zc_response.errors import ProducerError, TruncatedError
from zc_response.kernel import pipes, sockets
from zc_response.sources import Stream
from zc_response.transmit.choose import Strategy
from zc_response.transmit.steps import Line, RefusedError, Steps, Want, peer_gone

Frame = Callable[[int], tuple[bytes, bytes]]
"""What goes around a piece of so many bytes, which have to be sent then."""

SMALL_BYTES: Final = 16 * 1024
"""A piece below this is copied.

4, 16 and 64 KiB made no difference beyond noise where `dd bs=16k` wrote (five rounds):
most pieces are far larger by the time they are taken.
"""
WORTHWHILE_BYTES: Final = 64 * 1024
"""A piece below this that comes right after another one could have been larger.

256 KiB is no better for certain: of `bench throughput --candidates pipe,stock-pipe`
with Reno it took 0.114 and 0.118 of the CPU time of StreamingResponse (5 and 9 rounds),
64 KiB 0.101 and 0.107 (7 and 6); two other paired runs had it the other way round.
"""
RIGHT_AFTER_SECONDS: Final = 0.002
"""How soon that is. Without the pause `dd bs=16k` cost five times as much."""


def beginning(stream: Stream) -> Steps:
    """Wait for the first byte of a process, or its end.

    As long as nothing has been sent, its failure can still become an error of the
    application: raises ProducerError. Of what is no process there is nothing to learn.
    """
    while stream.has_producer and not stream.waiting():
        if stream.is_over():
            yield from _good_end(stream)
            return
        yield Want.READABLE


def stream_chunks(line: Line, stream: Stream, frame: Frame) -> Steps:
    """Send all of a stream, each piece in a frame of its own.

    Where the server ends the body by closing the connection, frames are empty.
    """
    sender = _Sender(line, stream)
    end = b""
    while count := (yield from sender.arrival()):
        before, end_of_this = frame(count)
        line.tally.promised += count
        end = yield from sender.send(count, end + before, end_of_this)
        yield from sender.pause()
    yield from _good_end(stream)


def stream_promised(line: Line, stream: Stream) -> Steps:
    """Send a stream of which the account says how long it is."""
    sender, tally = _Sender(line, stream), line.tally
    kept = min(tally.promised, 0 if stream.is_counted else 1)
    while (left := tally.promised - kept - tally.sent) > 0:
        count = yield from sender.arrival(left)
        if not count:
            yield from _too_short(line, stream)
        yield from sender.send(count)
        yield from sender.pause()
    last = b""
    if kept:
        if not (yield from sender.arrival(1)):
            yield from _too_short(line, stream)
        last = stream.take(1)
    if not stream.is_counted:
        yield from sender.arrival()
    if stream.waiting():
        raise ProducerError(
            f"{stream.name} wrote more than the {tally.promised} bytes promised"
        )
    if not stream.is_counted:
        yield from _good_end(stream)
    yield from line.write(last, more=False)


def _too_short(line: Line, stream: Stream) -> Steps:
    """Raise what says that the stream has ended too early, or why."""
    yield from _good_end(stream)
    sent, promised = line.tally.sent, line.tally.promised
    raise TruncatedError(f"{stream.name} ended after {sent} of {promised} bytes")


def _good_end(stream: Stream) -> Steps:
    """Wait for the producer's end. Raises ProducerError if it is not a good one."""
    while not stream.has_ended_well():
        yield Want.READABLE if stream.tells_its_end else Want.SOON


class _Sender:
    """Sends pieces of a stream."""

    __slots__ = ("_came_at", "_is_hasty", "_line", "_stream")

    def __init__(self, line: Line, stream: Stream) -> None:
        self._line = line
        self._stream = stream
        self._came_at = 0.0
        self._is_hasty = False

    def arrival(self, limit: int = 1 << 62) -> Generator[Want, None, int]:
        """Wait until something has come; how much is to be sent of it, 0 at the end."""
        stream, line = self._stream, self._line
        while not (count := min(stream.waiting(), line.pace.step, limit)):
            if stream.is_over():
                return 0
            yield Want.READABLE
        if count >= SMALL_BYTES and line.tally.strategy == Strategy.SPLICE:
            try:
                return stream.load(count) or count
            except OSError as exc:
                self._give_up_if_refused(exc)
        return count

    def send(
        self, count: int, before: bytes = b"", after: bytes = b""
    ) -> Generator[Want, None, bytes]:
        """Send a piece that has come between `before` and `after`.

        What is still to be sent of `after`, before anything else: nothing if it has to
        be waited for.
        """
        line, stream = self._line, self._stream
        now = time.monotonic()
        is_right_after = now - self._came_at < RIGHT_AFTER_SECONDS
        self._is_hasty = is_right_after and count < WORTHWHILE_BYTES
        self._came_at = now
        if not stream.loaded and count < SMALL_BYTES:
            data = before + stream.take(count)
            is_more = stream.waiting() > 0
            if not is_more:
                data += after
            yield from line.write(data, more=is_more, counted=False)
            line.tally.sent += count
            return after if is_more else b""
        yield from line.write(before, more=True, counted=False)
        if stream.loaded:
            try:
                yield from self._splice(more=bool(after))
                count = 0
            except RefusedError:
                count = stream.loaded
        while count:
            data = stream.take(min(count, COPIED_BYTES))
            count -= len(data)
            yield from line.write(data, more=count > 0 or bool(after))
        if after and stream.waiting():
            return after
        yield from line.write(after, more=False, counted=False)
        return b""

    def _splice(self, *, more: bool) -> Steps:
        line, stream = self._line, self._stream
        while stream.loaded:
            out = line.socket.fileno()
            try:
                moved = pipes.splice(stream.pipe, out, stream.loaded, more=more)
            except BlockingIOError:
                stream.check_loaded()
                yield line.is_full()
                continue
            except OSError as exc:
                self._give_up_if_refused(exc)
                raise RefusedError(str(exc)) from exc
            if not moved:
                stream.check_loaded()
            stream.loaded -= moved
            line.tally.sent += moved

    def _give_up_if_refused(self, exc: OSError) -> None:
        """From now on pieces are copied. Raises what says anything else."""
        if exc.errno not in sockets.REFUSED:
            raise peer_gone(exc) from exc
        tally = self._line.tally
        tally.strategy, tally.reason = Strategy.COPY, f"splice: {exc.strerror}"

    def pause(self) -> Steps:
        """Let others have their turn; and the producer, if its pieces are too small."""
        yield Want.SOON if self._is_hasty else Want.TURN


COPIED_BYTES: Final = 256 * 1024
"""Read at once where a piece is copied: what a reader may hold of it in memory."""

"""One body on its way over one socket: segments in order, strategy by strategy."""

from __future__ import annotations

from collections.abc import Callable, Generator, Hashable

from zc_response.errors import DisconnectedError
from zc_response.kernel import sockets
from zc_response.native import new_lock
from zc_response.policy import Policy
from zc_response.report import Tally
from zc_response.sources import Stream
from zc_response.transmit.access import Access
from zc_response.transmit.body import Body
from zc_response.transmit.choose import Strategy
from zc_response.transmit.memory import until_given_back
from zc_response.transmit.pieces import Sender
from zc_response.transmit.steps import Line, Steps, Want
from zc_response.transmit.streaming import Frame, stream_chunks, stream_promised


class Transfer:
    """Sends a body, which becomes its own, over the connection that `access` leads to.

    `head` and `tail` are what the server's framing puts around the body: they are sent,
    but not counted as part of it. A stream whose length is not known has a `frame`,
    which goes around each of its pieces. `tally` is its account, and `stall_timeout`
    the seconds without any progress after which a driver gives it up (0: never).

    As for the socket: for one turn, in which nobody else runs, the server's own
    descriptor is borrowed; who takes another turn calls `check` first. A transfer that
    has to wait takes a duplicate, whose number nobody can close or reuse, and gives it
    up again for a long wait. Under `strict`, one that sends what could change, and what
    nobody has read, keeps it, so that it can be cut off by whoever looks after its
    lease; and so does one that lends memory, because it must be able to take it back.
    """

    __slots__ = (
        "_body",
        "_fileno",
        "_is_owner",
        "_keeps_socket",
        "_line",
        "_lock",
        "_sender",
        "_steps",
        "_wake",
        "frame",
        "head",
        "stall_timeout",
        "tail",
        "tally",
    )

    def __init__(
        self, body: Body, access: Access, policy: Policy, tally: Tally
    ) -> None:
        assert access.fileno is not None
        self.head = self.tail = b""
        self.frame: Frame | None = None
        self.tally = tally
        self.stall_timeout = policy.stall_timeout
        self._body = body
        self._fileno = access.fileno
        is_strict = policy.integrity == "strict" and not body.is_fixed
        is_lending = tally.strategy == Strategy.ZEROCOPY
        self._keeps_socket = is_lending or (
            is_strict and tally.strategy != Strategy.COPY
        )
        self._is_owner = False
        self._lock = new_lock()
        self._steps: Generator[Want, None, None] | None = None
        self._wake: Callable[[], object] = _nobody
        self._sender = Sender(body, access, policy, tally)
        try:
            self._line = Line(self._first_socket(), policy, tally)
        except BaseException:
            body.close()
            raise
        for hold in body.holds:
            hold.carrier = self

    # The socket --------------------------------------------------------------------

    def _first_socket(self) -> sockets.Socket:
        number = self._fileno()
        if self._keeps_socket:
            try:
                own = sockets.duplicate(number)
            except OSError as exc:
                if self._body.memory is None:
                    raise
                self._keeps_socket = False  # nor is there any need, if it is copied
                self._sender.fall_back(f"MSG_ZEROCOPY: {exc.strerror}")
            else:
                self._is_owner = True
                return own
        return sockets.borrow(number)

    def fileno(self) -> int:
        """The descriptor to wait for; -1 while there is none."""
        return self._line.socket.fileno() if self._is_owner else -1

    def check(self) -> None:
        """Raise ChangedError if it was cut off, DisconnectedError if there is no
        connection any more, as far as the server knows."""
        for hold in self._body.holds:
            hold.check_failure()
        if self._fileno() < 0:
            raise DisconnectedError("the client left")

    def check_client(self) -> None:
        """Raise DisconnectedError if the client has closed its side.

        nginx takes that for its leaving, too, as long as it waits for somebody else
        (ngx_http_upstream_check_broken_connection).
        """
        if self._body.stream is None:  # the client is all that is waited for
            self.check()
        elif sockets.has_left(self._fileno()):
            raise DisconnectedError("the client left")

    def input(self) -> int:
        """The descriptor that tells of what the stream's producer does, or of what the
        kernel gives back."""
        if self._body.memory is not None:
            return self._body.memory.loan.fileno()
        assert self._body.stream is not None
        return self._body.stream.fileno()

    @property
    def unacknowledged(self) -> int:
        """Bytes in the socket that the client has not taken yet.

        As long as the kernel has not given back what was lent to it there are some.
        """
        owed = self._body.memory.loan.owed if self._body.memory else 0
        try:
            return sockets.unacknowledged(self._fileno()) or owed
        except DisconnectedError:
            return owed

    def borrow(self) -> None:
        """Use the server's own descriptor for the turn that comes now.

        Raises DisconnectedError if the connection is gone.
        """
        number = self._fileno()
        if not self._keeps_socket:
            with self._lock:
                self._let_go()
                self._line.socket = sockets.borrow(number)

    def own(self) -> None:
        """Take a duplicate to wait with. Raises OSError if no descriptor is left."""
        if not self._is_owner:
            own = sockets.duplicate(self._fileno())
            with self._lock:
                self._let_go()
                self._line.socket, self._is_owner = own, True

    def park(self) -> int:
        """Give up what is not needed for a long wait; the server's own number to watch.

        Nothing is sent until `own` or `borrow`.
        """
        number = self._fileno()
        if not self._keeps_socket:
            with self._lock:
                self._let_go()
        self._line.rest()
        return number

    def _let_go(self) -> None:
        if self._is_owner:
            self._line.socket.close()
        else:
            self._line.socket.detach()
        self._is_owner = False

    # The work ----------------------------------------------------------------------

    @property
    def filesystem(self) -> Hashable:
        """What stands for the filesystem whose threads may take a step."""
        return self._body.filesystem

    def steps(self) -> Steps:
        """All of it, as steps; who asks again gets what is left over."""
        if self._steps is None:
            self._steps = self._all()
        return self._steps

    def _all(self) -> Generator[Want, None, None]:
        """Literal bytes wait for those that follow (MSG_MORE)."""
        line, tail, pieces = self._line, self.tail, self._body.pieces
        if self._body.stream is not None:
            yield from self._flow(self._body.stream)
            return
        last = len(pieces) - 1
        line.open()
        if self.head:
            more = last >= 0 or self._body.memory is not None or bool(tail)
            yield from line.write(self.head, more=more, counted=False)
        if self._body.memory is not None:
            yield from self._sender.send(line, self._body.memory)
        for index, piece in enumerate(pieces):
            if isinstance(piece, bytes):
                yield from line.write(piece, more=index < last or bool(tail))
            else:
                yield from self._sender.send(line, piece)
        if tail:
            yield from line.write(tail, more=False, counted=False)
        if self._body.memory is not None:
            line.uncork()
            yield from until_given_back(line, self._body.memory)
        yield from line.close()
        if self._keeps_socket:
            yield from self._arrival()

    def _flow(self, stream: Stream) -> Steps:
        """The same for a stream: nothing waits for what the producer has yet to say."""
        line = self._line
        line.open(flows=True)
        is_more = stream.waiting() > 0
        yield from line.write(self.head, more=is_more, counted=False)
        if self.frame is None:
            yield from stream_promised(line, stream)
        else:
            yield from stream_chunks(line, stream, self.frame)
        yield from line.write(self.tail, more=False, counted=False)
        yield from line.close()

    def _arrival(self) -> Steps:
        """Wait until the client has taken all there is of a file's pages."""
        while self.is_under_way():
            for hold in self._body.holds:
                hold.check()
            yield Want.SOON

    # When somebody waits to write to a file; in any thread ----------------------------

    def is_under_way(self) -> bool:
        """True if the kernel holds pages of a file that the client has not taken."""
        return self._line.has_references and self.unacknowledged > 0

    def cut(self) -> bool:
        """End the connection at once, if there is a descriptor that is surely its."""
        with self._lock:
            if self._is_owner:
                sockets.reset(self._line.socket)
            return self._is_owner

    def wake(self) -> None:
        """Have a step taken, which finds out that it is over."""
        self._wake()

    def wait_inside(self, seconds: float) -> None:
        """Let steps wait for the client, but no longer than that at a time.

        The socket has to be a blocking one; with 0 they never wait any more.
        """
        self._line.waits = seconds > 0
        sockets.limit_wait(self._line.socket, seconds)

    def on_wake(self, wake: Callable[[], object]) -> None:
        """Call `wake`, in any thread, when a step has to be taken without delay."""
        self._wake = wake

    # The end -----------------------------------------------------------------------

    def abort(self) -> None:
        """Let the connection end with RST when the last descriptor of it is closed."""
        if not self._is_owner:
            try:
                self.borrow()
            except DisconnectedError:  # and the number perhaps somebody else's by now
                return
        sockets.abort(self._line.socket)

    def reset(self) -> None:
        """Let the connection end with RST now, though a step may be under way."""
        sockets.reset(self._line.socket)

    def close(self) -> None:
        """Give everything back: the files, and the socket. Once more does nothing.

        What the kernel still has of our memory is taken back first; its connection is
        reset then.
        """
        if self._body.memory is not None:
            self._body.memory.loan.end(self._line.socket)
        with self._lock:
            self._let_go()
        self._wake = _nobody
        if self._steps is not None:
            self._steps.close()
        if self._body.holds:  # which have an end with the first time
            self.tally.guard = self._body.guard
        self._body.close()


def reset(fd: int) -> None:
    """End the connection behind a descriptor with RST, at once."""
    sock = sockets.borrow(fd)
    try:
        sockets.abort(sock)
        sockets.reset(sock)
    finally:
        sock.detach()


def _nobody() -> None:
    """Nobody waits."""

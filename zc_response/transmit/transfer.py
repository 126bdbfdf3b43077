"""One body on its way over one socket: segments in order, strategy by strategy."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Final

from zc_response.errors import DisconnectedError
from zc_response.kernel import sockets
from zc_response.planning import Segment, Slice
from zc_response.policy import Policy
from zc_response.report import Tally
from zc_response.sources import FileSource
from zc_response.transmit.access import Access
from zc_response.transmit.choose import Strategy
from zc_response.transmit.copy import copy
from zc_response.transmit.sendfile import sendfile
from zc_response.transmit.steps import Cursor, Line, RefusedError, Steps, source_of

STRATEGIES: Final[dict[str, Callable[[Line, Cursor], Steps]]] = {
    Strategy.SENDFILE: sendfile,
    Strategy.COPY: copy,
}


class Transfer:
    """Sends segments over the connection that `access` leads to.

    It holds a share of each source until it is closed, so nothing that happens to the
    response that made the segments can take a descriptor away from under it. `head`
    and `tail` are what the server's framing puts around the body: they are sent, but
    not counted as part of it. `tally` is its account, and `stall_timeout` the seconds
    without any progress after which a driver gives it up (0: never).

    As for the socket: for one turn, in which nobody else runs, the server's own
    descriptor is borrowed; who takes another turn asks `is_gone` first. A transfer that
    has to wait takes a duplicate, whose number nobody can close or reuse, and gives it
    up again for a long wait.
    """

    __slots__ = (
        "_fileno",
        "_is_owner",
        "_line",
        "_segments",
        "_sources",
        "head",
        "stall_timeout",
        "tail",
        "tally",
    )

    def __init__(
        self, segments: Sequence[Segment], access: Access, policy: Policy, tally: Tally
    ) -> None:
        assert access.fileno is not None
        self.head = self.tail = b""
        self.tally = tally
        self.stall_timeout = policy.stall_timeout
        self._fileno = access.fileno
        self._is_owner = False
        self._line = Line(sockets.borrow(access.fileno()), policy, tally)
        self._segments = [segment for segment in segments if len(segment)]
        self._sources: list[FileSource] = []
        try:
            for segment in self._segments:
                if isinstance(segment, Slice):
                    self._sources.append(source_of(segment).retain())
        except BaseException:
            self.close()
            raise

    # The socket --------------------------------------------------------------------

    def fileno(self) -> int:
        """The descriptor to wait for; -1 while there is none."""
        return self._line.socket.fileno() if self._is_owner else -1

    @property
    def is_gone(self) -> bool:
        """True if the connection is lost, as far as the server knows."""
        try:
            return self._fileno() < 0
        except DisconnectedError:
            return True

    @property
    def unacknowledged(self) -> int:
        """Bytes in the socket that the client has not taken yet."""
        try:
            return sockets.unacknowledged(self._fileno())
        except DisconnectedError:
            return 0

    def borrow(self) -> None:
        """Use the server's own descriptor for the turn that comes now.

        Raises DisconnectedError if the connection is gone.
        """
        number = self._fileno()
        self._let_go()
        self._line.socket = sockets.borrow(number)

    def own(self) -> None:
        """Take a duplicate to wait with. Raises OSError if no descriptor is left."""
        if not self._is_owner:
            own = sockets.duplicate(self._fileno())
            self._let_go()
            self._line.socket, self._is_owner = own, True

    def park(self) -> int:
        """Give the duplicate up for a long wait; the server's own number to watch.

        Nothing is sent until `own` or `borrow`.
        """
        number = self._fileno()
        self._let_go()
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
        return self._sources[0].facts.device if self._sources else None

    def steps(self) -> Steps:
        """All of it, as steps; literal bytes wait for those that follow (MSG_MORE)."""
        line, tail = self._line, self.tail
        last = len(self._segments) - 1
        line.open()
        if self.head:
            more = last >= 0 or bool(tail)
            yield from line.write(self.head, more=more, counted=False)
        for index, segment in enumerate(self._segments):
            if isinstance(segment, bytes):
                yield from line.write(segment, more=index < last or bool(tail))
            else:
                yield from self._send(Cursor(segment))
        if tail:
            yield from line.write(tail, more=False, counted=False)
        yield from line.close()

    def _send(self, cursor: Cursor) -> Steps:
        tally = self._line.tally
        try:
            yield from STRATEGIES[tally.strategy](self._line, cursor)
        except RefusedError as refusal:
            tally.strategy, tally.reason = Strategy.COPY, str(refusal)
            yield from copy(self._line, cursor)

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
        """Give everything back: shares of sources, and the socket."""
        self._let_go()
        while self._sources:
            self._sources.pop().release()

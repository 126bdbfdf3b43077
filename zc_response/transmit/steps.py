"""The words that strategies and drivers share."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum, auto
from typing import TypeAlias

from zc_response.errors import DisconnectedError
from zc_response.kernel import sockets
from zc_response.planning import Slice
from zc_response.report import Tally
from zc_response.sources import FileSource


class Want(Enum):
    """What a strategy waits for before its next step."""

    WRITABLE = auto()
    """The socket is full."""
    TURN = auto()
    """Nothing; but others have waited long enough."""


Steps: TypeAlias = Iterator[Want]


class RefusedError(Exception):
    """A kernel, filesystem or filter declines this strategy; another may do."""


def source_of(piece: Slice) -> FileSource:
    """The source of a slice, which planning carries without knowing it."""
    if not isinstance(piece.source, FileSource):
        raise TypeError(f"{piece.source!r} is not a source that can be sent")
    return piece.source


class Cursor:
    """How far a slice has come: what is left of it starts at `offset`."""

    __slots__ = ("end", "offset", "source")

    def __init__(self, piece: Slice) -> None:
        self.source = source_of(piece)
        self.offset = piece.offset
        self.end = piece.offset + piece.count

    @property
    def left(self) -> int:
        """Bytes still to be sent."""
        return self.end - self.offset


class Line:
    """The outgoing line of one transfer: its socket, its step size, its account."""

    __slots__ = ("socket", "step_bytes", "tally")

    def __init__(self, sock: sockets.Socket, step_bytes: int, tally: Tally) -> None:
        self.socket = sock
        self.step_bytes = step_bytes
        self.tally = tally

    def write(self, data: bytes, *, more: bool) -> Steps:
        """Send literal bytes; `more` says that others follow at once."""
        view = memoryview(data)
        while view:
            try:
                count = sockets.send(self.socket, view, more=more)
            except BlockingIOError:
                yield Want.WRITABLE
                continue
            except OSError as exc:
                raise peer_gone(exc) from exc
            view = view[count:]


def peer_gone(exc: OSError) -> Exception:
    """`exc` as a DisconnectedError if it says that the peer is lost, else as it is."""
    if exc.errno in sockets.PEER_GONE:
        return DisconnectedError(f"the client left: {exc.strerror}")
    return exc

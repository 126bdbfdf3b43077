"""A body that is in memory: lent to the kernel, or copied by it.

Where the memory is lent (MSG_ZEROCOPY) nobody but the network card reads it. That
costs: pages are looked up and pinned, notices taken. So it is for large bodies, for
clients on another host, and ends where the kernel says that it has copied after all.
What `loans` says of memory that is lent is obeyed here and in `transfer`.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Final

from zc_response.kernel import sockets, zerocopy
from zc_response.report import Tally
from zc_response.transmit.steps import (
    Line,
    Memory,
    RefusedError,
    Steps,
    Want,
    peer_gone,
)

STEP: Final = 512 * 1024
"""The most that one call lends. The kernel counts all of it as pinned before it knows
how much it takes, and a process may pin 8 MiB, or less (RLIMIT_MEMLOCK)."""
COPIED: Final = "MSG_ZEROCOPY: the kernel copied"

_Send = Callable[[Line, Memory, memoryview, bool], int]


def lend(line: Line, memory: Memory) -> Steps:
    """Send what is left without a copy, a step at a time.

    Nothing is lent before it is known that notices can be taken.
    """
    try:
        zerocopy.enable(line.socket)
        zerocopy.notices(line.socket)
    except OSError as exc:
        raise RefusedError(f"MSG_ZEROCOPY: {exc.strerror}") from exc
    return _send(line, memory, _lend)


def write(line: Line, memory: Memory) -> Steps:
    """Send what is left by copying it into the socket, a step at a time."""
    return _send(line, memory, _write)


def _send(line: Line, memory: Memory, send: _Send) -> Steps:
    while memory.left:
        piece = memory.next(min(line.pace.step, STEP))
        try:
            memory.loan.take_back(line.socket)
            count = send(line, memory, piece, len(piece) < memory.left)
        except BlockingIOError:
            yield _room(line, memory)
            continue
        except OSError as exc:
            if exc.errno in sockets.REFUSED and send is _lend:
                raise RefusedError(f"MSG_ZEROCOPY: {exc.strerror}") from exc
            raise peer_gone(exc) from exc
        memory.offset += count
        line.tally.sent += count
        if count == len(piece) and memory.left:
            yield Want.TURN
        elif line.waits and memory.left:
            yield _room(line, memory)


def _room(line: Line, memory: Memory) -> Want:
    """What to wait for now that the socket is full, though notices may come."""
    want = line.is_full()
    if not memory.loan.owed:
        return want
    is_watching = memory.loan.is_watching(line.socket, for_room=True)
    return Want.READABLE if is_watching else Want.SOON


def _lend(line: Line, memory: Memory, piece: memoryview, more: bool) -> int:
    if memory.loan.was_copied:
        raise RefusedError(COPIED)
    try:
        count = zerocopy.lend(line.socket, piece, more=more)
    except OSError as exc:
        if exc.errno != errno.ENOBUFS:
            raise
        _note(line.tally, f"in part copied: {exc.strerror}")
        return _write(line, memory, piece, more)
    memory.loan.owed += 1
    return count


def _write(line: Line, _memory: Memory, piece: memoryview, more: bool) -> int:
    return sockets.send(line.socket, piece, more=more)


def until_given_back(line: Line, memory: Memory) -> Steps:
    """Wait until the kernel needs nothing of what was lent.

    A connection that is broken wakes whoever waits, again and again, though there may
    be nothing to take: so nobody waits twice without a pause.
    """
    loan = memory.loan
    try:
        while loan.owed:
            if loan.take_back(line.socket):
                continue
            if loan.is_watching(line.socket, for_room=False):
                yield Want.READABLE
            if not loan.take_back(line.socket):
                sockets.check(line.socket)
                yield Want.SOON
    except OSError as exc:
        raise peer_gone(exc) from exc
    if loan.was_copied:
        _note(line.tally, COPIED)


def _note(tally: Tally, fact: str) -> None:
    """Add it to the reason, once."""
    if fact not in tally.reason:
        tally.reason += f"; {fact}"

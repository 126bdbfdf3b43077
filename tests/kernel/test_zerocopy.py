"""MSG_ZEROCOPY: what is lent, and what the kernel says when it is done with it."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Iterator

import pytest

from tests.live import eventually
from tests.transmit.lines import connected, receive
from zc_response.kernel import sockets, zerocopy
from zc_response.kernel.zerocopy import Notices

ZEROCOPY, TIMESTAMPING, COPIED = 5, 4, 1


def notice(first: int, last: int, code: int = 0, origin: int = ZEROCOPY) -> bytes:
    return struct.pack("=IBBBBII", 0, origin, 0, code, 0, first, last) + bytes(16)


@pytest.mark.parametrize(
    ("messages", "calls"),
    [
        ([], 0),
        ([notice(0, 0)], 1),
        ([notice(3, 9)], 7),
        ([notice(5, 5), notice(0, 4)], 6),
        ([notice(2**32 - 1, 2**32 - 1)], 1),
        ([notice(2**32 - 2, 1)], 4),
        ([notice(7, 6)], 2**32),
        ([notice(0, 3, origin=TIMESTAMPING)], 0),
        ([b"short"], 0),
    ],
    ids=[
        "none",
        "one",
        "merged",
        "out of order",
        "the last number",
        "past the last number",
        "all numbers",
        "a time stamp",
        "something else",
    ],
)
def test_notices_are_counted_by_their_ranges(messages: list[bytes], calls: int) -> None:
    assert zerocopy.read(messages) == Notices(calls, copied=False)


@pytest.mark.parametrize("codes", [(COPIED, 0), (0, COPIED)])
def test_one_that_was_copied_is_enough(codes: tuple[int, int]) -> None:
    messages = [notice(number, number, code) for number, code in enumerate(codes)]
    assert zerocopy.read(messages) == Notices(2, copied=True)


@pytest.fixture
def pair() -> Iterator[tuple[sockets.Socket, socket.socket]]:
    """A socket that memory may be lent to, and its client."""
    with connected() as (ours, peer):
        sock = sockets.duplicate(ours.fileno())
        try:
            zerocopy.enable(sock)
            yield sock, peer
        finally:
            sock.close()


def test_a_notice_comes_for_each_call_that_lent(
    pair: tuple[sockets.Socket, socket.socket],
) -> None:
    ours, peer = pair
    seen: list[Notices] = []
    pieces = [b"%d" % number * 1000 for number in range(5)]
    for piece in pieces:
        zerocopy.lend(ours, memoryview(piece), more=piece is not pieces[-1])
    assert receive(peer, 5000)[::1000] == b"01234"

    def calls() -> int:
        seen.append(zerocopy.notices(ours))
        return sum(each.calls for each in seen)

    eventually(lambda: calls() == 5)
    assert any(each.copied for each in seen)  # on the loopback, always
    assert zerocopy.notices(ours) == Notices(0, copied=False)


def test_a_call_that_took_nothing_is_not_counted(
    pair: tuple[sockets.Socket, socket.socket],
) -> None:
    ours, peer = pair
    data, calls = bytes(1 << 19), 0
    with contextlib.suppress(BlockingIOError):
        while True:
            calls += bool(zerocopy.lend(ours, memoryview(data), more=False))
    sockets.abort(ours)
    sockets.reset(ours)

    assert zerocopy.notices(ours).calls == calls
    assert peer.recv(1)


def test_what_is_owed_for_queued_memory_comes_with_the_reset(
    pair: tuple[sockets.Socket, socket.socket],
) -> None:
    """It purges the queue: the memory is nobody's any more when it returns."""
    ours, _peer = pair
    data = bytes(64 << 20)
    zerocopy.lend(ours, memoryview(data), more=False)
    assert zerocopy.notices(ours).calls == 0

    sockets.reset(ours)

    assert zerocopy.notices(ours).calls == 1


def test_a_unix_socket_declines() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, pytest.raises(OSError, match="not supported"):
        zerocopy.enable(ours)


def test_over_ipv6_it_is_the_same() -> None:
    if not socket.has_dualstack_ipv6():
        pytest.skip("no IPv6 here")
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as listener:
        peer = socket.create_connection(listener.getsockname()[:2])
        ours, _ = listener.accept()
    with ours, peer:
        zerocopy.enable(ours)
        ours.setblocking(False)
        zerocopy.lend(ours, memoryview(b"x"), more=False)
        eventually(lambda: zerocopy.notices(ours).calls == 1)

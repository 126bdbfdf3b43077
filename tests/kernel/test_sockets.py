"""Sockets of somebody else's, used without ever waiting."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator

import pytest

from tests.transmit.lines import connected
from zc_response.kernel import sockets


@pytest.fixture
def default_timeout() -> Iterator[None]:
    """An application that gives every socket a timeout."""
    socket.setdefaulttimeout(0.05)
    yield
    socket.setdefaulttimeout(None)


def fill(sock: sockets.Socket) -> None:
    while True:
        sockets.send(sock, bytes(1 << 20), more=False)


def let_go(sock: sockets.Socket) -> None:
    sock.detach()


@pytest.mark.usefixtures("default_timeout")
@pytest.mark.parametrize(
    ("take", "give_back"),
    [(sockets.borrow, let_go), (sockets.duplicate, sockets.Socket.close)],
    ids=["borrowed", "duplicate"],
)
def test_a_full_socket_is_not_waited_for(
    take: Callable[[int], sockets.Socket],
    give_back: Callable[[sockets.Socket], None],
) -> None:
    with connected() as (ours, _peer):
        sock = take(ours.fileno())
        try:
            with pytest.raises(BlockingIOError):
                fill(sock)
        finally:
            give_back(sock)


def test_a_blocking_socket_is_waited_for_no_longer_than_it_may() -> None:
    with connected() as (ours, _peer):
        ours.setblocking(True)
        sockets.limit_wait(ours, 0.001)
        with pytest.raises(BlockingIOError):
            fill(ours)
        sockets.limit_wait(ours, 0)
        assert ours.getsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, 16) == bytes(16)
    sockets.limit_wait(ours, 1)  # it is closed: the next call says so

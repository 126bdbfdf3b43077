from __future__ import annotations

import errno
import os
import socket
from collections import OrderedDict
from collections.abc import Iterator

import pytest

from tests.kernel.test_leases import refusal
from tests.transmit.lines import connected
from zc_response.kernel import routes, sockets
from zc_response.kernel.routes import Route
from zc_response.transmit import peers
from zc_response.transmit.access import Access
from zc_response.transmit.peers import is_same_host

only_with_ipv6 = pytest.mark.skipif(
    not socket.has_dualstack_ipv6(), reason="no IPv6 here"
)


@pytest.fixture(autouse=True)
def _nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "_answers", OrderedDict())


@pytest.fixture
def fd() -> Iterator[int]:
    with connected() as (ours, _peer):
        yield ours.fileno()


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The client's address is another host's, behind a network card."""
    asked: list[bytes] = []

    def route_to(_family: int, address: bytes) -> Route:
        asked.append(address)
        return Route(is_local=False, interface="eth7")

    monkeypatch.setattr(routes, "route_to", route_to)
    monkeypatch.setattr(routes, "leaves_memory", lambda name: name == "eth7")
    return asked


def test_a_client_over_the_loopback_is_here(fd: int) -> None:
    assert is_same_host(fd)


def test_a_client_behind_a_network_card_is_elsewhere(
    fd: int, asked: list[bytes]
) -> None:
    assert not is_same_host(fd)
    assert asked == [bytes((127, 0, 0, 1))]


def test_a_client_over_a_unix_socket_is_here(asked: list[bytes]) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert is_same_host(ours.fileno())
    assert asked == []


@pytest.mark.usefixtures("asked")
def test_a_client_that_has_left_counts_as_here() -> None:
    with connected() as (ours, peer):
        sockets.abort(peer)
        peer.close()
        refusal(lambda: ours.send(b"x"))
        refusal(lambda: ours.send(b"x"))
        assert refusal(lambda: ours.getpeername()) == "ENOTCONN"
        assert is_same_host(ours.fileno())


@only_with_ipv6
def test_an_ipv4_address_in_the_clothes_of_ipv6_is_asked_for_as_it_is(
    asked: list[bytes],
) -> None:
    with socket.create_server(
        ("::", 0), family=socket.AF_INET6, dualstack_ipv6=True
    ) as listener:
        peer = socket.create_connection(("127.0.0.1", listener.getsockname()[1]))
        ours, _ = listener.accept()
    with ours, peer:
        is_same_host(ours.fileno())
    assert asked == [bytes((127, 0, 0, 1))]


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EAFNOSUPPORT, "no netlink"),
        BlockingIOError(errno.EAGAIN, "no answer"),
        ValueError("an answer of another shape"),
    ],
    ids=str,
)
def test_in_doubt_a_client_is_here(
    fd: int, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def route_to(_family: int, _address: bytes) -> Route:
        raise error

    monkeypatch.setattr(routes, "route_to", route_to)
    monkeypatch.setattr(routes, "leaves_memory", lambda _name: True)
    assert is_same_host(fd)


def test_an_answer_of_a_shape_that_is_not_understood_counts_as_here(
    fd: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routes, "route_to", lambda *_: routes._read(b"short"))
    monkeypatch.setattr(routes, "leaves_memory", lambda _name: True)
    assert is_same_host(fd)


def test_an_address_of_this_host_is_here_whatever_it_stands_on(
    fd: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routes, "route_to", lambda *_: Route(True, "eth7"))
    monkeypatch.setattr(routes, "leaves_memory", lambda _name: True)
    assert is_same_host(fd)


@only_with_ipv6
def test_a_client_over_ipv6_is_asked_for_by_its_whole_address(
    asked: list[bytes],
) -> None:
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as listener:
        peer = socket.create_connection(listener.getsockname()[:2])
        ours, _ = listener.accept()
    with ours, peer:
        is_same_host(ours.fileno())
    assert asked == [bytes(15) + b"\1"]


def test_an_answer_holds_for_a_while(
    fd: int, asked: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not is_same_host(fd)
    assert not is_same_host(fd)
    assert len(asked) == 1

    monkeypatch.setattr(peers, "FRESH_SECONDS", 0.0)
    assert not is_same_host(fd)
    assert len(asked) == 2


@pytest.mark.usefixtures("asked")
def test_not_every_client_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "_MOST_ANSWERS", 10)
    for number in range(100):
        peers._way_to(socket.AF_INET, bytes((192, 0, 2, number)))
    assert len(peers._answers) == 10


def test_a_connection_that_cannot_be_reached_may_be_to_this_host(
    asked: list[bytes], fd: int
) -> None:
    assert Access().is_same_host()
    assert not Access(fileno=lambda: fd).is_same_host()
    assert asked


def test_asking_takes_no_descriptor(fd: int) -> None:
    before = len(os.listdir("/proc/self/fd"))
    is_same_host(fd)
    assert len(os.listdir("/proc/self/fd")) == before
    os.fstat(fd)

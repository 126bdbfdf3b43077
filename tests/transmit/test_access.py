"""A connection with TLS is only written to if the kernel says that it encrypts."""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Thread

import pytest
import trustme

from zc_response.kernel import tls
from zc_response.policy import Policy
from zc_response.transmit import Strategy, choose, reach, say_goodbye

VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


@contextmanager
def encrypted(version: ssl.TLSVersion) -> Iterator[ssl.SSLSocket]:
    """A server's side of a connection, after its handshake, without kTLS."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    asking = ssl.create_default_context()
    authority.configure_trust(asking)
    asking.minimum_version = asking.maximum_version = version
    with socket.create_server(("127.0.0.1", 0)) as listener:
        plain = socket.create_connection(listener.getsockname())

        def shake_hands() -> None:
            clients.append(asking.wrap_socket(plain, server_hostname="localhost"))

        clients: list[ssl.SSLSocket] = []
        thread = Thread(target=shake_hands)
        thread.start()
        accepted, _address = listener.accept()
        with context.wrap_socket(accepted, server_side=True) as server:
            thread.join(10)
            with clients[0]:
                yield server


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("is_tls", [True, False])
def test_where_openssl_encrypts_the_descriptor_is_not_to_be_had(
    version: ssl.TLSVersion, is_tls: bool
) -> None:
    """Also if the server's settings do not speak of TLS."""
    with encrypted(version) as sock:
        access = reach(sock, sock.fileno, is_tls=is_tls)

    assert access.fileno is None
    assert choose(access, Policy(), is_firm=True, count=10) == (Strategy.COPY, "TLS")


Answer = Callable[..., bytes]


def asked(monkeypatch: pytest.MonkeyPatch, answer: bytes | OSError) -> bool:
    """Whether the descriptor is handed out if the kernel answers so."""

    class Socket(socket.SocketType):
        def getsockopt(self, *question: int) -> bytes:  # type: ignore[override]
            assert question == (282, 1, 4)
            if isinstance(answer, OSError):
                raise answer
            return answer

    here, there = socket.socketpair()
    with here, there:
        monkeypatch.setattr("zc_response.kernel.tls.socket.SocketType", Socket)
        access = reach(here, here.fileno, is_tls=True)
    assert access.encrypts == (access.fileno is not None)
    return access.encrypts


@pytest.mark.parametrize("version", [0x0303, 0x0304])
def test_a_clear_yes_is_a_version_and_a_cipher(
    monkeypatch: pytest.MonkeyPatch, version: int
) -> None:
    assert asked(monkeypatch, struct.pack("HH", version, 51))


@pytest.mark.parametrize(
    "answer",
    [
        OSError(95, "ENOTSUP"),
        OSError(92, "ENOPROTOOPT"),
        OSError(16, "EBUSY"),
        OSError(9, "EBADF"),
        b"",
        b"\x03\x03",
        bytes(4),
        struct.pack("HH", 0x0304, 0),
        struct.pack("HH", 0x0300, 51),
        struct.pack("HHH", 0x0304, 51, 0),
    ],
    ids=str,
)
def test_everything_else_is_a_no(
    monkeypatch: pytest.MonkeyPatch, answer: bytes | OSError
) -> None:
    assert not asked(monkeypatch, answer)


def test_a_socket_that_is_closed_is_a_no() -> None:
    here, there = socket.socketpair()
    here.close()
    there.close()
    assert reach(here, here.fileno, is_tls=True).fileno is None


def test_a_plain_socket_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    def encrypts(_fd: int) -> bool:
        raise AssertionError("nobody should ask")

    monkeypatch.setattr(tls, "encrypts", encrypts)
    here, there = socket.socketpair()
    with here, there:
        access = reach(here, here.fileno, is_tls=False)

    assert access.fileno is not None
    assert not access.encrypts


def test_the_report_says_who_encrypts() -> None:
    here, there = socket.socketpair()
    with here, there:
        access = reach(here, here.fileno, is_tls=False)._replace(encrypts=True)
        choice = choose(access, Policy(), is_firm=True, count=10)

    assert choice == (Strategy.SENDFILE, "the kernel encrypts")


def test_without_kernel_tls_a_goodbye_is_the_end_of_the_stream_alone() -> None:
    """Nor is an alert sent in plain."""
    here, there = socket.socketpair()
    with here, there:
        say_goodbye(here)
        assert there.recv(1) == b""


def test_where_the_kernel_encrypts_a_goodbye_is_an_alert_before_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A kernel without TLS ignores the control message, and sends the two bytes."""
    monkeypatch.setattr(tls, "encrypts", lambda _fd: True)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        there = socket.create_connection(listener.getsockname())
        here, _address = listener.accept()
        with here, there:
            say_goodbye(here)
            assert there.recv(3, socket.MSG_WAITALL) == b"\x01\x00"

"""TLS under gunicorn: nothing leaves in plain, and the kernel is asked each time.

Here the kernel need not have TLS: where it has is another matter (scripts/ktls).
"""

from __future__ import annotations

import random
import socket
import ssl
import struct
from types import SimpleNamespace
from typing import Any

import pytest
from gunicorn.config import Config
from gunicorn.http.wsgi import Response as GunicornResponse

from tests.gunicorn.conftest import WORKERS, Start
from tests.gunicorn.running import UVICORN_WORKER, TlsClient
from tests.live import Client
from tests.wire import complaint, recording
from zc_response.integrations import gunicorn as integration, gunicorn_conf
from zc_response.policy import Policy

CONTENT = random.Random(2).randbytes(3 << 20)
APPS = {
    **dict.fromkeys(WORKERS, ("app", "/sized")),
    "asgi": ("asgi_matrix", ""),
    UVICORN_WORKER: ("asgi_matrix", ""),
}


@pytest.mark.parametrize("worker", APPS)
def test_on_the_wire_there_is_nothing_but_tls(
    start: Start,
    worker: str,
    certificate: dict[str, Any],
    trusting: ssl.SSLContext,
) -> None:
    """With our hook, which has the kernel encrypt where it can."""
    app, prefix = APPS[worker]
    hook = "from zc_response.integrations.gunicorn import ssl_context\n"
    with start(
        f"tests.gunicorn.apps:{app}", worker=worker, config=hook, **certificate
    ) as server:
        file = server.file(CONTENT)
        with recording(server.port) as relay:
            with TlsClient(relay.port, trusting) as client:
                assert client.get(f"{prefix}/{file.name}").body == CONTENT
        assert complaint(bytes(relay.recorded), CONTENT) == ""
        assert server.report(file)["reason"] in ("TLS", "the kernel encrypts")


def test_plain_bytes_on_the_wire_would_be_noticed(start: Start) -> None:
    with start() as server:
        file = server.file(CONTENT)
        with recording(server.port) as relay, Client(relay.port) as client:
            client.get(f"/sized/{file.name}")
        assert "no record of TLS" in complaint(bytes(relay.recorded), CONTENT)


def test_a_record_of_plain_bytes_would_be_noticed() -> None:
    record = struct.pack(">BHH", 23, 0x0303, 5000) + CONTENT[4096:9096]
    assert "byte 4096 of the content" in complaint(record, CONTENT)


# The hook -----------------------------------------------------------------------------


def made(monkeypatch: pytest.MonkeyPatch, **settings: Any) -> ssl.SSLContext:
    """The context that the hook makes of gunicorn's own."""
    monkeypatch.setattr(integration, "default_policy", lambda: Policy(**settings))
    context = integration.ssl_context(
        SimpleNamespace(), lambda: ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    )
    assert isinstance(context, ssl.SSLContext)
    return context


OP_ENABLE_KTLS = 8  # openssl/ssl.h; Python has it since 3.12


@pytest.fixture
def a_python_with_ktls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssl, "OP_ENABLE_KTLS", OP_ENABLE_KTLS, raising=False)


@pytest.mark.usefixtures("a_python_with_ktls")
def test_the_hook_asks_openssl_to_let_the_kernel_encrypt(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert made(monkeypatch).options & OP_ENABLE_KTLS


@pytest.mark.usefixtures("a_python_with_ktls")
def test_with_zero_copy_switched_off_it_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert not made(monkeypatch, zero_copy=False).options & OP_ENABLE_KTLS


def test_a_python_without_the_option_has_gunicorns_own_context(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(ssl, "OP_ENABLE_KTLS", raising=False)
    assert not made(monkeypatch).options & OP_ENABLE_KTLS


def test_the_configuration_module_has_the_hook() -> None:
    assert gunicorn_conf.ssl_context is integration.ssl_context


# The question -------------------------------------------------------------------------


class Response:
    """As much of gunicorn's as is looked at."""

    def __init__(self, sock: Any, *, is_ssl: bool) -> None:
        self.sock = sock
        self.cfg = SimpleNamespace(is_ssl=is_ssl, sendfile=None)
        self.req = SimpleNamespace(version=(1, 1))


def test_no_socket_of_a_server_with_tls_is_written_to_unasked() -> None:
    """Not even one that does not look like it."""
    here, there = socket.socketpair()
    with here, there:
        connection = integration._ResponseConnection(Response(here, is_ssl=True))
        access = connection.access()
        assert (access.fileno, access.obstacle) == (None, "TLS")

        plain = integration._ResponseConnection(Response(here, is_ssl=False)).access()
        assert plain.fileno is not None


# Handing over -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("is_ssl", "settings", "said"),
    [
        (True, {}, b"close"),
        (True, {"handed_over": 0}, b"keep-alive"),
        (False, {}, b"keep-alive"),
    ],
)
def test_a_connection_that_could_not_come_back_is_announced_to_be_closed(
    is_ssl: bool, settings: dict[str, Any], said: bytes
) -> None:
    """Behind TLS what comes next on it only the worker's own OpenSSL can read."""
    config = Config()
    if is_ssl:
        config.set("certfile", __file__)
    request = SimpleNamespace(version=(1, 1), method="GET", should_close=lambda: False)
    here, there = socket.socketpair()
    with here, there:
        response = GunicornResponse(request, here, config)
        response.start_response("200 OK", [("Content-Length", "1000000")])
        connection = integration._ResponseConnection(response)
        assert b"\r\nConnection: " + said in connection.head(Policy(**settings))

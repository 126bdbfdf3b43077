"""What is compared over TLS, and the client that reads it."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.cli.test_clients import LENGTH, serving
from tests.cli.test_commands import linux, measure
from zc_response.cli.bench.candidates import CANDIDATES, why_not
from zc_response.cli.bench.certificates import certificate
from zc_response.cli.bench.client import connection
from zc_response.cli.bench.errors import LoadError
from zc_response.cli.bench.load import Target, Wrk


@contextmanager
def answering(answer: bytes, directory: Path) -> Iterator[int]:
    """A TLS server that gives its only client this answer; its port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate(directory))

    def serve(client: socket.socket) -> None:
        with context.wrap_socket(client, server_side=True) as encrypted:
            encrypted.recv(1000)
            encrypted.sendall(answer)
            encrypted.recv(1)  # the client has closed

    with serving(serve) as port:
        yield port


def test_a_body_over_tls_is_thrown_away(tmp_path: Path) -> None:
    with answering(LENGTH + b"0123456789", tmp_path) as port:
        with closing(connection(port, 5, tls=True)) as asking:
            asking.get("/x", 10)
            asking.expect_silence()


def test_what_follows_a_body_over_tls_is_noticed(tmp_path: Path) -> None:
    with answering(LENGTH + b"0123456789x", tmp_path) as port:
        with closing(connection(port, 5, tls=True)) as asking:
            asking.get("/x", 10)
            with pytest.raises(LoadError, match="bytes follow"):
                asking.expect_silence()


def test_wrk_asks_over_tls() -> None:
    line = Wrk(program="wrk", seconds=1).command(
        Target(port=1, path="/x", size=5, tls=True)
    )
    assert line[-1] == "https://127.0.0.1:1/x"


@linux
def test_everybody_is_measured_over_tls(tmp_path: Path) -> None:
    names = [
        name
        for name, candidate in CANDIDATES.items()
        if name.startswith("tls-") and not why_not(candidate)
    ]
    assert len(names) >= 8  # all but nginx
    options = ("--sizes=1MiB", "--seconds=0.05", f"--candidates={','.join(names)}")
    made = measure(tmp_path, "throughput", *options)
    assert made["failures"] == []

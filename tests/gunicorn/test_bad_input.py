"""Clients, files and applications that misbehave: the worker lives, and is clean."""

from __future__ import annotations

import contextlib
import random
import socket
import time
from pathlib import Path

import pytest

from tests.gunicorn.conftest import CONTENT, SMALL_WINDOW
from tests.gunicorn.running import Gunicorn
from tests.live import eventually


def quick(server: Gunicorn) -> bytes:
    with server.client() as client:
        return client.get("/quick/").body


def test_clients_that_leave_at_any_moment_leave_nothing_behind(
    server: Gunicorn, big: Path
) -> None:
    file = server.file(big)
    assert quick(server) == b"quick"
    leave_early(server, file)
    time.sleep(0.2)
    before, worker = server.descriptors(), server.worker
    leave_early(server, file)

    eventually(lambda: server.descriptors() <= before + 1, "as few descriptors")
    assert quick(server) == b"quick"
    assert server.worker == worker


def leave_early(server: Gunicorn, file: Path) -> None:
    for number in range(20):
        client = server.client(receive_buffer=SMALL_WINDOW)
        client.send(f"/{('sized', 'unsized', 'generated')[number % 3]}/{file.name}")
        time.sleep(number / 2000)
        client.reset() if number % 2 else client.close()


def test_a_body_that_raises_on_its_way_closes_the_connection(server: Gunicorn) -> None:
    worker = server.worker
    with server.client() as client:
        answer = client.get("/failing/none")

    assert not answer.complete
    assert "there is no second read" in server.log
    assert (quick(server), server.worker) == (b"quick", worker)


def test_a_body_that_raises_before_it_begins_is_a_500(server: Gunicorn) -> None:
    with server.client() as client:
        assert client.get("/failing_at_once/none").status == 500
    assert quick(server) == b"quick"


@pytest.mark.parametrize("size", [1000, 1_000_000], ids=["small", "large"])
def test_a_file_that_changes_before_its_first_byte_is_a_503(
    server: Gunicorn, tmp_path: Path, size: int
) -> None:
    (tmp_path / "file").write_bytes(bytes(size))
    file = server.file(tmp_path / "file")
    with server.client() as client:
        answer = client.get(f"/rewritten/{file.name}")

    assert (answer.status, answer.complete, answer.body) == (503, True, b"")
    assert answer.headers["retry-after"] == "1"
    assert "etag" not in answer.headers
    assert quick(server) == b"quick"


@pytest.mark.parametrize(
    "request_line",
    [
        b"GET /sized/{} HTTP/1.0\r\n\r\n",
        b"GET /unsized/{} HTTP/1.0\r\n\r\n",
        b"GET /sized/{} HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n",
        b"GET /unsized/{} HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n",
        b"GET /sized/{} HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    ],
)
def test_old_and_impolite_clients_get_the_file(
    server: Gunicorn, request_line: bytes
) -> None:
    file = server.file(CONTENT)
    with server.client() as client:
        client.send_raw(request_line.replace(b"{}", file.name.encode()))
        if b"keep-alive" in request_line:
            client.socket.shutdown(socket.SHUT_WR)
        received = bytearray()
        while data := client.socket.recv(1_000_000):
            received += data

    head, _, body = bytes(received).partition(b"\r\n\r\n")
    if b"chunked" in head:
        assert body.endswith(b"\r\n0\r\n\r\n")
    else:
        assert body == CONTENT


def test_garbage_behind_a_request_is_not_answered_inside_the_body(
    server: Gunicorn, big: Path
) -> None:
    file = server.file(big)
    with server.client(receive_buffer=SMALL_WINDOW) as client:
        client.send(f"/sized/{file.name}")
        client.socket.recv(1, 2)
        client.send_raw(b"\0garbage\r\n\r\n" * 100)
        answer = client.receive(1_000_000)

    assert set(answer.body) == {0}


def test_random_requests_do_not_end_the_worker(server: Gunicorn) -> None:
    """Whatever is answered: the worker goes on."""
    worker, noise = server.worker, random.Random(7)
    file = server.file(CONTENT)
    request = b"GET /sized/%s HTTP/1.1\r\nHost: t\r\n\r\n" % file.name.encode()
    for _ in range(30):
        spoilt = bytearray(request)
        for _ in range(3):
            spoilt[noise.randrange(len(spoilt))] = noise.randrange(256)
        with server.client() as client, contextlib.suppress(OSError):
            client.send_raw(bytes(spoilt))
            client.socket.shutdown(socket.SHUT_WR)
            while client.socket.recv(1_000_000):
                pass

    assert (quick(server), server.worker) == (b"quick", worker)

"""Keep-alive, pipelining, HTTP/1.0, closing: the connection stays uvicorn's."""

from __future__ import annotations

import logging
import socket
import threading
import time
from pathlib import Path

import pytest

from tests.asgi.apps import body, calling, pathsend, sending, start
from tests.asgi.conftest import CONTENT, Serve
from tests.live import eventually
from zc_response.asgi import Scope, Send

LENGTH = len(CONTENT)
REQUEST = b"GET %s HTTP/1.1\r\nHost: test\r\n\r\n"


def test_many_responses_share_one_connection(hooked: Serve, file: Path) -> None:
    app = sending(start(content_length=LENGTH), pathsend(file))
    with hooked(app) as server, server.client() as client:
        for _ in range(5):
            answer = client.get()
            assert answer.body == CONTENT
            assert answer.reusable


def test_pipelined_requests_are_answered_in_order(hooked: Serve, file: Path) -> None:
    async def respond(scope: Scope, send: Send) -> None:
        if scope["path"] == "/file":
            await send(start(content_length=LENGTH))
            await send(pathsend(file))
        else:
            await send(start(content_length=len(scope["path"])))
            await send(body(scope["path"].encode()))

    targets = ["/one", "/file", "/file", "/two"]
    with hooked(calling(respond)) as server, server.client() as client:
        client.send_raw(b"".join(REQUEST % target.encode() for target in targets))
        bodies = [client.expect(target).receive().body for target in targets]

    assert bodies == [b"/one", CONTENT, CONTENT, b"/two"]


def test_garbage_during_a_download_never_ends_up_in_its_body(
    hooked: Serve, file: Path
) -> None:
    """What answers it comes after the body, or the body ends visibly."""
    content = CONTENT * 8
    file.write_bytes(content)
    app = sending(start(content_length=len(content)), pathsend(file))
    with hooked(app) as server, server.client(receive_buffer=16384) as client:
        client.send()
        client.socket.recv(1, socket.MSG_PEEK)  # the download has begun
        client.send_raw(b"\0garbage\r\n\r\n")
        time.sleep(0.1)

        answer = client.receive()

    assert answer.body == content[: len(answer.body)]
    assert answer.complete == (answer.body == content)


def test_http_1_0_gets_the_body_and_the_end_of_the_connection(
    hooked: Serve, file: Path
) -> None:
    app = sending(start(content_length=LENGTH), pathsend(file))
    with hooked(app) as server, server.client() as client:
        client.send_raw(b"GET / HTTP/1.0\r\n\r\n")
        client.socket.settimeout(10)
        received = b""
        while data := client.socket.recv(1 << 20):
            received += data

    assert received.partition(b"\r\n\r\n")[2] == CONTENT


def test_a_client_that_asks_to_close_is_closed_after_the_body(
    hooked: Serve, file: Path
) -> None:
    app = sending(start(content_length=LENGTH), pathsend(file))
    with hooked(app) as server, server.client() as client:
        answer = client.get(headers={"connection": "close"})

        assert answer.body == CONTENT
        assert client.socket.recv(1) == b""


def test_a_client_that_half_closes_still_gets_the_whole_file(
    hooked: Serve, file: Path
) -> None:
    app = sending(start(content_length=LENGTH), pathsend(file))
    with hooked(app) as server, server.client(receive_buffer=65536) as client:
        client.send()
        time.sleep(0.1)  # the transfer is under way
        client.socket.shutdown(1)

        answer = client.receive()

    assert answer.body == CONTENT
    assert answer.complete


def test_header_and_first_bytes_leave_in_one_segment(
    hooked: Serve, tmp_path: Path
) -> None:
    small = tmp_path / "small"
    small.write_bytes(b"content")
    app = sending(start(content_length=7), pathsend(small))
    with hooked(app) as server, server.client() as client:
        client.send()
        first = client.socket.recv(65536)

    assert first.endswith(b"\r\n\r\ncontent")


def test_a_slow_client_gets_every_byte(hooked: Serve, file: Path) -> None:
    app = sending(start(content_length=LENGTH), pathsend(file))
    with hooked(app) as server, server.client(receive_buffer=8192) as client:
        assert client.send().receive(chunk=50_000, pause=0.001).body == CONTENT


def test_a_hundred_clients_at_once_get_every_byte(hooked: Serve, file: Path) -> None:
    app = sending(start(content_length=LENGTH), pathsend(file))
    wrong: list[int] = []

    def download() -> None:
        with server.client() as client:
            answer = client.get()
            if answer.body != CONTENT:
                wrong.append(len(answer.body))

    with hooked(app) as server:
        threads = [threading.Thread(target=download) for _ in range(100)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert not wrong


def test_a_body_written_before_the_file_comes_before_it(
    hooked: Serve, file: Path
) -> None:
    """The transport's own buffer is empty before the first byte of a file."""
    large = b"x" * 8_000_000

    async def respond(_scope: Scope, send: Send) -> None:
        await send(start())
        await send(body(large, more=True))
        await send(pathsend(file))

    with hooked(calling(respond)) as server, server.client() as client:
        assert client.get().body == large + CONTENT


# What uvicorn does around a response ------------------------------------------------


def test_the_access_log_has_one_line_for_each_response(
    hooked: Serve, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "uvicorn.access")
    app = sending(start(content_length=LENGTH), pathsend(file))
    with hooked(app) as server, server.client() as client:
        client.get("/a/file?with=query")
        client.head("/again")

    lines = [r.getMessage() for r in caplog.records if r.name == "uvicorn.access"]
    assert [line.partition(" - ")[2] for line in lines] == [
        '"GET /a/file?with=query HTTP/1.1" 200',
        '"HEAD /again HTTP/1.1" 200',
    ]


def test_limit_concurrency_answers_503_while_a_file_is_sent(
    hooked: Serve, file: Path
) -> None:
    app = sending(start(content_length=LENGTH * 4), pathsend(file))
    file.write_bytes(CONTENT * 4)
    with hooked(app, limit_concurrency=2) as server:
        with server.client(receive_buffer=8192) as slow:
            slow.send()
            eventually(lambda: server.uvicorn.server_state.tasks)
            with server.client() as other:
                assert other.get().status == 503
            assert slow.receive().body == CONTENT * 4


def test_a_graceful_shutdown_waits_for_the_file(hooked: Serve, file: Path) -> None:
    file.write_bytes(CONTENT * 4)
    app = sending(start(content_length=LENGTH * 4), pathsend(file))
    with hooked(app) as server, server.client(receive_buffer=8192) as client:
        client.send()
        eventually(lambda: server.uvicorn.server_state.tasks)
        server.uvicorn.should_exit = True
        time.sleep(0.2)

        answer = client.receive()

    assert answer.body == CONTENT * 4


def test_a_shutdown_that_runs_out_of_patience_cuts_the_file_off(
    hooked: Serve, file: Path
) -> None:
    file.write_bytes(CONTENT * 8)
    app = sending(start(content_length=LENGTH * 8), pathsend(file))
    with hooked(app, timeout_graceful_shutdown=1) as server:
        with server.client(receive_buffer=8192) as client:
            client.send()
            eventually(lambda: server.uvicorn.server_state.tasks)
            server.uvicorn.should_exit = True
            eventually(lambda: not server.uvicorn.server_state.tasks)

            assert not client.receive().complete

"""What goes wrong ends visibly, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import errno
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.asgi.apps import App, body, calling, pathsend, sending, start, zerocopysend
from tests.asgi.conftest import BIG, SMALL_WINDOW, Serve
from tests.live import Client, Server, eventually
from zc_response import Report
from zc_response.asgi import Receive, Scope, Send
from zc_response.kernel import sockets
from zc_response.policy import default_policy


@pytest.fixture
def only_counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Bytes are counted, and nothing else keeps a file honest."""
    monkeypatch.setenv("ZC_RESPONSE_INTEGRITY", "fast")
    default_policy.cache_clear()
    yield
    default_policy.cache_clear()


def serving(path: Path) -> App:
    return sending(start(content_length=len(BIG)), pathsend(path))


def under_way(server: Server) -> None:
    """Wait until the transfer is waiting for its client."""
    eventually(lambda: server.uvicorn.server_state.tasks)
    time.sleep(0.1)


@pytest.mark.usefixtures("only_counted")
def test_a_file_that_shrinks_ends_the_connection_visibly(
    hooked: Serve, big: Path, reports: list[Report]
) -> None:
    """And never puts the next response inside the first one's body."""
    with hooked(serving(big)) as server:
        with server.client(receive_buffer=SMALL_WINDOW) as client:
            client.send()
            under_way(server)
            os.truncate(big, len(BIG) // 2)
            client.send_raw(b"GET /next HTTP/1.1\r\nHost: test\r\n\r\n")

            answer = client.receive()

        assert not answer.complete
        assert len(answer.body) < len(BIG)
        assert b"HTTP/1.1" not in answer.body
        eventually(lambda: reports)
    assert reports[0].outcome == "truncated"
    assert reports[0].sent <= len(BIG) // 2


def test_a_client_that_resets_is_no_error_of_the_application(
    hooked: Serve,
    big: Path,
    reports: list[Report],
    caplog: pytest.LogCaptureFixture,
) -> None:
    with hooked(serving(big)) as server:
        client = server.client(receive_buffer=SMALL_WINDOW)
        client.send()
        under_way(server)
        client.reset()
        eventually(lambda: reports)
        eventually(lambda: not server.connections())

        with server.client() as next_client:
            assert next_client.get().body == BIG

    assert reports[0].outcome == "disconnected"
    assert not [r for r in caplog.records if r.levelname == "ERROR"]


def test_clients_that_leave_at_any_moment_leave_nothing_behind(
    hooked: Serve, big: Path
) -> None:
    """The descriptors are counted around the test."""
    with hooked(serving(big)) as server:
        for delay in range(20):
            client = server.client(receive_buffer=SMALL_WINDOW)
            client.send()
            time.sleep(delay / 500)
            client.reset() if delay % 2 else client.close()
        eventually(lambda: not server.connections())
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(5):
            client = server.client(receive_buffer=SMALL_WINDOW).send()
            client.reset()
        eventually(lambda: not server.connections())
        eventually(lambda: len(os.listdir("/proc/self/fd")) <= before)


@pytest.mark.parametrize("after", [0.0, 0.001, 0.01, 0.1])
def test_cancelled_at_any_moment_it_never_sends_another_files_bytes(
    hooked: Serve, big: Path, tmp_path: Path, after: float
) -> None:
    """The application cancels, closes its file and opens another with its number."""
    other = tmp_path / "other"
    other.write_bytes(b"\xff" * len(BIG))
    reused: list[bool] = []

    def take_number(fd: int) -> list[int]:
        taken = [os.open(other, os.O_RDONLY) for _ in range(20)]
        reused.append(fd in taken)
        return taken

    async def respond(_scope: Scope, send: Send) -> None:
        fd = os.open(big, os.O_RDONLY)
        await send(start(content_length=len(BIG)))
        task = asyncio.ensure_future(send(zerocopysend(fd, offset=0)))
        await asyncio.sleep(after)
        task.cancel()
        await asyncio.wait([task])
        os.close(fd)
        taken = take_number(fd)
        await asyncio.sleep(0.1)
        for number in taken:
            os.close(number)

    with hooked(calling(respond)) as server:
        with server.client(receive_buffer=SMALL_WINDOW) as client:
            client.send()
            eventually(lambda: reused)  # nobody reads before, so it cannot end before
            answer = client.receive()

    assert reused == [True]
    assert not answer.complete
    assert answer.body == BIG[: len(answer.body)]


def test_after_a_cancelled_transfer_the_server_serves_on(
    hooked: Serve, big: Path, reports: list[Report]
) -> None:
    async def app(scope: Scope, _receive: Receive, send: Send) -> None:
        if scope["path"] == "/cancel":
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(serve_big(send), 0.1)
        else:
            await serve_big(send)

    async def serve_big(send: Send) -> None:
        await send(start(content_length=len(BIG)))
        await send(pathsend(big))

    with hooked(app) as server:
        with server.client(receive_buffer=SMALL_WINDOW) as client:
            assert not client.send("/cancel").receive(pause=0.05).complete
        with server.client() as client:
            assert client.get().body == BIG

    assert [r.outcome for r in reports] == ["cancelled", "complete"]


def test_a_second_send_while_a_file_is_sent_is_refused(
    hooked: Serve, big: Path
) -> None:
    refused: list[str] = []

    async def respond(_scope: Scope, send: Send) -> None:
        await send(start(content_length=len(BIG)))
        sending = asyncio.ensure_future(send(pathsend(big)))
        await asyncio.sleep(0.05)
        with pytest.raises(RuntimeError) as caught:
            await send(body(b"in between"))
        refused.append(str(caught.value))
        await sending

    with hooked(calling(respond)) as server:
        with server.client(receive_buffer=SMALL_WINDOW) as client:
            client.send()
            under_way(server)
            assert client.receive().body == BIG
    assert "is being sent" in refused[0]


def test_an_error_of_the_disk_aborts_the_connection(
    hooked: Serve,
    big: Path,
    reports: list[Report],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real, calls = sockets.sendfile, []

    def failing(*arguments: Any) -> int:
        calls.append(arguments)
        if len(calls) > 3:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(*arguments)

    monkeypatch.setattr(sockets, "sendfile", failing)
    with hooked(serving(big)) as server, server.client() as client:
        answer = client.get()

    assert not answer.complete
    assert answer.body == BIG[: len(answer.body)]
    assert reports[0].outcome == "failed"
    assert "Input/output error" in reports[0].error


def test_where_sendfile_is_refused_the_bytes_are_the_same(
    hooked: Serve,
    big: Path,
    reports: list[Report],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refused(*_arguments: Any) -> int:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(sockets, "sendfile", refused)
    with hooked(serving(big)) as server, server.client() as client:
        assert client.get().body == BIG
        assert client.get().body == BIG

    assert [r.strategy for r in reports] == ["mmap", "mmap"]
    assert "Function not implemented" in reports[0].reason


def test_without_a_descriptor_to_wait_with_the_servers_own_will_do(
    hooked: Serve,
    big: Path,
    reports: list[Report],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refused(_fd: int) -> Any:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(sockets, "duplicate", refused)
    with hooked(serving(big)) as server, server.client() as client:
        assert client.get().body == BIG

    assert [(r.strategy, r.outcome, r.sent) for r in reports] == [
        ("sendfile", "complete", len(BIG))
    ]


def test_a_client_that_left_before_the_file_costs_no_transfer(
    hooked: Serve, big: Path
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        await send(start(content_length=len(BIG)))
        await send(pathsend(big))
        served.append(scope["path"])

    served: list[str] = []
    with hooked(app) as server:
        client: Client = server.client()
        client.send("/left")
        under_way(server)
        client.close()
        eventually(lambda: served)
    assert served == ["/left"]


def test_cancelled_before_the_first_byte_the_transport_is_as_it_was(
    hooked: Serve, big: Path
) -> None:
    """While the transport's own buffer drains nothing is lost, and nothing paused."""
    before = b"x" * 8_000_000

    async def respond(_scope: Scope, send: Send) -> None:
        await send(start())
        await send(body(before, more=True))
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(send(pathsend(big)), 0.1)
        await send(body(b"instead", more=True))
        await send(body(before))

    with hooked(calling(respond)) as server:
        with server.client(receive_buffer=SMALL_WINDOW) as client:
            client.send()
            under_way(server)
            time.sleep(0.1)  # the time for sending is over
            answer = client.receive()

            assert answer.body == before + b"instead" + before
            assert answer.reusable

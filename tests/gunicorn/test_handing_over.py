"""Downloads that a worker hands over: it is free, and nothing is lost."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.gunicorn.conftest import BIG_SIZE, CONTENT, SMALL_WINDOW, Start
from tests.gunicorn.running import Gunicorn, gunicorn
from tests.live import PATIENCE, Client, eventually

MANY = 50


@pytest.fixture(scope="module", params=["sync", "gthread"])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gunicorn]:
    """One worker, which has one request at a time."""
    work = tmp_path_factory.mktemp("gunicorn")
    with gunicorn(work, worker=request.param, threads=1, keepalive=60) as server:
        yield server


@contextlib.contextmanager
def stalled(server: Gunicorn, file: Path, view: str = "sized") -> Iterator[Client]:
    """A client that has begun a download, and does not read on."""
    with server.client(receive_buffer=SMALL_WINDOW) as client:
        client.send(f"/{view}/{file.name}")
        client.socket.recv(1, 2)  # MSG_PEEK
        yield client


def quick(server: Gunicorn) -> bytes:
    with server.client() as client:
        return client.get("/quick/").body


def test_stalled_downloads_do_not_delay_a_quick_request(
    server: Gunicorn, big: Path
) -> None:
    file = server.file(big)
    with contextlib.ExitStack() as clients:
        for _ in range(MANY):
            clients.enter_context(stalled(server, file))

        assert quick(server) == b"quick"
    eventually(lambda: len(server.reports(file)) == MANY, "the end of them")


def test_each_of_them_is_sent_whole(server: Gunicorn, big: Path) -> None:
    file = server.file(big)
    with contextlib.ExitStack() as clients:
        waiting = [clients.enter_context(stalled(server, file)) for _ in range(4)]
        for client in waiting:
            answer = client.receive(1_000_000)
            assert (answer.complete, len(answer.body)) == (True, BIG_SIZE)
    eventually(lambda: len(server.reports(file)) == 4, "four reports")
    assert {row["outcome"] for row in server.reports(file)} == {"complete"}
    assert {row["strategy"] for row in server.reports(file)} == {"sendfile"}


def test_they_cost_no_descriptors_once_they_are_over(
    server: Gunicorn, big: Path
) -> None:
    file = server.file(big)
    with stalled(server, file) as client:
        client.receive(1_000_000)
    eventually(lambda: server.reports(file), "the report")
    time.sleep(0.1)  # the client's end is noticed
    before = server.descriptors()
    for _ in range(5):
        with stalled(server, file) as client:
            client.reset()
    with stalled(server, file) as client:
        client.receive(1_000_000)

    eventually(lambda: server.descriptors() <= before, "as few descriptors as before")


def test_a_client_that_has_said_all_gets_all(server: Gunicorn, big: Path) -> None:
    """It has closed its side of the connection behind its request."""
    file = server.file(big)
    with stalled(server, file) as client:
        client.socket.shutdown(1)
        answer = client.receive(1_000_000)

    assert (answer.complete, len(answer.body)) == (True, BIG_SIZE)


def test_an_unread_request_body_does_not_cut_the_download(
    server: Gunicorn, big: Path
) -> None:
    """What a client still sends must not make the kernel reset the connection."""
    file = server.file(big)
    request = b"POST /unread/%s HTTP/1.1\r\nHost: t\r\nContent-Length: 200000\r\n\r\n"
    with server.client(receive_buffer=SMALL_WINDOW) as client:
        client.send_raw(request % file.name.encode())
        client.expect().socket.recv(1, 2)
        time.sleep(0.1)
        client.send_raw(b"x" * 200_000)
        answer = client.receive(1_000_000)

    assert (answer.complete, len(answer.body)) == (True, BIG_SIZE)


def test_the_access_log_has_the_bytes(server: Gunicorn, big: Path) -> None:
    file = server.file(big)
    with stalled(server, file) as client:
        client.receive(1_000_000)

    eventually(lambda: server.access_log(file), "a line in the log")
    assert server.access_log(file) == [f"GET /sized/{file.name} 200 {BIG_SIZE}"]


def test_the_line_in_the_log_comes_at_the_end_and_has_what_was_sent(
    server: Gunicorn, big: Path
) -> None:
    file = server.file(big)
    with stalled(server, file) as client:
        assert quick(server) == b"quick"  # so the worker has done with it
        assert server.access_log(file) == []
        client.reset()

    eventually(lambda: server.access_log(file), "a line in the log")
    (line,) = server.access_log(file)
    (report,) = server.reports(file)
    assert line == f"GET /sized/{file.name} 200 {report['sent']}"
    assert 0 < report["sent"] < BIG_SIZE


def test_a_file_that_shrinks_then_closes_the_connection(
    server: Gunicorn, big: Path
) -> None:
    file = server.file(big)
    with stalled(server, file) as client:
        assert quick(server) == b"quick"
        os.close(os.open(file, os.O_RDONLY | os.O_TRUNC))
        answer = client.receive(1_000_000)

    assert not answer.complete
    assert server.report(file)["outcome"] in ("truncated", "changed")


def test_a_file_that_is_overwritten_then_arrives_as_it_was(
    server: Gunicorn, tmp_path: Path
) -> None:
    """Whole or visibly not; and whoever writes does not wait for the client."""
    file = server.file(b"o" * BIG_SIZE)
    with stalled(server, file) as client:
        assert quick(server) == b"quick"
        begun = time.monotonic()
        file.write_bytes(b"n" * BIG_SIZE)
        assert time.monotonic() - begun < PATIENCE / 2
        answer = client.receive(1_000_000)

    report = server.report(file)
    if answer.complete:
        assert report["guard"] == "snapshot"
        assert len(answer.body) == BIG_SIZE
    else:
        assert report["outcome"] == "changed"


# What comes behind a download on the same connection --------------------------------


@pytest.fixture(scope="module")
def keeping(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gunicorn]:
    """A worker that keeps connections, and has one request at a time."""
    work = tmp_path_factory.mktemp("gunicorn")
    with gunicorn(work, worker="gthread", threads=1, keepalive=60) as server:
        yield server


def test_the_connection_is_kept(keeping: Gunicorn, big: Path) -> None:
    file = keeping.file(big)
    with stalled(keeping, file) as client:
        assert quick(keeping) == b"quick"
        first = client.receive(1_000_000)
        assert (first.complete, first.reusable) == (True, True)

        again = client.get(f"/sized/{file.name}")
        assert (again.complete, len(again.body)) == (True, BIG_SIZE)
        assert client.get("/quick/").body == b"quick"


def test_the_connection_is_kept_without_a_length(keeping: Gunicorn, big: Path) -> None:
    file = keeping.file(big)
    with stalled(keeping, file, "unsized") as client:
        assert quick(keeping) == b"quick"
        assert client.receive(1_000_000).reusable
        assert client.get("/quick/").body == b"quick"


@pytest.mark.parametrize("when", ["together", "later"])
def test_pipelined_requests_are_answered_in_order(
    keeping: Gunicorn, big: Path, when: str
) -> None:
    file = keeping.file(big)
    download = b"GET /sized/%s HTTP/1.1\r\nHost: test\r\n\r\n" % file.name.encode()
    behind = b"GET /quick/ HTTP/1.1\r\nHost: test\r\n\r\n"
    with keeping.client(receive_buffer=SMALL_WINDOW) as client:
        client.send_raw(download + (behind + behind if when == "together" else b""))
        client.socket.recv(1, 2)
        assert quick(keeping) == b"quick"
        if when == "later":
            client.send_raw(behind + behind)

        received = bytearray()
        while received.count(b"quick", BIG_SIZE) < 2:
            received += client.socket.recv(1_000_000)

    head, _, rest = received.partition(b"\r\n\r\n")
    assert b"200 OK" in head
    assert rest[:BIG_SIZE] == bytes(BIG_SIZE)
    assert rest[BIG_SIZE:].count(b"HTTP/1.1 200 OK") == 2


def test_a_connection_that_is_given_back_can_time_out(start: Start, big: Path) -> None:
    with start(worker="gthread", threads=1, keepalive=1) as server:
        with stalled(server, server.file(big)) as client:
            assert client.receive(1_000_000).reusable
            assert client.socket.recv(1) == b""


def test_connections_that_were_given_back_are_counted_as_any(
    keeping: Gunicorn, big: Path
) -> None:
    """Else the worker would some day accept no more, or too many."""
    file = keeping.file(big)
    for again in (True, False, True):
        with stalled(keeping, file) as client:
            time.sleep(0.1)  # handed over
            assert client.receive(1_000_000).reusable
            if again:
                assert client.get("/quick/").body == b"quick"
            assert connections(keeping) == 2
    eventually(lambda: connections(keeping) == 1, "one connection")


def connections(server: Gunicorn) -> int:
    """How many the worker knows of: that which asks, and others."""
    with server.client() as client:
        return int(client.get("/connections/").body)


# Limits ------------------------------------------------------------------------------


@pytest.mark.parametrize("handed_over", ["10000", "0"])
def test_a_download_longer_than_the_timeout_arrives_whole(
    start: Start, big: Path, handed_over: str
) -> None:
    """Whether the worker hands it over or not."""
    environ = {"ZC_RESPONSE_HANDED_OVER": handed_over}
    with start(timeout=1, environ=environ) as server:
        worker = server.worker
        with stalled(server, server.file(big)) as client:
            time.sleep(2.5)
            answer = client.receive(1_000_000)

        assert (answer.complete, len(answer.body)) == (True, BIG_SIZE)
        assert server.worker == worker


def test_no_more_are_handed_over_than_the_policy_says(start: Start, big: Path) -> None:
    environ = {"ZC_RESPONSE_HANDED_OVER": "1"}
    with start(workers=1, environ=environ) as server:
        file = server.file(big)
        with stalled(server, file) as first:
            assert quick(server) == b"quick"
            with stalled(server, file) as second, server.client() as third:
                third.send("/quick/")
                third.socket.settimeout(0.5)
                with pytest.raises(TimeoutError):
                    third.receive()

                assert len(second.receive(1_000_000).body) == BIG_SIZE
                third.socket.settimeout(PATIENCE)
                assert third.receive().body == b"quick"
            assert len(first.receive(1_000_000).body) == BIG_SIZE


@pytest.mark.parametrize(
    ("worker", "handed_over"),
    [("sync", "10000"), ("sync", "0"), ("gthread", "10000"), ("gevent", "10000")],
)
def test_a_client_that_takes_nothing_is_cut_off(
    start: Start, big: Path, worker: str, handed_over: str
) -> None:
    environ = {
        "ZC_RESPONSE_STALL_TIMEOUT": "0.5",
        "ZC_RESPONSE_HANDED_OVER": handed_over,
    }
    with start(worker=worker, environ=environ) as server:
        file = server.file(big)
        with stalled(server, file) as client:
            assert server.report(file)["outcome"] == "stalled"
            assert not client.receive(1_000_000).complete
        assert quick(server) == b"quick"


# The worker's end ---------------------------------------------------------------------


@pytest.mark.parametrize("worker", ["sync", "gthread", "gevent"])
def test_a_worker_that_is_to_end_ends_its_downloads_first(
    start: Start, big: Path, worker: str
) -> None:
    with start(worker=worker) as server:
        with stalled(server, server.file(big)) as client:
            time.sleep(0.1)  # handed over
            server.signal(signal.SIGTERM)
            eventually(lambda: "Handling signal: term" in server.log, "the signal")
            time.sleep(0.2)
            answer = client.receive(1_000_000)

        assert (answer.complete, len(answer.body)) == (True, BIG_SIZE)
        assert server.process.wait(PATIENCE) == 0
        assert "SIGKILL" not in server.log


@pytest.mark.parametrize("worker", ["sync", "gthread", "gevent"])
def test_it_does_not_wait_longer_than_the_graceful_timeout(
    start: Start, big: Path, worker: str
) -> None:
    with start(worker=worker, graceful_timeout=1) as server:
        with stalled(server, server.file(big)) as client:
            time.sleep(0.1)
            begun = time.monotonic()
            assert server.stop() == 0
            assert time.monotonic() - begun < PATIENCE / 3
            assert not client.receive(1_000_000).complete


def test_the_time_that_requests_took_to_end_is_part_of_the_graceful_timeout(
    start: Start, big: Path
) -> None:
    """The arbiter kills whoever takes longer; then nobody tells the client."""
    with start(worker="gthread", threads=2, graceful_timeout=3) as server:
        file, small = server.file(big), server.file(b"small")
        with stalled(server, file) as client:
            time.sleep(0.1)
            with server.client() as other:
                other.send(f"/slower/{small.name}")
                eventually(lambda: "slower" in server.log, "the other request")
                server.signal(signal.SIGTERM)
                assert other.receive().body == b"small"
            assert server.process.wait(PATIENCE) == 0
            assert not client.receive(1_000_000).complete
        assert server.report(file)["outcome"] == "cancelled"
    assert "SIGKILL" not in server.log


@pytest.mark.parametrize("number", [signal.SIGQUIT, signal.SIGINT])
def test_a_worker_that_is_to_end_at_once_does(
    start: Start, big: Path, number: int
) -> None:
    with start(graceful_timeout=15) as server:
        with stalled(server, server.file(big)) as client:
            time.sleep(0.1)
            begun = time.monotonic()
            server.signal(number)
            assert server.process.wait(PATIENCE) == 0
            assert time.monotonic() - begun < PATIENCE / 3
            assert not client.receive(1_000_000).complete


@pytest.mark.parametrize("worker", ["sync", "gthread"])
def test_a_reload_ends_no_download(start: Start, big: Path, worker: str) -> None:
    with start(worker=worker) as server:
        before = server.worker
        with stalled(server, server.file(big)) as client:
            time.sleep(0.1)
            server.signal(signal.SIGHUP)
            eventually(lambda: server.log.count("is loaded") == 2, "a new worker")
            with server.client() as other:
                assert int(other.get("/pid/").body) != before
            answer = client.receive(1_000_000)

        assert (answer.complete, len(answer.body)) == (True, BIG_SIZE)


@pytest.mark.parametrize("worker", ["sync", "gthread"])
def test_the_last_request_of_a_worker_is_sent_whole(
    start: Start, big: Path, worker: str
) -> None:
    """max_requests is reached with it; it counts once."""
    with start(worker=worker, max_requests=2) as server:
        before = server.worker
        assert quick(server) == b"quick"
        with stalled(server, server.file(big)) as client:
            time.sleep(0.3)
            answer = client.receive(1_000_000)
        assert (answer.complete, len(answer.body)) == (True, BIG_SIZE)
        eventually(lambda: server.workers() not in ([before], []), "a new worker")
        assert quick(server) == b"quick"
        assert server.log.count("Autorestarting") == 1


@pytest.mark.parametrize("worker", ["sync", "gthread", "gevent"])
def test_a_worker_that_is_killed_takes_only_its_own_connections_along(
    start: Start, big: Path, worker: str
) -> None:
    with start(worker=worker) as server:
        file = server.file(big)
        with stalled(server, file) as client:
            time.sleep(0.1)
            os.kill(server.worker, signal.SIGKILL)
            answer = client.receive(1_000_000)

        assert not answer.complete
        eventually(lambda: server.log.count("is loaded") == 2, "a new worker")
        with server.client() as client:
            assert client.get(f"/sized/{server.file(CONTENT).name}").body == CONTENT


@pytest.mark.parametrize("worker", ["sync", "gthread", "gevent"])
def test_a_unix_socket_and_a_preloaded_application_make_no_difference(
    start: Start, big: Path, tmp_path: Path, worker: str
) -> None:
    address = str(tmp_path / "socket")
    with start(worker=worker, bind=f"unix:{address}", preload_app=True) as server:
        file = server.file(big)
        eventually(lambda: "Listening at" in server.log, "the socket")
        with over_unix(address, f"/sized/{file.name}") as slow:
            slow.recv(1, socket.MSG_PEEK)
            with over_unix(address, "/quick/") as client:
                assert everything(client).endswith(b"\r\n\r\nquick")
            head, _, body = everything(slow).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert body == big.read_bytes()
    assert server.report(file)["strategy"] == "sendfile"


@contextlib.contextmanager
def over_unix(address: str, path: str) -> Iterator[socket.socket]:
    """A connection on which a request has been sent, the only one."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(PATIENCE)
        client.connect(address)
        request = f"GET {path} HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n"
        client.sendall(request.encode())
        yield client


def everything(client: socket.socket) -> bytes:
    chunks = []
    while chunk := client.recv(1 << 20):
        chunks.append(chunk)
    return b"".join(chunks)

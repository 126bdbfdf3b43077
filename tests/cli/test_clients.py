"""The clients forgive nothing: a wrong body is a failure, told in words."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import pytest

from zc_response.cli.bench.client import Connection, explained
from zc_response.cli.bench.errors import LoadError
from zc_response.cli.bench.helper import Helper
from zc_response.cli.bench.load import Target
from zc_response.cli.bench.probe import Quick, summary
from zc_response.cli.bench.swarm import Download, run

LENGTH = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@contextmanager
def answering(answer: bytes, times: int = 1) -> Iterator[int]:
    """A server that gives each client this answer and then hangs up; its port."""

    def serve(client: socket.socket) -> None:
        with client:
            client.recv(1000)
            client.sendall(answer)
            client.shutdown(socket.SHUT_WR)
            client.recv(1)  # the client has closed

    with serving(serve, times) as port:
        yield port


@contextmanager
def serving(serve: Callable[[socket.socket], None], times: int = 1) -> Iterator[int]:
    """Have so many clients served, one after the other, in a thread; the port."""

    def accept() -> None:
        for _ in range(times):
            serve(listener.accept()[0])

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)
        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            thread.join()


def get(answer: bytes) -> None:
    """Ask for ten bytes."""
    with answering(answer) as port, closing(Connection(port, 5)) as connection:
        with explained():
            connection.get("/x", 10)
            connection.expect_silence()


def test_a_body_of_the_right_length_is_discarded() -> None:
    get(LENGTH + b"0123456789")


def test_a_body_in_chunks_is_discarded() -> None:
    get(CHUNKED + b"4\r\n0123\r\n6\r\n456789\r\n0\r\n\r\n")


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        (LENGTH + b"01234", "the body ended 5 bytes early"),
        (LENGTH + b"0123456789x", "bytes follow the end"),
        (CHUNKED + b"4\r\n0123\r\n0\r\n\r\n", "the chunks are 6 bytes too few"),
        (CHUNKED + b"b\r\n0123456789a\r\n0\r\n\r\n", "1 bytes too many"),
        (CHUNKED + b"a\r\n0123", "the body ended 6 bytes early"),
        (b"", "closed the connection without an answer"),
        (b"HTTP/1.1 500 Oh\r\n\r\n", "not 200 but 'HTTP/1.1 500 Oh'"),
    ],
)
def test_what_is_wrong_with_a_body_is_told(answer: bytes, complaint: str) -> None:
    with pytest.raises(LoadError, match=complaint):
        get(answer)


def test_a_body_is_read_as_it_came() -> None:
    answer = CHUNKED + b"4\r\n0123\r\n6\r\n456789\r\n0\r\n\r\n"
    with answering(answer) as port, closing(Connection(port, 5)) as connection:
        assert b"".join(connection.read("/x", 10)) == b"0123456789"


def test_a_server_that_cannot_be_reached_is_a_failure() -> None:
    with pytest.raises(LoadError, match="the connection broke"), explained():
        Connection(1, 1)


def test_a_download_counts_what_it_received() -> None:
    with answering(LENGTH + b"01234") as port:
        download = Download(Target(port=port, path="/x", size=10))
        with download.socket:
            with pytest.raises(LoadError, match="in the middle of a response"):
                run([download], 5)
    assert download.received == 5


def test_a_helper_that_fails_says_why() -> None:
    quick = Quick(target=Target(port=1, path="/x", size=1), seconds=1)
    with closing(quick.helper()) as helper:
        with pytest.raises(LoadError, match="the connection broke"):
            helper.wait_until_ready()


def test_a_helper_that_takes_too_long_is_a_failure() -> None:
    """It waits for a word that does not come."""
    request = {"target": {"port": 0, "path": "", "size": 0}, "downloads": 0}
    module = "zc_response.cli.bench.swarm"
    with closing(Helper(module, {**request, "seconds": 0}, 5)) as helper:
        helper.wait_until_ready()
        helper._patience = 0.1
        with pytest.raises(LoadError, match="no answer within 0 s"):
            helper.result()


def test_latencies_are_summed_up() -> None:
    found = summary([0.001] * 99 + [0.5])
    assert (found["p50"], found["p99"], found["max"]) == (0.001, 0.001, 0.5)
    assert found["quick"] == 100

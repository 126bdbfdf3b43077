"""What a process writes, through every kind of worker; no worker waits for it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.django.project import MIDDLEWARE, OURS
from tests.gunicorn.running import Gunicorn, Row, gunicorn
from tests.gunicorn.scripts import SIZE
from tests.live import children_of, eventually

FLASK = "tests.gunicorn.pipe_apps:flask_app"
STARLETTE = "tests.gunicorn.pipe_apps:starlette_app"
DJANGO = {"wsgi": "tests.django.project:wsgi()", "asgi": "tests.django.project:asgi()"}
UVICORN = "uvicorn_worker.UvicornWorker"
WORKERS = [
    *(("sync", FLASK), ("gthread", FLASK), ("gevent", FLASK)),
    *(("asgi", STARLETTE), (UVICORN, STARLETTE)),
    *((worker, DJANGO["wsgi"]) for worker in ("sync", "gthread", "gevent")),
    *((worker, DJANGO["asgi"]) for worker in ("asgi", UVICORN)),
]


def _named(param: tuple[str, str]) -> str:
    worker, app = param
    return f"{worker}-{app.rpartition(':')[2]}"


@pytest.fixture(scope="module", params=WORKERS, ids=_named)
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gunicorn]:
    """Each kind of worker, one process that has one request at a time."""
    worker, app = request.param
    work = tmp_path_factory.mktemp("gunicorn")
    environ = {"TEST_MIDDLEWARE": json.dumps([*MIDDLEWARE, OURS])}
    with gunicorn(work, app, worker=worker, environ=environ) as server:
        yield server


@pytest.fixture
def reported(server: Gunicorn) -> Callable[[], Row]:
    """The one report that has come during the test."""
    before = len(server.reports())

    def report() -> Row:
        eventually(lambda: len(server.reports()) > before, "a report")
        (only,) = server.reports()[before:]
        return only

    return report


@pytest.mark.parametrize("name", ["chunked", "known"])
def test_it_arrives_whole_by_splice(
    server: Gunicorn, reported: Callable[[], Row], name: str
) -> None:
    with server.client() as client:
        answer = client.get(f"/{name}")

    assert (answer.complete, answer.body) == (True, bytes(SIZE))
    row = reported()
    assert (row["strategy"], row["outcome"]) == ("splice", "complete")
    assert (row["sent"], row["promised"]) == (SIZE, SIZE)


def test_a_producer_that_is_slow_is_waited_for(
    server: Gunicorn, reported: Callable[[], Row]
) -> None:
    with server.client() as client:
        answer = client.get("/slow")

    assert (answer.complete, answer.body) == (True, b"onetwo")
    assert reported()["outcome"] == "complete"


@pytest.mark.parametrize("name", ["failing", "failing-known", "too-long", "too-short"])
def test_a_producer_that_fails_ends_the_response_visibly(
    server: Gunicorn, reported: Callable[[], Row], name: str
) -> None:
    with server.client() as client:
        client.send(f"/{name}")
        client.send_raw(b"GET /slow HTTP/1.1\r\nHost: test\r\n\r\n")
        answer = client.receive()

    assert not answer.complete
    assert answer.body == bytes(len(answer.body))
    assert reported()["outcome"] in ("failed", "truncated")


@pytest.mark.parametrize("name", ["failing-at-once", "missing"])
def test_one_that_fails_before_its_first_byte_is_an_error_of_the_application(
    server: Gunicorn, name: str
) -> None:
    with server.client() as client:
        assert client.get(f"/{name}").status == 500


def test_the_header_of_a_silent_producer_does_not_wait_for_long(
    server: Gunicorn, reported: Callable[[], Row]
) -> None:
    with server.client() as client:
        assert client.send("/late").socket.recv(15) == b"HTTP/1.1 200 OK"
    assert reported()["outcome"] == "disconnected"
    eventually(lambda: not children_of(server.worker), "the end of the process")


@pytest.mark.parametrize("name", ["silent", "endless"])
def test_a_client_that_leaves_ends_the_process(
    server: Gunicorn, reported: Callable[[], Row], name: str
) -> None:
    with server.client() as client:
        client.send(f"/{name}").socket.recv(1)
    assert reported()["outcome"] == "disconnected"
    eventually(lambda: not children_of(server.worker), "the end of the process")


def test_a_silent_producer_holds_no_worker(server: Gunicorn) -> None:
    before = len(server.reports())
    with server.client() as waiting:
        waiting.send("/silent").socket.recv(1)
        with server.client() as client:
            assert client.get("/slow").body == b"onetwo"
    eventually(lambda: len(server.reports()) == before + 2, "both reports")
    eventually(lambda: not children_of(server.worker), "the end of the process")


@pytest.mark.parametrize("worker", ["sync", "gthread", "gevent"])
def test_the_access_log_has_all_that_was_sent(tmp_path: Path, worker: str) -> None:
    """Though the length is not known when a worker hands it over."""
    with gunicorn(tmp_path, FLASK, worker=worker) as server:
        with server.client() as client:
            assert client.get("/slow").body == b"onetwo"
        eventually(lambda: server.access_log(Path("slow")), "a line in the log")
        assert server.access_log(Path("slow")) == ["GET /slow 200 6"]


def test_head_has_no_body_and_leaves_no_process(server: Gunicorn) -> None:
    for name in ("known", "endless"):
        with server.client() as client:
            answer = client.head(f"/{name}")
            assert (answer.status, answer.body, answer.complete) == (200, b"", True)
    eventually(lambda: not children_of(server.worker), "no process")


def test_a_client_of_http_1_0_gets_it_without_chunks(server: Gunicorn) -> None:
    if "vicorn" in server.log:
        pytest.skip("uvicorn itself sends chunks to HTTP/1.0")
    with server.client() as client:
        client.send_raw(b"GET /chunked HTTP/1.0\r\n\r\n")
        received = b""
        while data := client.socket.recv(65536):
            received += data

    assert received.partition(b"\r\n\r\n")[2] == bytes(SIZE)


def test_wrapped_in_a_generator_it_is_copied(tmp_path: Path) -> None:
    app = "tests.gunicorn.pipe_apps:wrapped"
    with gunicorn(tmp_path, app, worker="sync") as server:
        for name in ("chunked", "known"):
            with server.client() as client:
                answer = client.get(f"/{name}")
                assert (answer.complete, answer.body) == (True, bytes(SIZE))
        with server.client() as client:
            assert not client.get("/failing").complete
        rows = server.reports()
        assert [row["strategy"] for row in rows] == ["copy"] * 3


def test_over_tls_it_is_copied(
    tmp_path: Path, certificate: dict[str, Any], trusting: Any
) -> None:
    app = "tests.gunicorn.pipe_apps:flask_app"
    with gunicorn(tmp_path, app, context=trusting, **certificate) as server:
        with server.client() as client:
            assert client.get("/chunked").body == bytes(SIZE)
        with server.client() as client:
            assert not client.get("/failing").complete
        assert server.reports()[0]["reason"] == "TLS"

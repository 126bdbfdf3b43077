"""PipeResponse in Django: through its middlewares, its clients, and without our hooks.

With them, under each kind of worker, it is tested in tests/gunicorn/test_pipes.py.
"""

from __future__ import annotations

import gzip
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from wsgiref.util import setup_testing_defaults

import pytest
from asgiref.sync import async_to_sync
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpRequest, HttpResponse
from django.middleware.http import ConditionalGetMiddleware
from django.test import AsyncClient, Client, RequestFactory, override_settings
from django.views.decorators.gzip import gzip_page

from tests.django import project
from tests.django.project import MIDDLEWARE, OURS
from tests.gunicorn.running import UVICORN_WORKER, gunicorn
from tests.gunicorn.scripts import SIZE
from tests.live import HOOKED, children_of, eventually, serve
from zc_response import ProducerError, Report
from zc_response.integrations.django import PipeResponse

ALL = [*MIDDLEWARE, OURS]


@pytest.fixture(autouse=True)
def middleware() -> Iterator[None]:
    with override_settings(MIDDLEWARE=ALL):
        yield


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    """One that says nothing, and does not end by itself."""
    with subprocess.Popen(["sleep", "600"], stdout=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


def ended(process: subprocess.Popen[bytes]) -> bool:
    return process.poll() is not None


# Middlewares and clients -------------------------------------------------------------


@pytest.mark.parametrize("name", ["chunked", "known"])
@pytest.mark.parametrize("view", ["piped", "piped_async"])
def test_the_test_client_reads_it(view: str, name: str) -> None:
    answer = Client().get(f"/{view}/{name}")
    assert (answer.status_code, answer.getvalue()) == (200, bytes(SIZE))
    assert answer.get("Content-Length") == (str(SIZE) if name == "known" else None)
    answer.close()


def test_so_does_the_async_one(async_client: AsyncClient) -> None:
    answer = async_to_sync(async_client.get)("/piped_async/chunked")
    assert answer.getvalue() == bytes(SIZE)
    answer.close()


def test_iterated_asynchronously_it_comes_piece_by_piece(
    reports: list[Report],
) -> None:
    async def read() -> bytes:
        return b"".join([part async for part in PipeResponse(["echo", "hello"])])

    assert async_to_sync(read)() == b"hello\n"
    assert [report.outcome for report in reports] == ["complete"]


def test_gzip_compresses_it_and_takes_the_length_back() -> None:
    answer = Client().get("/piped/known", headers={"accept-encoding": "gzip"})
    assert answer["Content-Encoding"] == "gzip"
    assert "Content-Length" not in answer
    assert gzip.decompress(answer.getvalue()) == bytes(SIZE)
    answer.close()


def test_so_does_its_decorator(rf: RequestFactory) -> None:
    @gzip_page  # type: ignore[untyped-decorator]
    def view(_request: HttpRequest) -> PipeResponse:
        return PipeResponse(["echo", "hello"])

    answer = view(rf.get("/", headers={"accept-encoding": "gzip"}))
    assert gzip.decompress(answer.getvalue()) == b"hello\n"
    answer.close()


@pytest.fixture
def rf() -> RequestFactory:
    return RequestFactory()


def test_head_starts_nothing(rf: RequestFactory, tmp_path: Path) -> None:
    note = tmp_path / "started"
    answer = told(PipeResponse(["touch", str(note)]), rf.head("/"))
    assert answer.getvalue() == b""
    answer.close()
    assert not note.exists()


def told(response: PipeResponse, request: HttpRequest) -> PipeResponse:
    """A response whose view is done, as Django does it."""
    assert request.method
    assert not hasattr(response, "render")
    return response


@pytest.mark.parametrize("status", [204, 304])
def test_where_no_body_may_follow_the_process_is_ended(
    rf: RequestFactory, process: subprocess.Popen[bytes], status: int
) -> None:
    answer = told(PipeResponse(process, status=status), rf.get("/"))
    assert answer.getvalue() == b""
    eventually(lambda: ended(process), "its end")
    answer.close()


def test_a_304_in_its_place_ends_the_process(
    rf: RequestFactory, process: subprocess.Popen[bytes]
) -> None:
    def get_response(_request: HttpRequest) -> HttpResponse:
        return PipeResponse(process, headers={"ETag": '"1"'})

    request = rf.get("/", headers={"if-none-match": '"1"'})
    answer = ConditionalGetMiddleware(get_response)(request)
    assert answer.status_code == 304
    eventually(lambda: ended(process), "its end")


def test_closed_before_it_was_read_it_ends_the_process(
    process: subprocess.Popen[bytes],
) -> None:
    PipeResponse(process).close()
    eventually(lambda: ended(process), "its end")


def test_a_failure_reaches_whoever_iterates() -> None:
    with pytest.raises(ProducerError, match="sh ended with status 3"):
        Client().get("/piped/failing").getvalue()


# Servers without our hooks -----------------------------------------------------------


def test_a_wsgi_server_that_nobody_knows_copies_it(reports: list[Report]) -> None:
    environ: dict[str, Any] = {"PATH_INFO": "/piped/chunked", "REQUEST_METHOD": "GET"}
    setup_testing_defaults(environ)
    body = WSGIHandler()(environ, lambda *_args: None)
    assert b"".join(body) == bytes(SIZE)
    body.close()
    assert [(row.strategy, row.outcome) for row in reports] == [("copy", "complete")]


@pytest.mark.parametrize(
    ("app", "strategy"), [("asgi", "splice"), ("stock_asgi", "copy")]
)
@pytest.mark.parametrize("http", ["h11", "httptools"])
def test_plain_uvicorn_needs_the_handler(
    app: str, strategy: str, http: str, reports: list[Report]
) -> None:
    with serve(getattr(project, app)(), http=http) as server:
        for view in ("piped", "piped_async"):
            for name in ("chunked", "known"):
                with server.client() as client:
                    answer = client.get(f"/{view}/{name}")
                assert (answer.complete, answer.body) == (True, bytes(SIZE))
        eventually(lambda: len(reports) == 4, "the reports")
    assert {report.strategy for report in reports} == {strategy}


def test_a_failure_is_visible_without_it(tmp_path: Path) -> None:
    app = "tests.django.project:stock_asgi()"
    with gunicorn(tmp_path, app, worker=UVICORN_WORKER) as server:
        for name in ("failing", "failing-known"):
            with server.client() as client:
                assert not client.get(f"/piped/{name}").complete


@pytest.mark.parametrize("app", ["asgi", "stock_asgi"])
@pytest.mark.parametrize("compressed", [False, True])
def test_a_client_that_leaves_ends_the_process(app: str, compressed: bool) -> None:
    """Also while a thread waits for more, to compress it."""
    headers = {"accept-encoding": "gzip"} if compressed else {}
    with serve(getattr(project, app)()) as server, server.client() as client:
        client.send("/piped/silent", headers)
        eventually(lambda: children_of(os.getpid()), "its start")
        client.reset()
        eventually(lambda: not children_of(os.getpid()), "its end")


def test_head_is_answered_at_once(reports: list[Report]) -> None:
    for app in (project.asgi(), project.stock_asgi()):
        with serve(app, http=HOOKED["httptools"]) as server, server.client() as client:
            answer = client.head("/piped/silent")
            assert (answer.status, answer.body, answer.complete) == (200, b"", True)
    assert not reports

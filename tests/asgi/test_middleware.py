"""The ways to switch zero copy on, and the company it has to get along with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse as StockFileResponse, Response
from starlette.routing import Route

from tests.asgi.conftest import CONTENT, Serve
from tests.live import Answer
from zc_response import Policy, Report
from zc_response.asgi import Receive, Scope, Send, ZeroCopyMiddleware, connections
from zc_response.integrations.starlette import FileResponse


class Dispatching(BaseHTTPMiddleware):
    """A middleware of the kind that most applications write."""

    async def dispatch(
        self, request: Request, call_next: RequestResponseEndpoint
    ) -> Response:
        response = await call_next(request)
        response.headers["x-dispatched"] = "yes"
        return response


def application(
    file: Path, *middleware: Any, response: Callable[..., Response] = FileResponse
) -> Starlette:
    """A file view inside `middleware`, the first of them outermost."""

    def view(_request: Request) -> Response:
        return response(file)

    stack = [m if isinstance(m, Middleware) else Middleware(m) for m in middleware]
    return Starlette(routes=[Route("/", view)], middleware=stack)


GZIP = Middleware(GZipMiddleware, minimum_size=1)
CORS = Middleware(CORSMiddleware, allow_origins=["*"])
SESSIONS = Middleware(SessionMiddleware, secret_key="secret")
BROWSER = {"accept-encoding": "gzip", "origin": "http://elsewhere"}

STACKS = {
    "alone": [ZeroCopyMiddleware],
    "outside a dispatching middleware": [ZeroCopyMiddleware, Dispatching],
    "outside two of them": [ZeroCopyMiddleware, Dispatching, Dispatching],
    "outside gzip": [ZeroCopyMiddleware, GZIP],
    "outside all": [ZeroCopyMiddleware, GZIP, Dispatching, SESSIONS, CORS],
    "inside cors": [CORS, ZeroCopyMiddleware],
    "inside sessions": [SESSIONS, ZeroCopyMiddleware, Dispatching],
}

RANGES = {
    "whole": ({}, 200),
    "single range": ({"range": "bytes=100-2000000"}, 206),
    "several ranges": ({"range": "bytes=0-9,1000000-2000000,-5"}, 206),
}


def right(answer: Answer) -> bool:
    """Whether an answer to one of RANGES holds the bytes it should."""
    kind = answer.headers["content-type"]
    if answer.status == 200:
        return answer.body == CONTENT
    if not kind.startswith("multipart/byteranges"):
        return answer.body == CONTENT[100:2000001]
    boundary = b"--" + kind.partition("boundary=")[2].encode()
    parts = [p.partition(b"\r\n\r\n")[2] for p in answer.body.split(boundary)[1:-1]]
    slices = [CONTENT[:10], CONTENT[1000000:2000001], CONTENT[-5:]]
    return [part.removesuffix(b"\r\n") for part in parts] == slices


@pytest.mark.parametrize("asked", RANGES.values(), ids=RANGES)
@pytest.mark.parametrize("stack", STACKS.values(), ids=STACKS)
def test_added_by_add_middleware_it_sends_by_sendfile(
    plain: Serve,
    file: Path,
    reports: list[Report],
    stack: list[Any],
    asked: tuple[dict[str, str], int],
) -> None:
    headers, status = asked
    with plain(application(file, *stack)) as server, server.client() as client:
        for _ in range(2):
            answer = client.get(headers=BROWSER | headers)
            assert answer.status == status
            assert right(answer)
            assert answer.complete

    assert {(r.strategy, r.outcome) for r in reports} == {("sendfile", "complete")}
    assert len(reports) == 2


@pytest.mark.parametrize("asked", RANGES.values(), ids=RANGES)
def test_wrapped_around_the_application_it_sends_by_sendfile(
    plain: Serve,
    file: Path,
    reports: list[Report],
    asked: tuple[dict[str, str], int],
) -> None:
    app = ZeroCopyMiddleware(application(file, Dispatching, GZIP))
    with plain(app) as server, server.client() as client:
        answer = client.get(headers=BROWSER | asked[0])

    assert right(answer)
    assert [r.strategy for r in reports] == ["sendfile"]


@pytest.mark.parametrize("asked", RANGES.values(), ids=RANGES)
def test_by_the_protocol_class_alone_it_sends_by_sendfile(
    hooked: Serve,
    file: Path,
    reports: list[Report],
    asked: tuple[dict[str, str], int],
) -> None:
    app = application(file, Dispatching, GZIP)
    with hooked(app) as server, server.client() as client:
        answer = client.get(headers=BROWSER | asked[0])

    assert right(answer)
    assert [r.strategy for r in reports] == ["sendfile"]


@pytest.mark.parametrize("asked", RANGES.values(), ids=RANGES)
@pytest.mark.parametrize("stack", [[], [CORS, SESSIONS]], ids=["alone", "in company"])
def test_by_the_changed_import_alone_it_sends_by_sendfile(
    plain: Serve,
    file: Path,
    reports: list[Report],
    stack: list[Any],
    asked: tuple[dict[str, str], int],
) -> None:
    with plain(application(file, *stack)) as server, server.client() as client:
        answer = client.get(headers=BROWSER | asked[0])

    assert right(answer)
    assert [r.strategy for r in reports] == ["sendfile"]


def test_by_the_changed_import_alone_it_sends_by_sendfile_from_fastapi(
    plain: Serve, file: Path, reports: list[Report]
) -> None:
    app = FastAPI()

    @app.get("/")
    def download() -> FileResponse:
        return FileResponse(file)

    with plain(app) as server, server.client() as client:
        assert client.get().body == CONTENT

    assert [r.strategy for r in reports] == ["sendfile"]


def test_behind_a_middleware_that_may_change_the_body_the_import_alone_copies(
    plain: Serve, file: Path, reports: list[Report]
) -> None:
    with plain(application(file, Dispatching)) as server, server.client() as client:
        assert client.get().body == CONTENT

    assert [r.strategy for r in reports] == ["copy"]
    assert "BaseHTTPMiddleware" in reports[0].reason


def test_protocol_class_and_middleware_together_are_one(
    hooked: Serve, file: Path, reports: list[Report]
) -> None:
    app = ZeroCopyMiddleware(application(file, ZeroCopyMiddleware))
    with hooked(app) as server, server.client() as client:
        assert client.get().body == CONTENT

    assert [r.strategy for r in reports] == ["sendfile"]


def test_stock_file_responses_gain_without_a_change(
    plain: Serve, file: Path, reports: list[Report]
) -> None:
    app = application(file, ZeroCopyMiddleware, response=StockFileResponse)
    with plain(app) as server, server.client() as client:
        assert client.get().body == CONTENT
        assert client.get(headers={"range": "bytes=5-9"}).body == CONTENT[5:10]

    assert [(r.strategy, r.sent) for r in reports] == [("sendfile", len(CONTENT))]


class Unknown:
    """A middleware that could do anything to the body."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def shouting(message: Any) -> None:
            if "body" in message:
                message = {**message, "body": message["body"].upper()}
            await send(message)

        await self.app(scope, receive, shouting)


def test_a_middleware_outside_that_changes_the_body_is_never_bypassed(
    plain: Serve, tmp_path: Path, reports: list[Report]
) -> None:
    path = tmp_path / "text"
    path.write_bytes(b"quiet" * 20_000)
    app = application(path, Unknown, ZeroCopyMiddleware)
    with plain(app) as server, server.client() as client:
        assert client.get().body == b"QUIET" * 20_000

    assert [r.strategy for r in reports] == ["copy"]
    assert "Unknown" in reports[0].reason


def test_gzip_outside_still_compresses(
    plain: Serve, file: Path, reports: list[Report]
) -> None:
    with (
        plain(application(file, GZIP, ZeroCopyMiddleware)) as server,
        server.client() as client,
    ):
        answer = client.get(headers={"accept-encoding": "gzip"})

    assert answer.headers["content-encoding"] == "gzip"
    assert [r.strategy for r in reports] == ["copy"]


def test_the_reason_for_copying_is_logged_once(
    plain: Serve,
    file: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connections, "_said", set())
    caplog.set_level("INFO", "zc_response")
    app = application(file, Unknown, ZeroCopyMiddleware)
    with plain(app) as server, server.client() as client:
        client.get()
        client.get()

    lines = [r.getMessage() for r in caplog.records if r.name == "zc_response"]
    assert len(lines) == 1
    assert "Unknown" in lines[0]


def test_switched_off_by_policy_it_copies(
    plain: Serve, file: Path, reports: list[Report]
) -> None:
    app = ZeroCopyMiddleware(application(file), policy=Policy(zero_copy=False))
    with plain(app) as server, server.client() as client:
        assert client.get().body == CONTENT

    assert [(r.strategy, r.reason) for r in reports] == [("copy", "switched off")]


def test_switched_off_for_one_response_it_copies_that_one(
    hooked: Serve, file: Path, reports: list[Report]
) -> None:
    class Copied(FileResponse):
        policy = Policy(zero_copy=False)

    with (
        hooked(application(file, response=Copied)) as server,
        server.client() as client,
    ):
        assert client.get().body == CONTENT

    assert [(r.strategy, r.reason) for r in reports] == [("copy", "switched off")]


def test_a_background_task_runs_after_the_last_byte(
    plain: Serve, file: Path, reports: list[Report]
) -> None:
    seen: list[int] = []

    def response(path: Path) -> Response:
        task = BackgroundTask(lambda: seen.append(len(reports)))
        return FileResponse(path, background=task)

    app = application(file, ZeroCopyMiddleware, response=response)
    with plain(app) as server, server.client() as client:
        assert client.get().body == CONTENT

    assert seen == [1]


def test_a_background_task_may_delete_the_file(plain: Serve, file: Path) -> None:
    def response(path: Path) -> Response:
        return FileResponse(path, background=BackgroundTask(path.unlink))

    app = application(file, ZeroCopyMiddleware, response=response)
    with plain(app) as server, server.client() as client:
        assert client.get().body == CONTENT
    assert not file.exists()

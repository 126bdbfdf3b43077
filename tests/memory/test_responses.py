"""Memory files in responses: whatever a file gets, from a live server or none."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h11
import pytest
from flask import Flask
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.websockets import WebSocket

from tests.asgi.conftest import BOTH
from tests.live import HOOKED, Server, eventually, serve
from tests.memory.conftest import CONTENT
from tests.sites import SITES, Site, Visitors
from zc_response import MemoryFile, Policy, Report
from zc_response.integrations.flask import ZeroCopy, send_file
from zc_response.integrations.starlette import FileResponse

Serve = Callable[..., contextlib.AbstractContextManager[Server]]


def app_for(file: MemoryFile, policy: Policy | None = None, **options: Any) -> Any:
    """An application whose only view returns the file."""

    class ByPolicy(FileResponse):
        pass

    ByPolicy.policy = policy

    async def view(_request: Request) -> Response:
        return ByPolicy(file, **options)

    return Starlette(routes=[Route("/", view)])


@pytest.fixture(params=BOTH, ids="-".join)
def served(request: pytest.FixtureRequest) -> Serve:
    http, loop = request.param
    return lambda app: serve(app, http=HOOKED[http], loop=loop)


# On a live server -------------------------------------------------------------------


@pytest.mark.parametrize("integrity", ["fast", "safe", "strict"])
def test_it_leaves_by_sendfile_at_every_level(
    served: Serve, reports: list[Report], integrity: str
) -> None:
    """Also to a client on this host: nothing can change what is queued for it."""
    with MemoryFile(CONTENT, name="report.pdf") as file:
        with served(app_for(file, Policy(integrity=integrity))) as server:
            with server.client() as client:
                answer = client.get()

    assert answer.body == CONTENT
    assert answer.headers["content-type"] == "application/pdf"
    (report,) = reports
    assert (report.strategy, report.guard) == ("sendfile", "sealed")
    assert report.guard_reason == ""
    assert report.path == "<memory file 'report.pdf'>"


def test_it_is_the_same_wherever_it_is_kept(
    kept: tuple[str, str], reports: list[Report]
) -> None:
    with MemoryFile(CONTENT) as file:
        with serve(app_for(file), http=HOOKED["httptools"]) as server:
            with server.client() as client:
                answer = client.get("/", {"range": "bytes=100-1000099"})

    assert (answer.status, answer.body) == (206, CONTENT[100:1_000_100])
    (report,) = reports
    assert report.strategy == "sendfile"
    assert (report.guard, report.guard_reason) == kept


@pytest.mark.parametrize("size", [0, 1, 1000, 65536, 65537])
def test_every_size_arrives(served: Serve, size: int) -> None:
    with MemoryFile(CONTENT[:size]) as file, served(app_for(file)) as server:
        with server.client() as client:
            for _ in range(2):
                assert client.get().body == CONTENT[:size]


def test_a_small_one_is_reported_as_sealed_too(
    served: Serve, reports: list[Report]
) -> None:
    with MemoryFile(b"small") as file, served(app_for(file)) as server:
        with server.client() as client:
            client.get()

    (report,) = reports
    assert (report.strategy, report.reason) == ("copy", "small")
    assert report.guard == "sealed"


def test_ranges_and_preconditions_are_answered(served: Serve) -> None:
    with MemoryFile(CONTENT) as file, served(app_for(file)) as server:
        with server.client() as client:
            several = client.get("/", {"range": "bytes=0-99,200000-299999"})
            beyond = client.get("/", {"range": f"bytes={len(CONTENT)}-"})
            known = client.get("/", {"if-none-match": file.etag})
            same = {"if-range": file.etag, "range": "bytes=5-9"}
            another = {"if-range": '"other"', "range": "bytes=5-9"}
            assert several.status == 206
            assert CONTENT[200_000:300_000] in several.body
            assert (beyond.status, known.status) == (416, 304)
            assert client.get("/", same).body == CONTENT[5:10]
            assert client.get("/", another).status == 200


def test_a_download_goes_on_after_the_file_is_closed(served: Serve) -> None:
    """What is queued, and what is still to come, is the transfer's."""
    content = CONTENT * 8
    file = MemoryFile(content)
    number = file.fileno()
    inode = os.fstat(number).st_ino
    with served(app_for(file)) as server:
        with server.client(receive_buffer=16384) as client:
            client.send()
            event = client.protocol.next_event()
            while not isinstance(event, h11.Response):
                client.protocol.receive_data(client.socket.recv(4096))
                event = client.protocol.next_event()
            file.close()
            assert os.fstat(number).st_ino == inode
            assert client.receive().body == content


def test_a_closed_one_is_an_error_of_the_application(served: Serve) -> None:
    file = MemoryFile(CONTENT)
    file.close()
    with served(app_for(file)) as server, server.client() as client:
        assert client.get().status == 500


# Elsewhere --------------------------------------------------------------------------


def test_without_a_hook_the_same_bytes_are_copied(reports: list[Report]) -> None:
    with MemoryFile(CONTENT) as file, TestClient(app_for(file)) as client:
        assert client.get("/").content == CONTENT

    (report,) = reports
    assert (report.strategy, report.guard) == ("copy", "sealed")


@pytest.mark.parametrize("offers", [{"http.response.pathsend": {}}, {}])
def test_no_server_is_told_a_path_that_leads_nowhere(offers: dict[str, Any]) -> None:
    """A server with a pathsend of its own opens what it is told."""
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        await asyncio.Event().wait()

    with MemoryFile(CONTENT) as file:
        scope = {
            "type": "http",
            "method": "GET",
            "headers": [],
            "asgi": {"spec_version": "2.4"},
            "extensions": offers,
        }
        asyncio.run(FileResponse(file)(scope, receive, send))

    assert {message["type"] for message in sent} == {
        "http.response.start",
        "http.response.body",
    }
    assert b"".join(message.get("body", b"") for message in sent) == CONTENT


def test_what_the_view_says_of_it_counts() -> None:
    headers = {"etag": '"mine"', "cache-control": "no-store"}
    options: dict[str, Any] = {
        "headers": headers,
        "media_type": "x/y",
        "filename": "a.bin",
    }
    with MemoryFile(CONTENT, "a/b") as file:
        with TestClient(app_for(file, **options)) as client:
            answer = client.get("/")

    assert headers.items() <= dict(answer.headers).items()
    assert answer.headers["content-type"] == "x/y"
    assert answer.headers["content-disposition"] == 'attachment; filename="a.bin"'


def test_its_date_is_the_one_that_was_given() -> None:
    with MemoryFile(b"x", last_modified=784111777) as file, MemoryFile(b"x") as other:
        with TestClient(app_for(file)) as client:
            date = client.get("/").headers["last-modified"]
        with TestClient(app_for(other)) as client:
            assert "last-modified" not in client.get("/").headers

    assert date == "Sun, 06 Nov 1994 08:49:37 GMT"


def test_a_websocket_may_be_denied_with_it() -> None:
    async def deny(socket: WebSocket) -> None:
        with MemoryFile(b"no", "x/y") as file:
            await socket.send_denial_response(FileResponse(file, 403))

    with TestClient(Starlette(routes=[WebSocketRoute("/", deny)])) as client:
        with pytest.raises(WebSocketDenialResponse) as denial:
            with client.websocket_connect("/"):
                pass

    assert (denial.value.status_code, denial.value.content) == (403, b"no")


# Other frameworks -------------------------------------------------------------------


@pytest.mark.parametrize("site", SITES.values(), ids=SITES)
@pytest.mark.parametrize("integrity", ["safe", "strict"])
def test_with_each_framework_it_leaves_by_sendfile(
    tmp_path: Path, reports: list[Report], site: Site, integrity: str
) -> None:
    with MemoryFile(CONTENT, "x/y") as file:
        with site(tmp_path, file, Policy(integrity=integrity)) as port:
            answer = Visitors(port).get("/memory", {"range": "bytes=100-1000099"})
            eventually(lambda: reports, "the report")

    assert (answer.status, answer.body) == (206, CONTENT[100:1_000_100])
    assert (answer.headers["content-type"], answer.headers["etag"]) == (
        "x/y",
        file.etag,
    )
    (report,) = reports
    assert (report.strategy, report.guard) == ("sendfile", "sealed")


def flask_app(file: MemoryFile, **options: Any) -> Flask:
    app = Flask(__name__)
    ZeroCopy(app)
    app.add_url_rule("/", view_func=lambda: send_file(file, **options))
    return app


def test_flask_answers_with_it() -> None:
    with MemoryFile(CONTENT, name="report.pdf") as file:
        client = flask_app(file, as_attachment=True).test_client()
        with client.get("/") as whole:
            assert whole.data == CONTENT
            assert whole.headers["ETag"] == file.etag
            assert whole.headers["Content-Type"] == "application/pdf"
            disposition = whole.headers["Content-Disposition"]
            assert disposition == "attachment; filename=report.pdf"
        with client.get("/", headers={"Range": "bytes=7-9"}) as part:
            assert (part.status_code, part.data) == (206, CONTENT[7:10])
        with client.get("/", headers={"If-None-Match": file.etag}) as known:
            assert known.status_code == 304


def test_flask_leaves_it_the_callers() -> None:
    with MemoryFile(CONTENT) as file:
        client = flask_app(file, mimetype="x/y").test_client()
        for _ in range(2):
            with client.get("/") as answer:
                assert answer.headers["Content-Type"] == "x/y"
        assert not file.closed
        with file.share() as source:
            assert "shares=2" in repr(source)


def test_flask_never_hands_it_to_a_server_in_front() -> None:
    """X-Sendfile names a path, and this has none."""
    with MemoryFile(CONTENT) as file:
        app = flask_app(file)
        app.config["USE_X_SENDFILE"] = True
        with app.test_client().get("/") as answer:
            assert "X-Sendfile" not in answer.headers
            assert answer.data == CONTENT

"""Where zero copy cannot be had, the same bytes and header fields come by copying."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import httpx
import pytest
import trustme
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Route
from starlette.testclient import TestClient

from tests.asgi.apps import body, calling, start
from tests.asgi.conftest import CONTENT, Serve
from tests.live import HOOKED, STACKS, serve
from zc_response import MemoryFile, Policy, Report
from zc_response.asgi import Message, Receive, Scope, Send, ZeroCopyMiddleware
from zc_response.integrations import uvicorn as integration
from zc_response.integrations.starlette import FileResponse

REQUESTS: dict[str, tuple[dict[str, str], int, bytes]] = {
    "whole": ({}, 200, CONTENT),
    "range": ({"range": "bytes=9-2000000"}, 206, CONTENT[9:2000001]),
    "unsatisfiable": ({"range": "bytes=99999999-"}, 416, b""),
}
every_request = pytest.mark.parametrize("asked", REQUESTS.values(), ids=REQUESTS)
Asked = tuple[dict[str, str], int, bytes]


def application(file: Path) -> Starlette:
    def view(_request: Request) -> FileResponse:
        return FileResponse(file)

    return Starlette(routes=[Route("/", view)])


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def certificate(authority: trustme.CA, tmp_path: Path) -> dict[str, str]:
    """uvicorn's settings for TLS."""
    path = tmp_path / "certificate.pem"
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(path)
    return {"ssl_certfile": str(path), "ssl_keyfile": str(path)}


@pytest.fixture
def trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@every_request
def test_behind_tls_bodies_are_copied(
    hooked: Serve,
    file: Path,
    reports: list[Report],
    certificate: dict[str, str],
    trusting: ssl.SSLContext,
    asked: Asked,
) -> None:
    headers, status, content = asked
    with hooked(application(file), **certificate) as server:
        with httpx.Client(verify=trusting) as client:
            url = f"https://localhost:{server.port}/"
            answer = client.get(url, headers=headers)

    assert (answer.status_code, answer.content) == (status, content)
    assert [(r.strategy, r.reason) for r in reports] == [("copy", "TLS")] * (
        status != 416
    )


def test_the_scheme_that_a_proxy_claims_says_nothing_of_the_socket(
    hooked: Serve, file: Path, reports: list[Report]
) -> None:
    with hooked(application(file)) as server, server.client() as client:
        assert client.get(headers={"x-forwarded-proto": "https"}).body == CONTENT

    assert [r.strategy for r in reports] == ["sendfile"]


@pytest.fixture(params=["HTTP/1.1", "HTTP/2"])
def zttp(request: pytest.FixtureRequest) -> Iterator[tuple[dict[str, Any], Any]]:
    """uvicorn's settings for zttp, and a client that speaks that version."""
    pytest.importorskip("zttp", reason="zttp is not installed")
    second = request.param == "HTTP/2"
    transport = httpx.HTTPTransport(http1=not second, http2=second)
    with httpx.Client(transport=transport) as client:
        yield {"http": "zttp", "http2": second}, client


@every_request
def test_on_uvicorns_zttp_bodies_are_copied(
    file: Path, reports: list[Report], zttp: Any, asked: Asked
) -> None:
    settings, client = zttp
    headers, status, content = asked
    app = ZeroCopyMiddleware(application(file))
    with serve(app, **settings) as server:
        answer = client.get(f"http://127.0.0.1:{server.port}/", headers=headers)

    assert (answer.status_code, answer.content) == (status, content)
    assert answer.http_version == ("HTTP/2" if settings["http2"] else "HTTP/1.1")
    assert [r.strategy for r in reports] == ["copy"] * (status != 416)


@every_request
def test_in_starlettes_test_client_bodies_are_copied(file: Path, asked: Asked) -> None:
    headers, status, content = asked
    with TestClient(application(file)) as client:
        answer = client.get("/", headers=headers)

    assert (answer.status_code, answer.content) == (status, content)


@every_request
@pytest.mark.parametrize("wrapped", [False, True])
def test_in_httpx_asgi_transport_bodies_are_copied(
    file: Path, asked: Asked, wrapped: bool
) -> None:
    import anyio

    headers, status, content = asked
    app: Any = application(file)
    app = ZeroCopyMiddleware(app) if wrapped else app

    async def main() -> httpx.Response:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport) as client:
            return await client.get("http://test/", headers=headers)

    answer = anyio.run(main)
    assert (answer.status_code, answer.content) == (status, content)


def test_a_uvicorn_that_lacks_what_we_rely_on_copies_and_says_what(
    plain: Serve,
    file: Path,
    reports: list[Report],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(integration, "_known", {})
    needs = (*integration._CycleConnection.needs, "something_new")
    for kind in (integration._H11Connection, integration._HttpToolsConnection):
        monkeypatch.setattr(kind, "needs", needs)
    app = ZeroCopyMiddleware(application(file))
    with plain(app) as server, server.client() as client:
        assert client.get().body == CONTENT

    assert [r.strategy for r in reports] == ["copy"]
    assert "has no something_new" in reports[0].reason


def test_websockets_and_lifespan_pass_untouched() -> None:
    import anyio

    seen: list[tuple[Scope, Send]] = []

    async def app(scope: Scope, _receive: Receive, send: Send) -> None:
        seen.append((scope, send))

    async def receive() -> Message:
        return {}

    async def send(_message: Message) -> None:
        pass

    for kind in ("websocket", "lifespan"):
        scope: Scope = {"type": kind}
        anyio.run(ZeroCopyMiddleware(app), scope, receive, send)
        assert seen[-1] == (scope, send)


# Servers with zero copy of their own -----------------------------------------------


class Fast(FileResponse):
    policy: ClassVar[Policy] = Policy(integrity="fast")


def native(
    offers: list[str],
    file: Path | MemoryFile,
    asked: dict[str, str],
    kind: type[FileResponse] = Fast,
) -> list[Message]:
    """What our response sends to a server that offers these extensions."""
    import anyio

    sent: list[Message] = []
    scope: Scope = {
        "type": "http",
        "method": "GET",
        "path": "/",
        "headers": [(k.encode(), v.encode()) for k, v in asked.items()],
        "extensions": {f"http.response.{offer}": {} for offer in offers},
    }

    async def receive() -> Message:
        await anyio.sleep_forever()
        raise AssertionError

    async def send(message: Message) -> None:
        if "file" in message:
            assert int(message["file"]) == message["file"].fileno()
            message = {**message, "file": "open"}
        sent.append(message)

    anyio.run(kind(file), scope, receive, send)
    return sent[1:]


def test_a_server_with_pathsend_gets_the_path_of_a_whole_file(file: Path) -> None:
    assert native(["pathsend"], file, {}) == [
        {"type": "http.response.pathsend", "path": str(file)}
    ]


def test_a_server_with_pathsend_alone_gets_the_bytes_of_a_range(file: Path) -> None:
    messages = native(["pathsend"], file, {"range": "bytes=0-4"})

    assert b"".join(m.get("body", b"") for m in messages) == CONTENT[:5]


def test_a_server_with_zerocopysend_gets_each_slice(file: Path) -> None:
    asked = {"range": "bytes=3-100002"}
    (message,) = native(["pathsend", "zerocopysend"], file, asked)

    assert message == {
        "type": "http.response.zerocopysend",
        "file": "open",
        "offset": 3,
        "count": 100_000,
        "more_body": False,
    }


class Strict(FileResponse):
    policy: ClassVar[Policy] = Policy(integrity="strict")


@pytest.mark.parametrize("offers", [["pathsend"], ["pathsend", "zerocopysend"]])
def test_under_strict_no_server_sends_a_file_by_itself(
    file: Path, offers: list[str]
) -> None:
    """Nobody could keep it honest there."""
    messages = native(offers, file, {}, Strict)

    assert {message["type"] for message in messages} == {"http.response.body"}
    assert b"".join(message["body"] for message in messages) == CONTENT


def test_a_server_with_zerocopysend_gets_what_is_in_memory_by_it(
    reports: list[Report],
) -> None:
    with MemoryFile(CONTENT) as memory:
        (message,) = native(["pathsend", "zerocopysend"], memory, {})

    assert message["type"] == "http.response.zerocopysend"
    assert (message["offset"], message["count"]) == (0, len(CONTENT))
    assert [report.guard for report in reports] == ["sealed"]


def test_a_server_with_zerocopysend_gets_a_multipart_in_turns(file: Path) -> None:
    asked = {"range": "bytes=0-99999,200000-299999"}
    messages = native(["zerocopysend"], file, asked)

    kinds = [m["type"].rpartition(".")[2] for m in messages]
    assert kinds == ["body", "zerocopysend", "body", "zerocopysend", "body"]
    assert [m["more_body"] for m in messages] == [True, True, True, True, False]


def test_a_server_with_zero_copy_gets_a_small_body_as_one_message(file: Path) -> None:
    for offers in (["pathsend"], ["zerocopysend"], ["pathsend", "zerocopysend"]):
        assert native(offers, file, {"range": "bytes=3-7"}) == [
            {"type": "http.response.body", "body": CONTENT[3:8], "more_body": False}
        ]


def test_the_same_application_on_all_stacks_gives_the_same_header_fields(
    file: Path, certificate: dict[str, str], trusting: ssl.SSLContext
) -> None:
    seen = set()
    for http, loop in STACKS:
        for protocol, settings in ((HOOKED[http], {}), (http, {}), (http, certificate)):
            with serve(
                application(file), http=protocol, loop=loop, **settings
            ) as server:
                scheme = "https" if settings else "http"
                with httpx.Client(verify=trusting) as client:
                    url = f"{scheme}://localhost:{server.port}/"
                    answer = client.get(url, headers={"range": "bytes=5-99"})
                assert answer.content == CONTENT[5:100]
                fields = {k: v for k, v in answer.headers.items() if k != "date"}
                seen.add(tuple(sorted(fields.items())))

    assert len(seen) == 1


def test_a_body_in_memory_is_nobodys_business(hooked: Serve) -> None:
    async def respond(_scope: Scope, send: Send) -> None:
        await send(start(content_length=5))
        await send(body(b"plain"))

    with hooked(calling(respond)) as server, server.client() as client:
        assert client.get().body == b"plain"

"""gunicorn's own settings, TLS and HTTP/2: where zero copy cannot be had."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.gunicorn.conftest import BIG_SIZE, CONTENT, SMALL_WINDOW, WORKERS, Start
from tests.gunicorn.running import UVICORN_WORKER, Gunicorn, gunicorn
from tests.live import eventually

every_worker = pytest.mark.parametrize("worker", WORKERS)
VIEWS = ["sized", "unsized", "generated", "part", "sought"]
BODIES = {"part": CONTENT[:100_000], "sought": CONTENT[1234:]}


@every_worker
@pytest.mark.parametrize(
    ("settings", "environ"),
    [({"sendfile": False}, {}), ({}, {"SENDFILE": "0"})],
    ids=["--no-sendfile", "SENDFILE=0"],
)
def test_where_sendfile_is_switched_off_bodies_are_copied(
    start: Start, worker: str, settings: dict[str, Any], environ: dict[str, str]
) -> None:
    with start(worker=worker, environ=environ, **settings) as server:
        for view in VIEWS:
            file = server.file(CONTENT)
            with server.client() as client:
                answer = client.get(f"/{view}/{file.name}")
            assert answer.complete
            assert answer.body == BODIES.get(view, CONTENT)
            report = server.report(file)
            assert (report["strategy"], report["outcome"]) == ("copy", "complete")
            assert "switched off" in report["reason"]


@every_worker
def test_zero_copy_can_be_switched_off(start: Start, worker: str) -> None:
    with start(worker=worker, environ={"ZC_RESPONSE_ZERO_COPY": "0"}) as server:
        file = server.file(CONTENT)
        with server.client() as client:
            assert client.get(f"/sized/{file.name}").body == CONTENT
        assert server.report(file)["strategy"] == "copy"


def test_then_every_chunk_of_a_generator_is_obeyed(start: Start) -> None:
    """With zero copy, one whose first chunk is unchanged counts as unchanged."""
    with start(worker="gthread", environ={"ZC_RESPONSE_ZERO_COPY": "0"}) as server:
        file = server.file(CONTENT)
        with server.client() as client:
            body = client.get(f"/inverted_later/{file.name}").body
    assert body[:1000] == CONTENT[:1000]
    assert body[-1000:] == bytes(255 - byte for byte in CONTENT[-1000:])


@every_worker
def test_behind_tls_nothing_leaves_uncoded(
    start: Start,
    worker: str,
    certificate: dict[str, Any],
    trusting: ssl.SSLContext,
) -> None:
    """Every way of sending a file, with a client that would notice."""
    with start(worker=worker, context=trusting, **certificate) as server:
        for view in VIEWS:
            file = server.file(CONTENT)
            with server.client() as client:
                answer = client.get(f"/{view}/{file.name}")
            assert answer.complete
            assert answer.body == BODIES.get(view, CONTENT)
            report = server.report(file)
            assert (report["strategy"], report["reason"]) == ("copy", "TLS")


@every_worker
def test_the_access_log_has_the_bytes_of_each_way(start: Start, worker: str) -> None:
    """Stock gunicorn logs 0 for what leaves by sendfile."""
    with start(worker=worker) as server:
        for view in (*VIEWS, "quick", "inverted", "longer"):
            file = server.file(CONTENT)
            with server.client() as client:
                body = client.get(f"/{view}/{file.name}").body
                client.reset()
            size = len(CONTENT) if view == "longer" else len(body)
            (line,) = until(server, file)
            assert line == f"GET /{view}/{file.name} 200 {size}"


@every_worker
def test_the_access_log_has_no_bytes_for_head(start: Start, worker: str) -> None:
    with start(worker=worker) as server:
        file = server.file(CONTENT)
        with server.client() as client:
            client.head(f"/sized/{file.name}")
        assert until(server, file) == [f"HEAD /sized/{file.name} 200 0"]


def until(server: Gunicorn, file: Path) -> list[str]:
    eventually(lambda: server.access_log(file), "a line in the access log")
    return server.access_log(file)


# The other ways to get the hooks ----------------------------------------------------

BY_COMMAND = "python:zc_response.integrations.gunicorn_conf"


@pytest.mark.parametrize(
    ("worker", "app"),
    [
        *((worker, "app") for worker in WORKERS),
        ("asgi", "asgi_matrix"),
        ("uvicorn_worker.UvicornWorker", "asgi_matrix"),
        (UVICORN_WORKER, "asgi_matrix"),
    ],
)
def test_the_configuration_module_serves_every_worker(
    tmp_path: Path, worker: str, app: str
) -> None:
    target = f"tests.gunicorn.apps:{app}"
    with gunicorn(tmp_path / "g", target, worker=worker, command=BY_COMMAND) as server:
        file = server.file(CONTENT)
        prefix = "/sized" if app == "app" else "/stock"
        with server.client() as client:
            assert client.get(f"{prefix}/{file.name}").body == CONTENT
        assert server.report(file)["strategy"] == "sendfile"


def test_uvicorns_worker_of_ours_needs_no_hooks(start: Start) -> None:
    app = "tests.gunicorn.apps:asgi_matrix"
    with start(app, worker=UVICORN_WORKER, hooks=False) as server:
        file = server.file(CONTENT)
        with server.client() as client:
            assert client.get(f"/stock/{file.name}").body == CONTENT
        assert server.report(file)["strategy"] == "sendfile"


def test_a_worker_of_gevents_own_server_degrades(start: Start) -> None:
    with start(worker="gevent_pywsgi") as server:
        for view in VIEWS:
            file = server.file(CONTENT)
            with server.client() as client:
                answer = client.get(f"/{view}/{file.name}")
            assert answer.body == BODIES.get(view, CONTENT)


@every_worker
def test_the_middleware_alone_needs_no_hooks(start: Start, worker: str) -> None:
    with start("tests.gunicorn.apps:by_hand", worker=worker, hooks=False) as server:
        for view in ("sized", "generated"):
            file = server.file(CONTENT)
            with server.client() as client:
                assert client.get(f"/{view}/{file.name}").body == CONTENT
            assert server.report(file)["strategy"] == "sendfile"


@pytest.mark.parametrize("worker", ["sync", "gthread"])
def test_without_hooks_a_worker_sends_all_by_itself(
    start: Start, big: Path, worker: str
) -> None:
    with start("tests.gunicorn.apps:by_hand", worker=worker, hooks=False) as server:
        file = server.file(big)
        with server.client(receive_buffer=SMALL_WINDOW) as client:
            answer = client.get(f"/sized/{file.name}")
        assert (answer.complete, len(answer.body)) == (True, BIG_SIZE)


@every_worker
@pytest.mark.parametrize("app", ["inverting", "mapping"])
def test_middleware_outside_of_ours_is_not_bypassed(
    start: Start, worker: str, app: str
) -> None:
    with start(f"tests.gunicorn.apps:{app}", worker=worker, hooks=False) as server:
        file = server.file(CONTENT)
        with server.client() as client:
            body = client.get(f"/sized/{file.name}").body

    assert body == CONTENT.translate(bytes(255 - byte for byte in range(256)))


# HTTP/2 -------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["gthread", "gevent", "asgi"])
def http2(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    certificate: dict[str, Any],
    trusting: ssl.SSLContext,
) -> Iterator[tuple[Gunicorn, str]]:
    """A gunicorn that speaks HTTP/2, and the path below which it sends files."""
    app, prefix = ("asgi_matrix", "") if request.param == "asgi" else ("app", "/sized")
    with gunicorn(
        tmp_path_factory.mktemp("gunicorn"),
        f"tests.gunicorn.apps:{app}",
        worker=request.param,
        context=trusting,
        http_protocols="h2,h1",
        **certificate,
    ) as server:
        yield server, prefix


def test_http2_copies(http2: tuple[Gunicorn, str], trusting: ssl.SSLContext) -> None:
    """The socket is shared: whoever writes to it breaks all streams."""
    server, prefix = http2
    with httpx.Client(http2=True, verify=trusting) as client:
        for _ in range(3):
            file = server.file(CONTENT)
            url = f"https://localhost:{server.port}{prefix}/{file.name}"
            answer = client.get(url)

            assert answer.http_version == "HTTP/2"
            assert answer.content == CONTENT
            assert server.report(file)["strategy"] == "copy"
            assert client.head(url).content == b""


@pytest.mark.parametrize("worker", ["gthread", "gevent"])
def test_http2_without_tls_copies_too(start: Start, worker: str) -> None:
    """There the server's settings alone do not tell."""
    settings = {"http_protocols": "h2,h1", "http2_cleartext": True}
    with start(worker=worker, **settings) as server:
        with httpx.Client(http1=False, http2=True) as client:
            for view in VIEWS:
                file = server.file(CONTENT)
                url = f"http://127.0.0.1:{server.port}/{view}/{file.name}"
                answer = client.get(url)
                assert answer.http_version == "HTTP/2"
                assert answer.content == BODIES.get(view, CONTENT)
                assert "HTTP/2" in server.report(file)["reason"]

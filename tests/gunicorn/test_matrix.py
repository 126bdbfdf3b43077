"""The same expectations of every worker, in every setting.

Flask behind the WSGI workers, Starlette behind the others; both as their users have
them. `wrapped`: the WSGI body comes in a generator that changes nothing, the ASGI
messages through Starlette's BaseHTTPMiddleware.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.gunicorn import apps
from tests.gunicorn.conftest import BIG_SIZE, CONTENT, SMALL_WINDOW
from tests.gunicorn.running import UVICORN_WORKER, Row, Running, TlsClient, gunicorn
from tests.live import HOOKED, Answer, Client, Fields, serve
from tests.range_cases import Answer as Parsed, parts
from zc_response import Report, add_listener, remove_listener


class Uvicorn(Running):
    """uvicorn in a thread, looked at in the same way."""

    def __init__(self, port: int, work: Path, context: ssl.SSLContext | None) -> None:
        super().__init__(work, context)
        self._port = port

    @property
    def port(self) -> int:
        return self._port


@contextlib.contextmanager
def uvicorn(
    work: Path, http: str, context: ssl.SSLContext | None, **settings: str
) -> Iterator[Uvicorn]:
    def write_down(report: Report) -> None:
        with (work / "reports").open("a") as file:
            file.write(json.dumps(dataclasses.asdict(report)) + "\n")

    certificate = {f"ssl_{name}": value for name, value in settings.items()}
    files, apps.FILES = apps.FILES, work / "files"
    add_listener(write_down)
    try:
        with serve(apps.asgi_matrix, http=HOOKED[http], **certificate) as server:
            yield Uvicorn(server.port, work, context)
    finally:
        remove_listener(write_down)
        apps.FILES = files


SERVERS = {
    "sync": "wsgi_matrix",
    "gthread": "wsgi_matrix",
    "gevent": "wsgi_matrix",
    "asgi": "asgi_matrix",
    UVICORN_WORKER: "asgi_matrix",
    "h11": "",
    "httptools": "",
}
WAYS = ["plain", "TLS"]


class Setting(NamedTuple):
    """A server, and what is special about it."""

    server: Running
    prefix: str
    strategy: str

    def ask(self, name: str, headers: Fields | None = None) -> Answer:
        with self.server.client() as client:
            return client.get(f"{self.prefix}/{name}", headers)


@pytest.fixture(
    scope="module",
    params=[(kind, way) for kind in SERVERS for way in WAYS],
    ids=lambda param: f"{param[0].rpartition('.')[2]}-{param[1]}",
)
def server(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    certificate: dict[str, str],
    trusting: ssl.SSLContext,
) -> Iterator[tuple[Running, str]]:
    kind, way = request.param
    context = trusting if way == "TLS" else None
    settings: dict[str, Any] = dict(certificate) if way == "TLS" else {}
    work = tmp_path_factory.mktemp("matrix")
    if app := SERVERS[kind]:
        with gunicorn(
            work,
            f"tests.gunicorn.apps:{app}",
            worker=kind,
            context=context,
            keepalive=10,
            **settings,
        ) as started:
            yield started, way
    else:
        with uvicorn(work, kind, context, **settings) as in_thread:
            yield in_thread, way


@pytest.fixture(params=["direct", "wrapped"])
def setting(request: pytest.FixtureRequest, server: tuple[Running, str]) -> Setting:
    running, way = server
    prefix = "/wrapped" if request.param == "wrapped" else ""
    return Setting(running, prefix, "copy" if way == "TLS" else "sendfile")


def outcome(row: Row) -> tuple[str, str, int, int]:
    return row["outcome"], row["strategy"], row["sent"], row["status"]


def test_whole(setting: Setting) -> None:
    file = setting.server.file(CONTENT)

    answer = setting.ask(file.name)

    assert (answer.status, answer.complete) == (200, True)
    assert answer.body == CONTENT
    report = setting.server.report(file)
    assert outcome(report) == ("complete", setting.strategy, len(CONTENT), 200)
    assert report["guard"] == "lease"


def test_range(setting: Setting) -> None:
    file = setting.server.file(CONTENT)

    answer = setting.ask(file.name, {"range": "bytes=1000000-1999999"})

    assert (answer.status, answer.complete) == (206, True)
    assert answer.headers["content-range"] == f"bytes 1000000-1999999/{len(CONTENT)}"
    assert answer.body == CONTENT[1_000_000:2_000_000]
    report = setting.server.report(file)
    assert outcome(report) == ("complete", setting.strategy, 1_000_000, 206)


def test_multipart(setting: Setting) -> None:
    file = setting.server.file(CONTENT)

    answer = setting.ask(file.name, {"range": "bytes=5-500000,1000000-2000000"})

    assert (answer.status, answer.complete) == (206, True)
    parsed = Parsed(
        status=206, headers=tuple(answer.fields), body=answer.body, content=CONTENT
    )
    assert [part.data for part in parts(parsed)] == [
        CONTENT[5:500_001],
        CONTENT[1_000_000:2_000_001],
    ]
    report = setting.server.report(file)
    assert outcome(report) == ("complete", setting.strategy, answer.length, 206)


def test_head(setting: Setting) -> None:
    file = setting.server.file(CONTENT)

    with setting.server.client() as client:
        answer = client.head(f"{setting.prefix}/{file.name}")
        leave(client)
        assert rest(client) == b""

    assert (answer.status, answer.length, answer.body) == (200, len(CONTENT), b"")
    assert setting.server.reports(file) == []


def test_not_modified(setting: Setting) -> None:
    file = setting.server.file(CONTENT)
    etag = setting.ask(file.name, {"range": "bytes=0-0"}).headers["etag"]

    with setting.server.client() as client:
        answer = client.get(f"{setting.prefix}/{file.name}", {"if-none-match": etag})
        leave(client)
        assert rest(client) == b""

    assert (answer.status, answer.body) == (304, b"")


def test_shrink(setting: Setting, big: Path) -> None:
    """By a way that no lease hears of. The next response is not in the first's body."""
    file = setting.server.file(big)
    with setting.server.client(receive_buffer=SMALL_WINDOW) as client:
        client.send(f"{setting.prefix}/{file.name}")
        client.socket.recv(1)
        os.close(os.open(file, os.O_RDONLY | os.O_TRUNC))
        with contextlib.suppress(ConnectionError):  # it may be over already
            client.send_raw(b"GET /none HTTP/1.1\r\nHost: test\r\n\r\n")

        received = everything(client)

    assert received.count(b"HTTP/1.1") < 2
    assert len(received) < BIG_SIZE
    report = setting.server.report(file)
    assert report["outcome"] in ("truncated", "changed")
    assert report["sent"] < BIG_SIZE
    assert setting.ask(setting.server.file(CONTENT).name).body == CONTENT


def test_disconnect(setting: Setting, big: Path) -> None:
    """A server that copies may take all of it for a client that has left."""
    file, before = setting.server.file(big), len(setting.server.log)
    client = setting.server.client(receive_buffer=SMALL_WINDOW)
    client.send(f"{setting.prefix}/{file.name}")
    client.socket.recv(1)
    client.reset()

    report = setting.server.report(file)
    if (report["strategy"], report["sent"]) != ("copy", BIG_SIZE):
        assert report["outcome"] in ("disconnected", "cancelled"), report
    assert setting.ask(setting.server.file(CONTENT).name).body == CONTENT
    assert "Traceback" not in setting.server.log[before:]


def leave(client: Client) -> None:
    """Say that there will be no more requests."""
    if isinstance(client, TlsClient):
        client.socket.settimeout(0.2)
    else:
        client.socket.shutdown(1)


def rest(client: Client) -> bytes:
    """What the server sends without having been asked."""
    try:
        return everything(client)
    except TimeoutError:
        return b""


def everything(client: Client) -> bytes:
    received = bytearray()
    try:
        while data := client.socket.recv(1_000_000):
            received += data
    except (ConnectionResetError, ssl.SSLError):
        pass
    return bytes(received)

"""Servers that are not gunicorn: the same bytes, by zero copy or without."""

from __future__ import annotations

import contextlib
import io
import os
import ssl
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from wsgiref import simple_server, validate

import flask
import pytest
import trustme
import werkzeug.serving
from flask import Flask, Response
from waitress.server import create_server

from tests.gunicorn.running import TlsClient
from tests.live import PATIENCE, Answer, Client, eventually
from zc_response import Policy, Report
from zc_response.cli.bench.disks import Disk
from zc_response.integrations.flask import ZeroCopy, send_file, send_pipe
from zc_response.kernel import pages
from zc_response.wsgi import Environ, StartResponse

CONTENT = bytes(range(256)) * 4096 * 3  # 3 MiB
BIG_SIZE = 24 * 1024 * 1024

Running = contextlib.AbstractContextManager[int]
"""Serves as long as it lasts; the port."""


@contextlib.contextmanager
def development_server(app: Any, **options: Any) -> Iterator[int]:
    server = werkzeug.serving.make_server(
        "127.0.0.1", 0, app, threaded=True, request_handler=_Quiet, **options
    )
    with in_thread(partial(server.serve_forever, 0.02), server.shutdown):
        yield server.server_port
    server.server_close()


class _Quiet(werkzeug.serving.WSGIRequestHandler):
    protocol_version = "HTTP/1.1"

    def log(self, type: str, message: str, *args: Any) -> None:  # noqa: A002
        """Not to standard error."""


class _Old(_Quiet):
    protocol_version = "HTTP/1.0"


@contextlib.contextmanager
def wsgiref_server(app: Any) -> Iterator[int]:
    class Handler(simple_server.WSGIRequestHandler):
        def log_message(self, *_args: Any) -> None:
            """Not to standard error."""

    server = simple_server.make_server("127.0.0.1", 0, app, handler_class=Handler)
    with in_thread(partial(server.serve_forever, 0.02), server.shutdown):
        yield server.server_port
    server.server_close()


@contextlib.contextmanager
def validated_server(app: Any) -> Iterator[int]:
    """wsgiref's, which complains of whatever breaks a rule of WSGI."""
    with wsgiref_server(validate.validator(app)) as port:
        yield port


@contextlib.contextmanager
def waitress_server(app: Any) -> Iterator[int]:
    server: Any = create_server(app, host="127.0.0.1", port=0, threads=2)

    def stop() -> None:
        server.trigger.pull_trigger(server.close)

    def run() -> None:
        with contextlib.suppress(OSError):
            server.asyncore.loop(0.05, map=server._map)

    thread = threading.Thread(target=run, name="waitress")
    thread.start()
    yield int(server.effective_port)
    for channel in tuple(server.active_channels.values()):
        server.trigger.pull_trigger(channel.handle_close)
    stop()
    thread.join(PATIENCE)
    server.task_dispatcher.shutdown()


@contextlib.contextmanager
def in_thread(run: Callable[[], object], stop: Callable[[], object]) -> Iterator[None]:
    thread = threading.Thread(target=run, name="server")
    thread.start()
    try:
        yield
    finally:
        stop()
        thread.join(PATIENCE)


SERVERS: dict[str, tuple[Callable[[Any], Running], str]] = {
    "development": (development_server, "sendfile"),
    "wsgiref": (wsgiref_server, "copy"),
    "validate": (validated_server, "copy"),
    "waitress": (waitress_server, "copy"),
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file.bin"
    path.write_bytes(CONTENT)
    return path


def application(file: Path, policy: Policy | None = None) -> Flask:
    app = Flask(__name__)
    ZeroCopy(app, policy)
    app.add_url_rule("/", view_func=lambda: send_file(file))
    app.add_url_rule("/flask", "flask", lambda: flask.send_file(file))
    memory = lambda: send_file(io.BytesIO(CONTENT), mimetype="x/y")  # noqa: E731
    app.add_url_rule("/memory", "memory", memory)

    @app.get("/pipe")
    def pipe() -> Response:
        return send_pipe(["cat", str(file)])

    @app.get("/pipe/sized")
    def sized_pipe() -> Response:
        return send_pipe(["cat", str(file)], "x/y", True, "n", len(CONTENT))

    @app.get("/small")
    def small() -> Response:
        part = file.with_name("small")
        part.write_bytes(CONTENT[:1000])
        return send_file(part)

    @app.get("/empty")
    def empty() -> Response:
        part = file.with_name("empty")
        part.write_bytes(b"")
        return send_file(part)

    return app


@pytest.mark.parametrize("name", SERVERS)
def test_a_huge_file_leaves_nothing_in_the_page_cache_whoever_sends_it(
    disk: Callable[[str], Path], reports: list[Report], name: str
) -> None:
    serve, _ = SERVERS[name]
    path = disk("ext4") / "huge"
    path.write_bytes(CONTENT)
    Disk(path=path.parent, kind="ext4").drop_caches(path)
    with serve(application(path, Policy(direct_min=len(CONTENT)))) as port:
        assert ask(port).body == CONTENT
        eventually(lambda: reports, "a report")
    with path.open("rb") as file:
        left = pages.cached(file.fileno(), 0, len(CONTENT)) * pages.PAGE

    assert [(r.strategy, r.outcome) for r in reports] == [("direct", "complete")]
    assert left == 0


@pytest.fixture(params=SERVERS)
def served(request: pytest.FixtureRequest, file: Path) -> Iterator[tuple[int, str]]:
    serve, strategy = SERVERS[request.param]
    with serve(application(file)) as port:
        yield port, strategy


def ask(port: int, path: str = "/", **headers: str) -> Answer:
    with Client(port) as client:
        return client.get(path, headers)


def test_the_whole_file(served: tuple[int, str], reports: list[Report]) -> None:
    port, strategy = served

    answer = ask(port)

    assert (answer.status, answer.complete, answer.body) == (200, True, CONTENT)
    eventually(lambda: reports, "a report")
    assert [(r.strategy, r.outcome) for r in reports] == [(strategy, "complete")]


def test_a_range(served: tuple[int, str], reports: list[Report]) -> None:
    port, strategy = served

    answer = ask(port, range="bytes=1000000-1999999")

    assert (answer.status, answer.body) == (206, CONTENT[1_000_000:2_000_000])
    eventually(lambda: reports, "a report")
    assert reports[0].strategy == strategy


def test_several_ranges(served: tuple[int, str]) -> None:
    answer = ask(served[0], range="bytes=0-99999,200000-299999")

    assert (answer.status, answer.complete) == (206, True)
    assert CONTENT[200_000:300_000] in answer.body
    assert answer.length == len(answer.body)


def test_head_and_304(served: tuple[int, str]) -> None:
    with Client(served[0]) as client:
        head = client.head()
    assert (head.status, head.length, head.body) == (200, len(CONTENT), b"")
    answer = ask(served[0], **{"if-none-match": head.headers["etag"]})
    assert (answer.status, answer.body) == (304, b"")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/flask", CONTENT),
        ("/memory", CONTENT),
        ("/small", CONTENT[:1000]),
        ("/empty", b""),
    ],
)
def test_other_bodies(served: tuple[int, str], path: str, body: bytes) -> None:
    answer = ask(served[0], path)

    assert (answer.status, answer.complete, answer.body) == (200, True, body)


# The development server --------------------------------------------------------------


def generated(app: Any) -> Any:
    """Middleware that does nothing, with a generator."""

    def middleware(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
        body = app(environ, start_response)
        try:
            yield from body
        finally:
            body.close()

    return middleware


def inverted(app: Any) -> Any:
    """Middleware that changes every byte."""
    table = bytes(255 - byte for byte in range(256))

    def middleware(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
        body = app(environ, start_response)
        try:
            yield from (chunk.translate(table) for chunk in body)
        finally:
            body.close()

    return middleware


@pytest.mark.parametrize("path", ["/", "/flask", "/memory", "/small", "/empty"])
@pytest.mark.parametrize("handler", [_Quiet, _Old])
def test_a_generator_inside_of_ours_changes_nothing(
    file: Path, path: str, handler: Any
) -> None:
    app = application(file)
    app.wsgi_app.app = generated(app.wsgi_app.app)  # type: ignore[attr-defined]
    server = werkzeug.serving.make_server("127.0.0.1", 0, app, request_handler=handler)
    with in_thread(partial(server.serve_forever, 0.02), server.shutdown):
        plain = {"/small": CONTENT[:1000], "/empty": b""}.get(path, CONTENT)
        answer = ask(server.server_port, path)
    server.server_close()

    assert (answer.complete, answer.body) == (True, plain)


def test_it_keeps_zero_copy_within_a_generator(
    file: Path, reports: list[Report]
) -> None:
    app = application(file)
    app.wsgi_app.app = generated(app.wsgi_app.app)  # type: ignore[attr-defined]
    with development_server(app) as port:
        assert ask(port).body == CONTENT
    assert [(r.strategy, r.outcome) for r in reports] == [("sendfile", "complete")]


@pytest.mark.parametrize("where", ["inside", "outside"])
def test_middleware_that_changes_the_body_is_not_bypassed(
    file: Path, where: str
) -> None:
    app = application(file)
    if where == "inside":
        app.wsgi_app.app = inverted(app.wsgi_app.app)  # type: ignore[attr-defined]
    else:
        app.wsgi_app = inverted(app.wsgi_app)  # type: ignore[method-assign]
    with development_server(app) as port:
        body = ask(port).body

    assert body == CONTENT.translate(bytes(255 - byte for byte in range(256)))


def test_behind_tls_the_development_server_copies(
    file: Path, reports: list[Report], tmp_path: Path
) -> None:
    authority = trustme.CA()
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(server_side)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    with development_server(application(file), ssl_context=server_side) as port:
        with TlsClient(port, trusting) as client:
            assert client.get().body == CONTENT
    assert [(r.strategy, r.reason) for r in reports] == [("copy", "TLS")]


def test_a_file_that_shrinks_closes_the_connection(
    tmp_path: Path, reports: list[Report]
) -> None:
    big = tmp_path / "big"
    with big.open("wb") as made:
        made.truncate(BIG_SIZE)
    with development_server(application(big)) as port:
        with Client(port, receive_buffer=16384) as client:
            client.send().socket.recv(1)
            os.close(os.open(big, os.O_RDONLY | os.O_TRUNC))
            rest = b""
            with contextlib.suppress(ConnectionError):
                while data := client.socket.recv(1_000_000):
                    rest += data
        eventually(lambda: reports, "a report")

    assert len(rest) < BIG_SIZE
    assert reports[0].outcome in ("truncated", "changed")


def test_a_pipe(served: tuple[int, str], reports: list[Report]) -> None:
    """Where the server frames the body, it is copied."""
    answer = ask(served[0], "/pipe")

    assert (answer.status, answer.complete, answer.body) == (200, True, CONTENT)
    eventually(lambda: reports, "a report")
    assert reports[0].outcome == "complete"


def test_a_pipe_whose_length_is_known(
    served: tuple[int, str], reports: list[Report]
) -> None:
    port, strategy = served

    answer = ask(port, "/pipe/sized")

    assert (answer.complete, answer.length, answer.body) == (True, 3 << 20, CONTENT)
    assert answer.headers["content-disposition"] == "attachment; filename=n"
    eventually(lambda: reports, "a report")
    assert reports[0].strategy == ("splice" if strategy == "sendfile" else "copy")

"""Small files, on live servers: one write, and everything else as it always was.

The access log is off but where a test is about it: with it on, each response goes
through the server's own hands.
"""

from __future__ import annotations

import contextlib
import gzip
import logging
import os
import socket
import struct
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route

from tests.asgi.test_middleware import Dispatching, Unknown
from tests.filesystems import Faults, MountFaulty
from tests.live import HOOKED, STACKS, Answer, Client, Server, eventually, serve
from zc_response import Report
from zc_response.asgi import Receive, Scope, Send, ZeroCopyMiddleware
from zc_response.integrations.starlette import FileResponse, StaticFiles

SMALL = bytes(range(256)) * 16  # 4 KiB
LARGE = SMALL * 64
Serve = Callable[..., contextlib.AbstractContextManager[Server]]


def by_protocol(app: Any, http: str, loop: str, **settings: Any) -> Any:
    return serve(app, http=HOOKED[http], loop=loop, **settings)


def by_middleware(app: Any, http: str, loop: str, **settings: Any) -> Any:
    return serve(ZeroCopyMiddleware(app), http=http, loop=loop, **settings)


def by_import(app: Any, http: str, loop: str, **settings: Any) -> Any:
    return serve(app, http=http, loop=loop, **settings)


WAYS = [by_protocol, by_middleware, by_import]
BOTH = [("h11", "asyncio"), ("httptools", "uvloop")]


def _ways(stacks: list[tuple[str, str]]) -> list[Any]:
    return [
        pytest.param((way, stack), id="-".join((way.__name__, *stack)))
        for way in WAYS
        for stack in stacks
    ]


@pytest.fixture
def no_access_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.getLogger("uvicorn.access"), "propagate", False)


def _serve_by(param: Any) -> Serve:
    way, (http, loop) = param
    return lambda app, **settings: way(app, http, loop, **settings)


@pytest.fixture(params=_ways(STACKS))
def everywhere(request: pytest.FixtureRequest, no_access_log: None) -> Serve:
    """Serve an application by each way, on each of uvicorn's stacks."""
    return _serve_by(request.param)


@pytest.fixture(params=_ways(BOTH))
def served(request: pytest.FixtureRequest, no_access_log: None) -> Serve:
    """Serve an application by each way, on two stacks that have little in common."""
    return _serve_by(request.param)


@pytest.fixture(params=BOTH, ids="-".join)
def on_both(request: pytest.FixtureRequest, no_access_log: None) -> Serve:
    """Serve an application by the protocol class, on those two stacks."""
    return _serve_by((by_protocol, request.param))


def files(directory: Path, *middleware: Any, **keywords: Any) -> Starlette:
    """An application that serves files of a directory by a view, and by StaticFiles."""

    async def view(request: Request) -> Response:
        return FileResponse(directory / request.path_params["name"], **keywords)

    async def memory(_request: Request) -> Response:
        return Response(SMALL)

    routes = [
        Route("/memory", memory),
        Mount("/static", StaticFiles(directory=directory)),
        Route("/{name}", view, methods=["GET", "HEAD"]),
    ]
    stack = [m if isinstance(m, Middleware) else Middleware(m) for m in middleware]
    return Starlette(routes=routes, middleware=stack)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    directory = tmp_path / "files"
    directory.mkdir()
    (directory / "small.bin").write_bytes(SMALL)
    (directory / "large.bin").write_bytes(LARGE)
    for path in directory.iterdir():
        os.utime(path, (10**9, 10**9))
    return directory


both_routes = pytest.mark.parametrize("route", ["/", "/static/"])


def segments_in(sock: socket.socket) -> int:
    """How many segments with data have come in (tcpi_data_segs_in)."""
    info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
    return int(struct.unpack_from("I", info, 152)[0])


# The response -----------------------------------------------------------------------


@both_routes
def test_a_small_file_arrives_as_it_is_again_and_again(
    everywhere: Serve, directory: Path, route: str
) -> None:
    sizes = (0, 1, 4096, 65535, 65536, 65537)
    for size in sizes:
        (directory / f"{size}.txt").write_bytes(LARGE[:size])
        os.utime(directory / f"{size}.txt", (10**9, 10**9))
    with everywhere(files(directory)) as server, server.client() as client:
        for _ in range(3):
            for size in sizes:
                answer = client.get(f"{route}{size}.txt")
                assert (answer.status, answer.body) == (200, LARGE[:size])
                assert answer.reusable
                fields = dict(answer.headers)
                assert fields.pop("date")
                assert fields.pop("etag").startswith('"')
                assert fields == {
                    "server": "uvicorn",
                    "content-type": "text/plain; charset=utf-8",
                    "content-length": str(size),
                    "accept-ranges": "bytes",
                    "last-modified": "Sun, 09 Sep 2001 01:46:40 GMT",
                }


@both_routes
def test_head_and_body_leave_in_one_write(
    everywhere: Serve, directory: Path, route: str
) -> None:
    with everywhere(files(directory)) as server, server.client() as client:
        for number in range(1, 6):
            assert client.get(f"{route}small.bin").body == SMALL
            assert segments_in(client.socket) == number


def test_a_body_from_memory_leaves_in_one_write_too(
    on_both: Serve, directory: Path
) -> None:
    with on_both(files(directory)) as server, server.client() as client:
        for number in range(1, 4):
            assert client.get("/memory").body == SMALL
            assert segments_in(client.socket) == number


def test_a_small_range_of_a_large_file_leaves_in_one_write(
    served: Serve, directory: Path
) -> None:
    with served(files(directory)) as server, server.client() as client:
        for number in range(1, 4):
            answer = client.get("/large.bin", {"range": "bytes=1000-1999"})
            assert (answer.status, answer.body) == (206, LARGE[1000:2000])
            assert answer.headers["content-range"] == f"bytes 1000-1999/{len(LARGE)}"
            assert segments_in(client.socket) == number


@both_routes
def test_head_requests_and_304_have_no_body(
    served: Serve, directory: Path, route: str
) -> None:
    """And the next response on the connection is found where it should be."""
    target = f"{route}small.bin"
    with served(files(directory)) as server, server.client() as client:
        for _ in range(3):
            whole = client.get(target)
            assert whole.body == SMALL
            head = client.head(target)
            assert (head.status, head.body) == (200, b"")
            assert head.headers["content-length"] == str(len(SMALL))
            tag = {"if-none-match": whole.headers["etag"]}
            unchanged = client.get(target, tag)
            assert (unchanged.status, unchanged.body) == (304, b"")
            assert unchanged.headers["etag"] == whole.headers["etag"]


def test_reports_come_for_small_files_too(
    served: Serve, directory: Path, reports: list[Report]
) -> None:
    with served(files(directory)) as server, server.client() as client:
        client.get("/small.bin")
        eventually(lambda: reports)

    assert [(r.strategy, r.reason, r.sent) for r in reports] == [
        ("copy", "small", len(SMALL))
    ]


# The connection ---------------------------------------------------------------------


def request(target: str, *fields: str) -> bytes:
    lines = [f"GET {target} HTTP/1.1", "Host: test", *fields, "", ""]
    return "\r\n".join(lines).encode()


def test_pipelined_with_others_it_comes_in_its_turn(
    served: Serve, directory: Path
) -> None:
    targets = ["/small.bin", "/large.bin", "/memory", "/static/small.bin"] * 3
    expected = {"/large.bin": LARGE}
    with served(files(directory)) as server, server.client() as client:
        client.send_raw(b"".join(map(request, targets)))
        for target in targets:
            answer = client.expect(target).receive()
            assert answer.body == expected.get(target, SMALL), target


def test_garbage_behind_it_is_never_answered_inside_of_it(
    served: Serve, directory: Path
) -> None:
    with served(files(directory)) as server:
        for rounds in range(3):
            with server.client() as client:
                for _ in range(rounds):
                    client.get("/small.bin")
                client.send_raw(request("/small.bin") + b"\0garbage\r\n\r\n")
                received = everything(client)
            heads = received.count(b"HTTP/1.1 ")
            if received.startswith(b"HTTP/1.1 200"):
                body = received.partition(b"\r\n\r\n")[2]
                assert body.startswith(SMALL)
                assert body[len(SMALL) :].startswith(b"HTTP/1.1 400") or heads == 1
            else:  # httptools finds the garbage before anybody is asked
                assert received.startswith(b"HTTP/1.1 400")
                assert heads == 1


def test_garbage_that_comes_later_is_answered_after_it(
    served: Serve, directory: Path
) -> None:
    with served(files(directory)) as server, server.client() as client:
        assert client.get("/small.bin").body == SMALL
        client.send_raw(b"\0garbage\r\n\r\n")

        assert everything(client).startswith(b"HTTP/1.1 400")


def everything(client: Client) -> bytes:
    """All that comes until the connection ends."""
    received = b""
    with contextlib.suppress(ConnectionResetError):
        while data := client.socket.recv(65536):
            received += data
    return received


def test_a_client_that_asks_to_close_is_told_so_and_closed(
    served: Serve, directory: Path
) -> None:
    """Also when the same file went over a connection that stayed open before."""
    with served(files(directory)) as server:
        for _ in range(3):
            with server.client() as client:
                kept = client.get("/small.bin")
                assert "connection" not in kept.headers
                answer = client.get("/small.bin", {"connection": "close"})
                assert answer.body == SMALL
                assert answer.headers["connection"] == "close"
                assert client.socket.recv(1) == b""


def test_an_application_that_asks_to_close_is_obeyed(
    served: Serve, directory: Path
) -> None:
    app = files(directory, headers={"connection": "close"})
    with served(app) as server:
        for _ in range(3):
            with server.client() as client:
                answer = client.get("/small.bin")
                assert (answer.body, answer.headers["connection"]) == (SMALL, "close")
                assert client.socket.recv(1) == b""


def test_http_1_0_gets_the_body_and_the_end_of_the_connection(
    served: Serve, directory: Path
) -> None:
    with served(files(directory)) as server:
        for _ in range(2):
            with server.client() as client:
                client.send_raw(b"GET /small.bin HTTP/1.0\r\n\r\n")
                assert everything(client).partition(b"\r\n\r\n")[2] == SMALL


def test_a_client_that_does_not_read_gets_every_byte_later(
    on_both: Serve, directory: Path
) -> None:
    """More responses than its connection can hold, all asked for at once."""
    (directory / "full.bin").write_bytes(LARGE[:65536])
    count = 200
    with on_both(files(directory)) as server:
        with server.client(receive_buffer=8192) as client:
            threading.Thread(
                target=client.send_raw, args=[request("/full.bin") * count]
            ).start()
            for _ in range(count):
                assert client.expect("/full.bin").receive().body == LARGE[:65536]


# What the server adds ---------------------------------------------------------------


def test_the_access_log_has_one_line_for_each_response(
    directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "uvicorn.access")
    for way in WAYS:
        for http, loop in BOTH:
            caplog.clear()
            with way(files(directory), http, loop, access_log=True) as server:
                with server.client() as client:
                    for target in ("/small.bin?a=b", "/static/small.bin", "/none"):
                        client.get(target)
            lines = [r.getMessage() for r in caplog.records if "access" in r.name]
            assert [line.partition(" - ")[2] for line in lines] == [
                '"GET /small.bin?a=b HTTP/1.1" 200',
                '"GET /static/small.bin HTTP/1.1" 200',
                '"GET /none HTTP/1.1" 404',
            ]


def test_the_date_goes_on(on_both: Serve, directory: Path) -> None:
    with on_both(files(directory)) as server, server.client() as client:
        first = client.get("/small.bin").headers["date"]
        assert client.get("/memory").headers["date"] >= first

        eventually(lambda: client.get("/small.bin").headers["date"] != first)
        assert client.get("/memory").headers["date"] != first


def test_the_servers_own_fields_are_those_of_its_settings(
    served: Serve, directory: Path
) -> None:
    settings = {"headers": [("x-own", "1")], "server_header": False}
    app = files(directory)
    with served(app, date_header=False, **settings) as server:
        with server.client() as client:
            for _ in range(3):
                answer = client.get("/small.bin")
                assert answer.headers["x-own"] == "1"
                assert not {"server", "date"} & answer.headers.keys()


@pytest.mark.parametrize("stack", STACKS, ids="-".join)
@pytest.mark.usefixtures("no_access_log")
def test_two_servers_in_one_process_do_not_mix_their_fields(
    directory: Path, stack: tuple[str, str]
) -> None:
    """Though they share the open file, and run in two threads at the same time."""
    http, loop = stack
    wrong: list[str] = []

    def ask(server: Server, own: str) -> None:
        with server.client() as client:
            for _ in range(150):
                found = client.get("/small.bin").headers["x-own"]
                if found != own:
                    wrong.append(f"{found} instead of {own}")

    interval = sys.getswitchinterval()
    with contextlib.ExitStack() as servers:
        asking = []
        for own in ("1", "2", "3"):
            settings = {"headers": [("x-own", own)], "date_header": False}
            app = files(directory)
            server = servers.enter_context(by_protocol(app, http, loop, **settings))
            asking.append(threading.Thread(target=ask, args=[server, own]))
        sys.setswitchinterval(1e-6)
        try:
            for thread in asking:
                thread.start()
            for thread in asking:
                thread.join()
        finally:
            sys.setswitchinterval(interval)

    assert not wrong


# Middleware -------------------------------------------------------------------------


class Raw:
    """A middleware of the kind that needs no framework: it adds a field."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def adding(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"].append((b"x-raw", b"yes"))
            await send(message)

        await self.app(scope, receive, adding)


class Remembering(BaseHTTPMiddleware):
    """Changes the session, so that its cookie has to be set."""

    async def dispatch(self, request: Request, call_next: Any) -> Response:
        request.session["seen"] = "yes"
        response: Response = await call_next(request)
        return response


def adds(name: str) -> Callable[[Answer, bytes], bool]:
    return lambda answer, content: name in answer.headers and answer.body == content


def compresses(answer: Answer, content: bytes) -> bool:
    encoded = answer.headers.get("content-encoding") == "gzip"
    return encoded and gzip.decompress(answer.body) == content


def shouts(answer: Answer, content: bytes) -> bool:
    return answer.body == content.upper() != content


CORS = Middleware(CORSMiddleware, allow_origins=["http://elsewhere"])
SESSION = Middleware(SessionMiddleware, secret_key="secret")
GZIP = Middleware(GZipMiddleware, minimum_size=1)
COMPANY: dict[str, tuple[list[Any], Callable[[Answer, bytes], bool]]] = {
    "cors": ([CORS], adds("access-control-allow-origin")),
    "session": ([SESSION, Remembering], adds("set-cookie")),
    "gzip": ([GZIP], compresses),
    "dispatching": ([Dispatching], adds("x-dispatched")),
    "raw": ([Raw], adds("x-raw")),
    "changing": ([Unknown], shouts),
    "raw in cors": ([CORS, Raw], adds("x-raw")),
    "cors in raw": ([Raw, CORS], adds("access-control-allow-origin")),
}


@pytest.mark.parametrize(("stack", "works"), COMPANY.values(), ids=COMPANY)
def test_no_middleware_is_ever_bypassed(
    served: Serve,
    directory: Path,
    stack: list[Any],
    works: Callable[[Answer, bytes], bool],
) -> None:
    """But where our own stands outside of one that compresses: it was asked to."""
    content = {"small.txt": b"small " * 100, "large.txt": b"large " * 100_000}
    for name, data in content.items():
        (directory / name).write_bytes(data)
    browser = {"origin": "http://elsewhere", "accept-encoding": "gzip"}
    with served(files(directory, *stack)) as server, server.client() as client:
        for _ in range(2):
            for name in ("small.txt", "static/small.txt"):
                answer = client.get(f"/{name}", browser)
                assert works(answer, content["small.txt"]), (name, answer.headers)
            answer = client.get("/large.txt", browser)
            assert answer.status == 200
            plain = stack in ([GZIP], [Unknown])
            assert plain or works(answer, content["large.txt"]), answer.headers


# The application --------------------------------------------------------------------


def test_background_tasks_run_after_the_last_byte(
    served: Serve, directory: Path
) -> None:
    client_has_it = threading.Event()
    ran: list[bool] = []

    def task() -> None:
        ran.append(client_has_it.wait(10))

    app = files(directory, background=BackgroundTask(task))
    with served(app) as server, server.client() as client:
        assert client.get("/small.bin").body == SMALL
        client_has_it.set()
        eventually(lambda: ran)

    assert ran == [True]


def test_an_exception_in_a_background_task_is_reported_as_ever(
    served: Serve, directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The response is whole, the log has the traceback, the server ends the line."""

    def task() -> None:
        raise LookupError("in the background")

    app = files(directory, background=BackgroundTask(task))
    with served(app) as server:
        for _ in range(2):
            caplog.clear()
            with server.client() as client:
                assert client.get("/small.bin").body == SMALL
                assert client.socket.recv(1) == b""
            eventually(lambda: errors(caplog))
            assert errors(caplog) == ["LookupError"]


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The kinds of exceptions in the server's log."""
    return [
        type(record.exc_info[1]).__name__
        for record in caplog.records
        if record.levelname == "ERROR" and record.exc_info
    ]


@both_routes
def test_a_file_replaced_or_rewritten_between_two_requests_is_never_stale(
    served: Serve, directory: Path, route: str
) -> None:
    path = directory / "small.bin"
    with served(files(directory)) as server, server.client() as client:
        for generation in range(60):
            content = b"%02d" % generation * (100 + generation % 3)
            if generation % 2:
                path.write_bytes(content)
            else:
                (directory / "new").write_bytes(content)
                (directory / "new").replace(path)
            answer = client.get(f"{route}small.bin")
            assert answer.body == content
            assert answer.length == len(content)


@both_routes
def test_a_file_that_is_deleted_and_comes_again_is_missing_meanwhile(
    served: Serve, directory: Path, route: str
) -> None:
    path = directory / "small.bin"
    with served(files(directory)) as server, server.client() as client:
        for _ in range(3):
            assert client.get(f"{route}small.bin").status == 200
            path.unlink()
            assert client.get(f"{route}small.bin").status == 404
            path.write_bytes(SMALL)


def test_a_disk_error_is_an_honest_500(
    served: Serve, faulty_mount: MountFaulty, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing of the response has left by then; and the server lives."""
    mount = faulty_mount(SMALL, Faults(read_error_from=0))
    with served(files(mount.directory)) as server:
        with server.client() as client:
            answer = client.get("/file")
            assert answer.status == 500
            assert SMALL[:100] not in answer.body
        eventually(lambda: "OSError" in errors(caplog))
        mount.inject(Faults())
        with server.client() as client:
            assert client.get("/file").body == SMALL


def test_a_file_that_ends_too_early_is_looked_at_again_and_refused(
    served: Serve, faulty_mount: MountFaulty, caplog: pytest.LogCaptureFixture
) -> None:
    """As one that shrinks between the look at it and the read, which is no error."""
    mount = faulty_mount(SMALL, Faults(data_ends_at=0))
    with served(files(mount.directory)) as server, server.client() as client:
        answer = client.get("/file")

    assert (answer.status, answer.headers["retry-after"]) == (503, "1")
    assert "changed while it was looked at" in caplog.text

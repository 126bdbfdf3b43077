"""PipeResponse: what a process writes reaches the client, whole or visibly not."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
import trustme
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from tests.live import HOOKED, STACKS, eventually, serve
from zc_response import NotStreamError, Policy, Report
from zc_response.integrations.starlette import PipeResponse
from zc_response.sources import producers

SIZE = 5_000_000
MANY = ["head", "-c", str(SIZE), "/dev/zero"]
Make = Callable[[], Response]
Serve = Callable[..., Any]

WAYS = {
    "hooked": [{"http": HOOKED[http], "loop": loop} for http, loop in STACKS],
    "import alone": [{"http": http, "loop": loop} for http, loop in STACKS[1:3]],
}


@pytest.fixture(
    params=[way for ways in WAYS.values() for way in ways],
    ids=lambda way: f"{getattr(way['http'], '__name__', way['http'])}-{way['loop']}",
)
def served(request: pytest.FixtureRequest) -> Serve:
    """Serve by our protocols and by uvicorn's own."""
    return lambda app, **more: serve(app, **(request.param | more))


@pytest.fixture
def brief() -> Serve:
    """Serve in one way, where the way makes no difference."""
    return lambda app, **more: serve(app, http=HOOKED["httptools"], **more)


def answering(make: Make, *middleware: Middleware) -> Any:
    async def view(_request: Request) -> Response:
        return make()

    routes = [Route("/", view, methods=["GET", "HEAD"])]
    return Starlette(routes=routes, middleware=middleware)


def sh(script: str, **options: Any) -> Make:
    return lambda: PipeResponse(["sh", "-c", script], **options)


def length(count: int) -> dict[str, str]:
    return {"content-length": str(count)}


def test_a_command_s_output_arrives_in_chunks(
    served: Serve, reports: list[Report]
) -> None:
    with served(answering(lambda: PipeResponse(MANY))) as server:
        with server.client() as client:
            for _ in range(2):  # the connection stays usable
                answer = client.get()
                assert answer.headers["transfer-encoding"] == "chunked"
                assert (answer.complete, answer.body) == (True, bytes(SIZE))
    assert [(r.strategy, r.outcome, r.sent) for r in reports] == [
        ("splice", "complete", SIZE)
    ] * 2


def test_a_length_that_is_known_is_kept(served: Serve, reports: list[Report]) -> None:
    with served(answering(partial(PipeResponse, MANY, 200, length(SIZE)))) as server:
        with server.client() as client:
            for _ in range(2):
                answer = client.get()
                assert (answer.complete, answer.length) == (True, SIZE)
                assert answer.body == bytes(SIZE)
    assert {report.strategy for report in reports} == {"splice"}


@pytest.mark.parametrize(
    ("script", "headers"),
    [
        ("head -c 200000 /dev/zero; exit 1", {}),
        ("head -c 200000 /dev/zero; exit 1", length(200_000)),
        ("head -c 200000 /dev/zero; kill -9 $$", {}),
        ("head -c 200000 /dev/zero", length(200_001)),
        ("head -c 200001 /dev/zero", length(200_000)),
    ],
)
def test_a_producer_that_fails_ends_the_response_visibly(
    served: Serve, script: str, headers: dict[str, str], reports: list[Report]
) -> None:
    """And the next response never lands inside of it."""
    with served(answering(sh(script, headers=headers))) as server:
        with server.client() as client:
            client.send()
            client.send_raw(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
            answer = client.receive()

    assert not answer.complete
    assert answer.body == bytes(len(answer.body))
    assert reports[0].outcome in ("failed", "truncated")


def test_a_client_that_leaves_ends_the_process(
    served: Serve, reports: list[Report]
) -> None:
    started: list[subprocess.Popen[bytes]] = []

    def make() -> Response:
        command = ["sh", "-c", "echo hello; exec sleep 600"]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE))
        return PipeResponse(started[0])

    with served(answering(make)) as server:
        with server.client() as client:
            client.send()
            client.socket.recv(1)
        eventually(lambda: reports, "the report")
        eventually(lambda: started[0].returncode is not None, "the process's end")
        eventually(lambda: not server.connections())
    assert started[0].returncode == -signal.SIGTERM
    assert reports[0].outcome == "disconnected"


def test_a_process_that_will_not_end_is_killed(
    brief: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(producers, "KILL_SECONDS", 0.1)
    started: list[subprocess.Popen[bytes]] = []

    def make() -> Response:
        script = "trap '' TERM PIPE; echo hello; while :; do sleep 0.1; done"
        process = subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE)
        started.append(process)
        return PipeResponse(process)

    with brief(answering(make)) as server, server.client() as client:
        client.send()
        client.socket.recv(1)
        client.reset()
        eventually(lambda: started[0].returncode is not None, "the process's end")
    assert started[0].returncode == -signal.SIGKILL


def test_what_a_command_has_started_ends_with_it(brief: Serve, tmp_path: Path) -> None:
    note = tmp_path / "pid"
    script = f"sleep 600 & echo $! > {note}.new; mv {note}.new {note}; echo x; wait"
    with brief(answering(sh(script))) as server, server.client() as client:
        client.send()
        eventually(note.exists, "the start")
        client.reset()
        child = Path(f"/proc/{note.read_text().strip()}/stat")
        eventually(lambda: not _runs(child), "the end of the child")


def _runs(stat: Path) -> bool:
    try:
        return stat.read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_client_that_does_not_read_holds_the_producer_up(brief: Serve) -> None:
    out, into = os.pipe()
    os.set_blocking(into, False)
    with open(into, "wb", buffering=0) as writer:
        with brief(answering(lambda: PipeResponse(out))) as server:
            with server.client(receive_buffer=16384) as client:
                client.send()
                client.socket.recv(1, socket.MSG_PEEK)
                total = _write_until_full(writer)
                assert total < 20_000_000
                client.reset()


def _write_until_full(writer: Any) -> int:
    """How much goes into a pipe until nothing has been taken for a while."""
    total, quiet = 0, 0
    while quiet < 20:
        count = writer.write(bytes(65536))
        total += count or 0
        quiet = 0 if count else quiet + 1
        time.sleep(0 if count else 0.01)
    return total


@pytest.mark.parametrize("headers", [{}, length(SIZE)])
def test_head_starts_no_command(
    served: Serve, tmp_path: Path, headers: dict[str, str]
) -> None:
    note = tmp_path / "started"
    with served(answering(sh(f"touch {note}", headers=headers))) as server:
        with server.client() as client:
            answer = client.head()
            assert (answer.status, answer.body, answer.complete) == (200, b"", True)
    assert not note.exists()


@pytest.mark.parametrize("status", [204, 304])
def test_where_no_body_may_follow_the_process_is_ended(
    served: Serve, status: int
) -> None:
    started: list[subprocess.Popen[bytes]] = []

    def make() -> Response:
        started.append(subprocess.Popen(["cat", "/dev/zero"], stdout=subprocess.PIPE))
        return PipeResponse(started[-1], status)

    with served(answering(make)) as server, server.client() as client:
        for _ in range(2):
            assert client.get().body == b""
        eventually(lambda: all(p.returncode is not None for p in started))


def regular_file(path: Path) -> Any:
    return (path / "file").open("w+b")


def closed_file(path: Path) -> Any:
    file = regular_file(path)
    file.close()
    return file


@pytest.mark.parametrize(
    "make",
    [
        regular_file,
        closed_file,
        lambda _path: 999_999,
        lambda _path: ["/no/such/program"],
        lambda _path: socket.socket(),
        lambda _path: subprocess.Popen(["true"]),
        lambda path: (path / "text").open("w+"),
    ],
)
def test_what_cannot_be_streamed_is_an_error_before_the_response(
    brief: Serve, tmp_path: Path, make: Callable[[Path], Any]
) -> None:
    with brief(answering(lambda: PipeResponse(make(tmp_path)))) as server:
        with server.client() as client:
            assert client.get().status == 500


def test_a_regular_file_is_named_as_the_mistake(tmp_path: Path) -> None:
    app = answering(lambda: PipeResponse(lambda: regular_file(tmp_path)))
    with TestClient(app) as client:
        with pytest.raises(NotStreamError, match="a regular file is neither a pipe"):
            client.get("/")


def test_what_was_read_ahead_is_not_lost(brief: Serve) -> None:
    def make() -> Response:
        process = subprocess.Popen(["seq", "100000"], stdout=subprocess.PIPE)
        assert process.stdout is not None
        assert process.stdout.readline() == b"1\n"
        return PipeResponse(process)

    with brief(answering(make)) as server, server.client() as client:
        assert (
            client.get().body == "".join(f"{i}\n" for i in range(2, 100_001)).encode()
        )


def test_a_socket_can_be_sent(served: Serve, reports: list[Report]) -> None:
    near, far = socket.socketpair()

    def speak() -> None:
        with far:
            far.sendall(bytes(SIZE))

    speaker = threading.Thread(target=speak)
    speaker.start()
    with served(answering(lambda: PipeResponse(near))) as server:
        with server.client() as client:
            assert client.get().body == bytes(SIZE)
    speaker.join()
    assert reports[0].strategy == "splice"


async def pass_on(
    request: Request, call_next: Callable[[Request], Awaitable[Response]]
) -> Response:
    response = await call_next(request)
    response.headers["x-seen"] = "yes"
    return response


MIDDLEWARE = [
    Middleware(BaseHTTPMiddleware, dispatch=pass_on),
    Middleware(GZipMiddleware),
]


@pytest.mark.parametrize("middleware", MIDDLEWARE, ids=lambda m: m.cls.__name__)
def test_middleware_does_not_come_between(brief: Serve, middleware: Any) -> None:
    app = answering(lambda: PipeResponse(MANY), middleware)
    with brief(app) as server, server.client() as client:
        answer = client.get("/", {"accept-encoding": "identity"})
        assert (answer.complete, answer.body) == (True, bytes(SIZE))


# Where splice cannot be had ----------------------------------------------------------


@pytest.mark.parametrize("headers", [{}, length(SIZE)])
def test_behind_an_unknown_server_it_is_copied(
    headers: dict[str, str], reports: list[Report]
) -> None:
    with TestClient(answering(lambda: PipeResponse(MANY, headers=headers))) as client:
        assert client.get("/").content == bytes(SIZE)
    assert [(r.strategy, r.outcome, r.sent) for r in reports] == [
        ("copy", "complete", SIZE)
    ]


@pytest.fixture
def tls(tmp_path: Path) -> tuple[trustme.CA, dict[str, str]]:
    authority, path = trustme.CA(), tmp_path / "certificate.pem"
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(path)
    return authority, {"ssl_certfile": str(path), "ssl_keyfile": str(path)}


def test_over_tls_it_is_copied_and_a_client_that_leaves_ends_the_process(
    brief: Serve, tls: tuple[trustme.CA, dict[str, str]], reports: list[Report]
) -> None:
    authority, settings = tls
    context = ssl.create_default_context()
    authority.configure_trust(context)
    app = answering(sh("head -c 300000 /dev/zero; exec sleep 600"))
    with brief(app, **settings) as server:
        with server.client() as client:
            client.socket = context.wrap_socket(
                client.socket, server_hostname="localhost"
            )
            client.send()
            received = 0
            while received < 300_000:
                received += len(client.socket.recv(65536))
        eventually(lambda: reports, "the report")
    assert (reports[0].strategy, reports[0].reason) == ("copy", "TLS")
    assert reports[0].outcome == "cancelled"


def test_switched_off_a_failure_is_as_visible(
    brief: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PipeResponse, "policy", Policy(zero_copy=False))
    for headers in ({}, length(200_000)):
        app = answering(sh("head -c 200000 /dev/zero; exit 1", headers=headers))
        with brief(app) as server, server.client() as client:
            assert not client.get().complete


def test_it_is_a_streaming_response_that_others_can_iterate() -> None:
    async def main() -> bytes:
        response = PipeResponse(["echo", "hello"])
        assert isinstance(response, StreamingResponse)
        parts = [part async for part in response.body_iterator]
        return b"".join(part for part in parts if isinstance(part, bytes))

    assert anyio.run(main) == b"hello\n"

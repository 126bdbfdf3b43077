"""Bodies that an application has in memory, lent to the kernel by real servers."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.asgi.apps import App, body, sending, start
from tests.asgi.conftest import BIG, CONTENT, SMALL_WINDOW, Serve
from tests.asgi.test_system_calls import traced
from tests.lending import gather, lead_elsewhere
from tests.live import eventually, serve
from zc_response import Policy, Report
from zc_response.asgi import ZeroCopyMiddleware
from zc_response.cli.bench import relay
from zc_response.cli.bench.relay import Remote
from zc_response.kernel import sockets, zerocopy
from zc_response.transmit import Strategy, loans, peers
from zc_response.transmit.memory import COPIED

LEAST = 1024 * 1024
LENDING = Policy(zerocopy_min=LEAST, stall_timeout=2.0)


def answering(*messages: dict[str, Any], policy: Policy = LENDING) -> Any:
    return ZeroCopyMiddleware(sending(*messages), policy)


def whole(data: object) -> App:
    """An application that has its body in memory."""
    message: dict[str, Any] = {"type": "http.response.body", "body": data}
    size = len(data)  # type: ignore[arg-type]
    app: App = answering(start(content_length=size), message)
    return app


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients are on another host, behind a card that reads what is lent."""
    lead_elsewhere(monkeypatch)
    gather(monkeypatch)


@pytest.mark.usefixtures("elsewhere")
def test_a_large_body_is_lent_and_the_connection_goes_on(
    plain: Serve, reports: list[Report]
) -> None:
    with plain(whole(BIG)) as server, server.client() as client:
        for _ in range(3):
            answer = client.get()
            assert (answer.body == BIG, answer.complete, answer.reusable) == (
                True,
                True,
                True,
            )
        assert client.head().body == b""
        eventually(lambda: len(reports) == 3)
    for report in reports:
        assert (report.strategy, report.path) == ("zerocopy", "in memory")
        assert report.reason == "in memory, and a client on another host"
        assert (report.sent, report.outcome) == (len(BIG), "complete")


@pytest.mark.usefixtures("elsewhere")
def test_it_is_of_frameworks_too_and_behind_middleware_that_changes_nothing(
    plain: Serve, reports: list[Report]
) -> None:
    async def view(_request: Request) -> Response:
        return Response(CONTENT)

    app = Starlette(
        routes=[Route("/", view)],
        middleware=[
            Middleware(ZeroCopyMiddleware, LENDING),
            Middleware(CORSMiddleware, allow_origins=["*"]),
        ],
    )
    with plain(app) as server, server.client() as client:
        assert client.get("/", {"origin": "http://a"}).body == CONTENT
        eventually(lambda: reports)
    assert [report.strategy for report in reports] == ["zerocopy"]


def test_a_client_on_this_host_is_never_lent_anything(
    plain: Serve, reports: list[Report]
) -> None:
    with plain(whole(CONTENT)) as server, server.client() as client:
        assert client.get().body == CONTENT
    assert reports == []


@pytest.mark.usefixtures("elsewhere")
@pytest.mark.parametrize(
    "app",
    [
        whole(CONTENT[: LEAST - 1]),
        whole(bytearray(CONTENT)),
        whole(memoryview(CONTENT)),
        answering(start(content_length=LEAST), body(CONTENT[:LEAST], more=True)),
        answering(start(), body(CONTENT)),
        answering(start(content_length=len(CONTENT)), body(CONTENT), policy=Policy()),
        answering(
            start(content_length=len(CONTENT)),
            body(CONTENT),
            policy=Policy(zerocopy_min=LEAST, zero_copy=False),
        ),
    ],
    ids=[
        "too small",
        "can be changed",
        "can perhaps be changed",
        "more is to come",
        "nobody said how long it is",
        "off, as it is if nothing is set",
        "no zero copy at all",
    ],
)
def test_nothing_else_is_lent(
    reports: list[Report], monkeypatch: pytest.MonkeyPatch, app: App
) -> None:
    monkeypatch.setattr(peers, "may_lend", lambda _fd: True)
    with serve(app, http="h11", loop="asyncio") as server, server.client() as client:
        client.get()
    assert reports == []


@pytest.mark.usefixtures("elsewhere")
def test_a_client_that_leaves_midway_costs_nothing_but_its_connection(
    plain: Serve, reports: list[Report]
) -> None:
    with plain(whole(BIG)) as server:
        with server.client(receive_buffer=SMALL_WINDOW) as client:
            client.send()
            client.socket.recv(1000)
            client.reset()
        eventually(lambda: reports)
        eventually(lambda: server.connections() == 0)
        with server.client() as client:
            assert client.get().body == BIG
    assert reports[0].outcome == "disconnected"
    assert not loans._kept


@pytest.mark.usefixtures("elsewhere")
def test_one_that_stalls_is_cut_off(plain: Serve, reports: list[Report]) -> None:
    with plain(whole(BIG)) as server:
        with server.client(receive_buffer=SMALL_WINDOW) as client:
            client.send()
            eventually(lambda: reports)
            assert not client.receive().complete
        eventually(lambda: server.connections() == 0)
    assert (reports[0].strategy, reports[0].outcome) == ("zerocopy", "stalled")


@pytest.mark.usefixtures("elsewhere")
def test_until_then_nobody_asks_again_and_again(
    plain: Serve, reports: list[Report], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though the error queue is told of with everything that a loop waits for."""
    asked: list[object] = []
    notices = zerocopy.notices

    def counted(sock: sockets.Socket) -> zerocopy.Notices:
        asked.append(sock)
        return notices(sock)

    monkeypatch.setattr(zerocopy, "notices", counted)
    with plain(whole(BIG)) as server:
        with server.client(receive_buffer=SMALL_WINDOW) as client:
            client.send()
            client.socket.recv(100_000)
            eventually(lambda: reports)
    assert 0 < len(asked) < 300


# Another host, in a network namespace -----------------------------------------------

CLIENT = """\
import hashlib, sys, urllib.request
for _ in range(2):
    with urllib.request.urlopen(sys.argv[1], timeout=20) as answer:
        print(hashlib.sha256(answer.read()).hexdigest())
"""


@pytest.fixture
def there(monkeypatch: pytest.MonkeyPatch) -> Iterator[Remote]:
    if missing := relay.why_not():
        pytest.skip(f"no other host here: {missing}")
    monkeypatch.setattr(peers, "_copied_at", {})
    with relay.remote(60) as there:
        yield there


def test_another_host_behind_a_device_that_copies_is_lent_to_once(
    there: Remote, reports: list[Report]
) -> None:
    """A TUN device has what is lent copied: the kernel says so, and is believed."""
    with serve(whole(BIG), http="httptools", address=there.host) as server:
        client = [sys.executable, "-c", CLIENT, f"http://{there.host}:{server.port}/"]
        got = subprocess.run(
            [*there.inside, *client],
            capture_output=True,
            text=True,
            timeout=50,
            check=True,
        )
        eventually(lambda: reports)

    assert got.stdout.split() == [hashlib.sha256(BIG).hexdigest()] * 2
    (report,) = reports
    assert (report.strategy, report.reason) == ("copy", COPIED)


# What strace sees -------------------------------------------------------------------

WITNESSED = {Strategy.ZEROCOPY}
"""What a test here has seen at work."""

APP = """
import sys
import uvicorn
from pytest import MonkeyPatch
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route
from tests.lending import gather, lead_elsewhere
lead_elsewhere(MonkeyPatch())
gather(MonkeyPatch())
data = open(sys.argv[1], "rb").read()
async def view(request):
    return Response(data)
uvicorn.run(
    Starlette(routes=[Route("/", view)]), fd=int(sys.argv[2]), log_level="error",
    http="zc_response.integrations.uvicorn:" + sys.argv[3], loop=sys.argv[4],
    limit_max_requests=3,
)
"""


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("http", ["ZeroCopyH11Protocol", "ZeroCopyHttpToolsProtocol"])
def test_strace_sees_the_flag_and_the_error_queue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, http: str, loop: str
) -> None:
    monkeypatch.setenv("ZC_RESPONSE_ZEROCOPY_MIN", str(LEAST))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    path, trace = tmp_path / "file", tmp_path / "trace"
    path.write_bytes(CONTENT)
    with traced(path, trace, http, loop, APP) as client:
        for _ in range(3):
            assert client.get().body == CONTENT

    seen = trace.read_text()
    lent = re.findall(r"sendto\(.*MSG_ZEROCOPY.*= (\d+)$", seen, re.MULTILINE)
    assert sum(map(int, lent)) == 3 * len(CONTENT)
    assert re.search(r"recvmsg\(.*SO_EE_ORIGIN_ZEROCOPY|ee_origin=", seen)

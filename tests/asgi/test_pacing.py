"""Rates, stalls and what the kernel may hold: read back from the server's sockets."""

from __future__ import annotations

import socket
import struct
import time
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from tests.asgi.conftest import CONTENT, Serve
from tests.live import Client, Server, eventually
from zc_response import Policy, Report
from zc_response.integrations.starlette import FileResponse

BIG = CONTENT * 8  # 24 MiB: more than the buffers of a connection take
SMALL_WINDOW = 16384
UNPACED = 2**64 - 1
RATE = 50_000_000


@pytest.fixture
def big(tmp_path: Path) -> Path:
    path = tmp_path / "big.bin"
    path.write_bytes(BIG)
    return path


def application(file: Path, **settings: Any) -> Starlette:
    """A file by the policy's rate, by its own, and by none; and none at all."""

    class Download(FileResponse):
        policy = Policy(**settings)

    async def by_policy(_request: Request) -> Response:
        return Download(file)

    async def paced(_request: Request) -> Response:
        response = Download(file)
        response.max_rate = RATE
        return response

    async def unpaced(_request: Request) -> Response:
        response = Download(file)
        response.max_rate = 0
        return response

    async def quick(_request: Request) -> Response:
        return PlainTextResponse("quick")

    views = {"/": by_policy, "/paced": paced, "/unpaced": unpaced, "/quick": quick}
    return Starlette(routes=[Route(path, view) for path, view in views.items()])


def server_side(server: Server) -> Any:
    """The server's socket of its only connection."""
    eventually(server.connections)
    (protocol,) = server.uvicorn.server_state.connections
    return protocol.transport.get_extra_info("socket")


def rate_of(server: Server) -> int:
    value = server_side(server).getsockopt(socket.SOL_SOCKET, 47, 8)
    return int(struct.unpack("Q", value)[0])


def unsent_of(server: Server) -> int:
    return int(server_side(server).getsockopt(socket.IPPROTO_TCP, 25))


def under_way(server: Server) -> None:
    eventually(lambda: server.uvicorn.server_state.tasks)
    time.sleep(0.1)


# Rates ------------------------------------------------------------------------------


@pytest.mark.parametrize(("target", "rate"), [("/paced", RATE), ("/", 2 * RATE)])
def test_a_rate_reaches_the_socket_and_is_off_for_the_next_response(
    served: Serve, big: Path, target: str, rate: int
) -> None:
    app = application(big, max_rate=2 * RATE)
    with served(app) as server, server.client(receive_buffer=SMALL_WINDOW) as client:
        client.send(target)
        eventually(lambda: rate_of(server) == rate)
        assert client.receive(chunk=1 << 20).body == BIG

        assert client.get("/quick").body == b"quick"
        assert rate_of(server) in (UNPACED, 2**32 - 1)


def test_a_response_may_be_exempt_from_the_policys_rate(
    served: Serve, big: Path
) -> None:
    app = application(big, max_rate=RATE)
    with served(app) as server, server.client(receive_buffer=SMALL_WINDOW) as client:
        client.send("/unpaced")
        under_way(server)
        assert rate_of(server) == UNPACED
        assert client.receive(chunk=1 << 20).body == BIG


def test_paced_and_other_responses_take_turns_on_a_connection(
    served: Serve, file: Path
) -> None:
    with served(application(file)) as server, server.client() as client:
        for target in ("/paced", "/", "/quick", "/paced", "/quick"):
            answer = client.get(target)
            assert answer.body == (b"quick" if target == "/quick" else CONTENT)
            assert answer.reusable


def test_a_small_file_is_paced_too(served: Serve, tmp_path: Path) -> None:
    """The pace is off again before the next response begins."""
    small = tmp_path / "small"
    small.write_bytes(b"small")
    with served(application(small)) as server, server.client() as client:
        for _ in range(3):
            assert client.get("/paced").body == b"small"
            assert client.get("/quick").body == b"quick"
            assert rate_of(server) == UNPACED


def test_a_paced_download_takes_no_longer_to_begin_a_pipelined_one(
    served: Serve, file: Path
) -> None:
    with served(application(file)) as server, server.client() as client:
        client.send("/paced")
        client.send_raw(b"GET /quick HTTP/1.1\r\nHost: test\r\n\r\n")
        assert client.receive().body == CONTENT
        assert client.expect("/quick").receive().body == b"quick"


def test_a_slow_pace_is_no_stall(served: Serve, tmp_path: Path) -> None:
    """What waits in the socket for its time has not been refused by the client.

    The kernel does not pace the first ten segments of a connection.
    """
    path = tmp_path / "file"
    path.write_bytes(CONTENT[:100_000])
    app = application(path, max_rate=50_000, stall_timeout=0.5)
    with served(app) as server, server.client(segment=1000) as client:
        answer = client.get("/")

    assert answer.body == CONTENT[:100_000]


# Stalls -----------------------------------------------------------------------------


def test_a_client_that_takes_nothing_is_cut_off(
    served: Serve, big: Path, reports: list[Report], caplog: pytest.LogCaptureFixture
) -> None:
    with served(application(big, stall_timeout=0.5)) as server:
        with server.client(receive_buffer=SMALL_WINDOW) as client:
            client.send("/")
            eventually(lambda: reports)
            eventually(lambda: not server.connections())
            answer = client.receive()
        assert not answer.complete
        assert answer.body == BIG[: len(answer.body)]
        with server.client() as client:
            assert client.get("/").body == BIG

    assert [r.outcome for r in reports] == ["stalled", "complete"]
    assert not [r for r in caplog.records if r.levelname == "ERROR"]


def test_a_client_that_goes_on_reading_is_not(served: Serve, big: Path) -> None:
    """However long the whole takes."""
    with served(application(big, stall_timeout=0.5)) as server:
        with server.client(receive_buffer=SMALL_WINDOW) as client:
            client.send("/")
            received = read_slowly(client, seconds=1.5)
            rest = client.receive(chunk=1 << 20)

    assert len(received) < len(BIG)
    assert rest.body == BIG


def read_slowly(client: Client, seconds: float) -> bytes:
    """Some 4 MB a second, kept for h11 to make sense of."""
    received = b""
    over = time.monotonic() + seconds
    while time.monotonic() < over:
        data = client.socket.recv(65536)
        received += data
        client.protocol.receive_data(data)
        time.sleep(0.015)
    return received


def test_a_client_that_takes_little_by_little_is_not_cut_off(
    served: Serve, big: Path
) -> None:
    """Though its socket is full all the time: progress is what counts."""
    with served(application(big, stall_timeout=1)) as server:
        with server.client(receive_buffer=SMALL_WINDOW) as client:
            client.send("/")
            over = time.monotonic() + 3
            while time.monotonic() < over:
                client.protocol.receive_data(client.socket.recv(4096))
                time.sleep(0.05)
            answer = client.receive(chunk=1 << 20)

    assert answer.body == BIG


# Memory -----------------------------------------------------------------------------


def test_what_the_kernel_may_hold_unsent_is_bounded(served: Serve, big: Path) -> None:
    app = application(big, unsent_bytes=99_000)
    with served(app) as server, server.client(receive_buffer=SMALL_WINDOW) as client:
        client.send("/")
        eventually(lambda: unsent_of(server) == 99_000)
        assert client.receive(chunk=1 << 20).body == BIG


def test_a_stalled_download_leaves_little_in_the_kernel(
    served: Serve, big: Path, reports: list[Report]
) -> None:
    """What is sent and not acknowledged is the peer's window; the rest is bounded."""
    app = application(big, unsent_bytes=128 * 1024, unsent_max=128 * 1024)
    with served(app) as server, server.client(receive_buffer=SMALL_WINDOW) as client:
        client.send("/")
        under_way(server)
        client.reset()
        eventually(lambda: reports)

    step = Policy().step_bytes  # what one call to the kernel may overshoot by
    assert reports[0].sent < 128 * 1024 + step


def test_a_body_that_fits_into_the_bound_needs_none(
    served: Serve, tmp_path: Path
) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(70_000))
    app = application(path, unsent_bytes=128 * 1024)
    with served(app) as server, server.client() as client:
        assert client.get("/").length == 70_000
        assert unsent_of(server) in (0, 2**32 - 1, -1)


def test_a_fast_client_is_given_a_higher_bound(served: Serve, big: Path) -> None:
    app = application(big, unsent_bytes=64 * 1024)
    with served(app) as server, server.client(receive_buffer=1 << 20) as client:
        eventually(lambda: fetches(client) and unsent_of(server) > 64 * 1024)


def fetches(client: Client) -> bool:
    return client.get("/").body == BIG

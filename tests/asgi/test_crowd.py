"""Many at once: nobody starves, and nothing is left when they have gone."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from tests.asgi.conftest import CONTENT, Serve
from tests.live import Client, Server, eventually
from zc_response import Report, guards
from zc_response.integrations.starlette import FileResponse
from zc_response.sources import cache
from zc_response.transmit import asyncio_driver

SMALL_WINDOW = 8192
STALLED = 300
FEW = 13


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "small"
    path.write_bytes(CONTENT[:4096])
    return path


def application(*paths: Path) -> Starlette:
    """Files by their names; and a view that has none."""
    files = {path.name: path for path in paths}

    async def view(request: Request) -> Response:
        return FileResponse(files[request.path_params["name"]])

    async def quick(_request: Request) -> Response:
        return PlainTextResponse("quick")

    return Starlette(routes=[Route("/quick", quick), Route("/{name}", view)])


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@contextlib.contextmanager
def nothing_left(server: Server) -> Iterator[None]:
    """Every descriptor is back when the clients have gone, but for open files.

    And the keeper of leases', who stays for a while when there are none.
    """

    def held() -> int:
        guards.close_all()
        cache.clear_all()
        return descriptors()

    eventually(lambda: not server.connections())
    before = held()
    yield
    eventually(lambda: not server.connections(), "the last connection's end")
    eventually(lambda: held() <= before, "the last descriptor's return")


def ask_quickly(client: Client) -> None:
    assert client.get("/quick").body == b"quick"
    assert client.get("/small").body == CONTENT[:4096]


def test_fifty_downloads_and_quick_requests_all_get_every_byte(
    served: Serve, file: Path, small: Path, reports: list[Report]
) -> None:
    right: list[bool] = []

    def download(server: Server) -> None:
        with server.client() as client:
            answers = [client.get(f"/{file.name}") for _ in range(2)]
        right.extend(answer.body == CONTENT for answer in answers)

    with served(application(file, small)) as server, nothing_left(server):
        threads = [threading.Thread(target=download, args=[server]) for _ in range(50)]
        for thread in threads:
            thread.start()
        with server.client() as client:
            while any(thread.is_alive() for thread in threads):
                ask_quickly(client)
        for thread in threads:
            thread.join()

    assert right == [True] * 100
    assert {r.outcome for r in reports} == {"complete"}


def test_stalled_downloads_hold_a_descriptor_each_and_nobody_up(
    served: Serve,
    file: Path,
    small: Path,
    monkeypatch: pytest.MonkeyPatch,
    reports: list[Report],
) -> None:
    """The connection itself; and when the clients have gone, none."""
    monkeypatch.setattr(asyncio_driver, "PARK_SECONDS", 0.1)
    with served(application(file, small), backlog=1000) as server, nothing_left(server):
        with contextlib.ExitStack() as stack:
            # Two ends of each connection are in this process. The few besides: the
            # listing itself, the cache's file and housekeeper, one for all who wait,
            # and the keeper's three.
            before = descriptors()
            for _ in range(STALLED):
                client = server.client(receive_buffer=SMALL_WINDOW)
                stack.enter_context(client)
                client.send(f"/{file.name}")
            eventually(lambda: len(server.uvicorn.server_state.tasks) == STALLED)
            eventually(lambda: descriptors() <= before + 2 * STALLED + FEW)
            with server.client() as client:
                for _ in range(20):
                    ask_quickly(client)
            assert server.connections() >= STALLED
        eventually(lambda: sum(r.outcome == "disconnected" for r in reports) == STALLED)


def test_stalled_downloads_go_on_when_their_clients_do(
    served: Serve, file: Path, small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asyncio_driver, "PARK_SECONDS", 0.1)
    with served(application(file, small)) as server, nothing_left(server):
        with contextlib.ExitStack() as stack:
            before = descriptors()
            clients = [
                stack.enter_context(server.client(receive_buffer=SMALL_WINDOW))
                for _ in range(40)
            ]
            for client in clients:
                client.send(f"/{file.name}")
            eventually(lambda: len(server.uvicorn.server_state.tasks) == len(clients))
            eventually(lambda: descriptors() <= before + 2 * len(clients) + FEW)
            for client in clients:
                assert client.receive(chunk=1 << 20).body == CONTENT

"""Bodies in memory, lent to the kernel by each worker."""

from __future__ import annotations

import pytest

from tests.gunicorn.conftest import SMALL_WINDOW, WORKERS, Start
from tests.gunicorn.lending_apps import BIG
from tests.gunicorn.running import UVICORN_WORKER, Gunicorn, Row
from tests.live import eventually

LENDING = {"ZC_RESPONSE_ZEROCOPY_MIN": "1000000", "TEST_LENDING": "1"}
APPS = "tests.gunicorn.lending_apps"
EACH = [
    *((worker, "app", "/listed") for worker in WORKERS),
    *((worker, "app", "/generated") for worker in WORKERS),
    *((worker, "flask_app", "/flask") for worker in WORKERS),
    ("asgi", "asgi_app", "/asgi"),
    (UVICORN_WORKER, "asgi_app", "/asgi"),
]


def in_the_end(server: Gunicorn, count: int) -> list[Row]:
    """So many reports, once they are there."""
    eventually(lambda: len(server.reports()) >= count, f"{count} reports")
    return server.reports()


@pytest.mark.parametrize(("worker", "app", "path"), EACH)
def test_each_worker_lends_what_is_one_chunk(
    start: Start, worker: str, app: str, path: str
) -> None:
    with start(f"{APPS}:{app}", worker=worker, threads=2, environ=LENDING) as server:
        with server.client() as client:
            answer = client.get(path)
            assert (answer.body == BIG, answer.complete) == (True, True)
            if answer.reusable:
                assert client.get(path).body == BIG
        rows = in_the_end(server, 1 + answer.reusable)
    for row in rows:
        assert (row["strategy"], row["outcome"]) == ("zerocopy", "complete")
        assert (row["sent"], row["path"]) == (len(BIG), "in memory")


@pytest.mark.parametrize("path", ["/in-two", "/unsized"])
def test_what_is_not_surely_all_there_is_is_gunicorns_own(
    start: Start, path: str
) -> None:
    with start(f"{APPS}:app", environ=LENDING) as server, server.client() as client:
        answer = client.get(path)
        assert answer.body in (BIG, BIG + b".")
        assert answer.complete
        assert server.reports() == []


def test_a_client_on_this_host_is_lent_nothing(start: Start) -> None:
    here = {**LENDING}
    del here["TEST_LENDING"]
    with start(f"{APPS}:app", environ=here) as server, server.client() as client:
        assert client.get("/listed").body == BIG
        assert server.reports() == []


@pytest.mark.parametrize("worker", WORKERS)
def test_a_client_that_leaves_midway_costs_no_descriptor(
    start: Start, worker: str
) -> None:
    with start(f"{APPS}:app", worker=worker, threads=2, environ=LENDING) as server:
        with server.client() as client:
            client.get("/listed")
        in_the_end(server, 1)
        before = server.descriptors()
        for number in range(2, 5):
            with server.client(receive_buffer=SMALL_WINDOW) as client:
                client.send("/listed")
                client.socket.recv(1000)
                client.reset()
            rows = in_the_end(server, number)
            assert rows[-1]["outcome"] == "disconnected"
        eventually(lambda: server.descriptors() <= before, "the end of descriptors")


@pytest.mark.parametrize("worker", WORKERS)
def test_one_that_stalls_is_cut_off(start: Start, worker: str) -> None:
    stalling = {**LENDING, "ZC_RESPONSE_STALL_TIMEOUT": "1"}
    with start(f"{APPS}:app", worker=worker, environ=stalling) as server:
        with server.client(receive_buffer=SMALL_WINDOW) as client:
            client.send("/listed")
            (row,) = in_the_end(server, 1)
            assert not client.receive().complete
        with server.client() as client:
            assert client.get("/listed").body == BIG
    assert (row["strategy"], row["outcome"]) == ("zerocopy", "stalled")

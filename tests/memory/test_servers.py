"""Memory files in processes of their own: what the kernel sees, and who shares it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.asgi.test_system_calls import carried, traced
from tests.gunicorn.running import UVICORN_WORKER, gunicorn
from tests.live import eventually
from tests.memory.conftest import CONTENT
from zc_response import MemoryFile

TRACED = """
import os, sys, uvicorn
from starlette.applications import Starlette
from starlette.routing import Route
from zc_response import MemoryFile, Policy
from zc_response.integrations.starlette import FileResponse
file = MemoryFile(open(sys.argv[1], "rb").read())
class Strict(FileResponse):
    policy = Policy(integrity="strict")
async def view(request):
    return Strict(file, headers={"x-descriptor": str(file.fileno())})
uvicorn.run(
    Starlette(routes=[Route("/", view)]), fd=int(sys.argv[2]), log_level="error",
    http="zc_response.integrations.uvicorn:" + sys.argv[3], loop=sys.argv[4],
    limit_max_requests=3,
)
"""


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_every_byte_leaves_the_memory_file_by_sendfile(tmp_path: Path) -> None:
    """Also under `strict`, to a client on the same host."""
    (tmp_path / "file").write_bytes(CONTENT)
    trace = tmp_path / "trace"
    http = "ZeroCopyHttpToolsProtocol"
    with traced(tmp_path / "file", trace, http, "uvloop", TRACED) as client:
        for headers in ({}, {"range": "bytes=1000000-1999999"}, {}):
            answer = client.get("/", headers)
            assert answer.complete
            number = answer.headers["x-descriptor"]

    expected = 2 * len(CONTENT) + 1_000_000
    assert carried(trace, "sendfile") == expected
    calls = [line for line in trace.read_text().splitlines() if "sendfile(" in line]
    assert all(f", {number}, [" in line for line in calls if "resumed" not in line)
    assert carried(trace, "write") == len(CONTENT)  # once, to make the file
    for call in ("writev", "sendto", "sendmsg"):
        assert carried(trace, call) == 0


FORKED = """
def post_fork(server, worker):
    import sys
    print("the application is loaded", file=sys.stderr, flush=True)
"""


@pytest.mark.parametrize(
    ("app", "worker"),
    [
        ("flask_app", "sync"),
        ("flask_app", "gthread"),
        ("flask_app", "gevent"),
        ("starlette_app", UVICORN_WORKER),
    ],
)
def test_two_workers_share_what_was_made_before_they_were_forked(
    tmp_path: Path, app: str, worker: str
) -> None:
    inodes: dict[str, str] = {}
    with gunicorn(
        tmp_path / "gunicorn",
        f"tests.memory.apps:{app}",
        worker=worker,
        workers=2,
        preload_app=True,
        config=FORKED,
    ) as server:

        def ask_both() -> bool:
            with server.client() as client:
                answer = client.get()
                assert answer.body == CONTENT, server.log
                inodes[answer.headers["x-pid"]] = answer.headers["x-inode"]
            return len(inodes) == 2

        eventually(ask_both, "an answer of either worker")
        with server.client() as client:
            part = client.get("/", {"range": "bytes=1000-200999"})
        rows = server.reports()

    assert (part.status, part.body) == (206, CONTENT[1000:201_000])
    assert len(set(inodes.values())) == 1
    assert {(row["strategy"], row["guard"]) for row in rows} == {("sendfile", "sealed")}


def test_a_worker_that_ends_takes_it_from_nobody(tmp_path: Path) -> None:
    config = FORKED + "max_requests = 1\n"
    pids = set()
    with gunicorn(
        tmp_path / "gunicorn",
        "tests.memory.apps:flask_app",
        preload_app=True,
        config=config,
    ) as server:
        eventually(lambda: "Listening at" in server.log, "gunicorn's start")

        def ask() -> bool:
            with server.client() as client:
                answer = client.get()
            assert answer.body == CONTENT, server.log
            pids.add(answer.headers["x-pid"])
            return len(pids) == 3

        eventually(ask, "an answer of a third worker")


def test_the_same_bytes_have_the_same_tag_in_every_process(tmp_path: Path) -> None:
    """So it does not matter whether workers share a file or each make their own."""
    with gunicorn(
        tmp_path / "gunicorn", "tests.memory.apps:flask_app", preload_app=False
    ) as server:
        with server.client() as client, MemoryFile(CONTENT) as file:
            known = client.get("/", {"if-none-match": file.etag})

    assert (known.status, known.body) == (304, b"")

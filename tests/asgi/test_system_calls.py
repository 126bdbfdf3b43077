"""strace, as the witness of how a body really leaves."""

from __future__ import annotations

import contextlib
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live import PATIENCE, Client
from zc_response.transmit import Strategy

pytestmark = pytest.mark.skipif(
    shutil.which("strace") is None, reason="strace is not installed"
)

SIZE = 3 * 1024 * 1024
APP = """
import sys
from starlette.applications import Starlette
from starlette.routing import Route
from zc_response.integrations.starlette import FileResponse, PipeResponse
async def view(request):
    return FileResponse(sys.argv[1])
async def pipe(request):
    return PipeResponse(["cat", sys.argv[1]])
import uvicorn
uvicorn.run(
    Starlette(routes=[Route("/", view), Route("/pipe", pipe)]),
    fd=int(sys.argv[2]), log_level="error",
    http="zc_response.integrations.uvicorn:" + sys.argv[3], loop=sys.argv[4],
    limit_max_requests=3,
)
"""


@contextlib.contextmanager
def traced(
    path: Path, trace: Path, http: str, loop: str, app: str = APP
) -> Iterator[Client]:
    """A server under strace, which writes what was sent to `trace`.

    Only of the server itself, not of what it starts.
    """
    calls = "sendfile,splice,write,writev,sendto,sendmsg,pread64,preadv,preadv2,read"
    calls += ",openat,recvmsg"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.set_inheritable(True)
        number = listener.fileno()
        command = ["strace", "-f", "-qq", "-e", f"trace={calls}", "-o", str(trace)]
        server = subprocess.Popen(
            [*command, sys.executable, "-c", app, str(path), str(number), http, loop],
            pass_fds=[number],
        )
        try:
            with Client(listener.getsockname()[1]) as client:
                yield client
            server.wait(PATIENCE)  # it stops by itself, after three requests
        finally:
            server.kill()
            server.wait()


def carried(trace: Path, call: str) -> int:
    """How many bytes calls of one kind moved, large ones only."""
    # Where another thread's call came between, the result has a line of its own.
    line = rf"(?:\b{call}\(|<\.\.\. {call} resumed>).*= (\d+)$"
    results = re.findall(line, trace.read_text(), re.MULTILINE)
    return sum(int(result) for result in results if int(result) > 16384)


REQUESTS = {
    "whole": ({}, SIZE),
    "single range": ({"range": "bytes=100000-2099999"}, 2_000_000),
    "multipart": ({"range": "bytes=0-999999,2000000-2999999"}, 2_000_000),
}


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("http", ["ZeroCopyH11Protocol", "ZeroCopyHttpToolsProtocol"])
def test_every_kind_of_body_is_carried_by_sendfile_alone(
    tmp_path: Path, http: str, loop: str
) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(SIZE))
    expected = 0
    with traced(path, tmp_path / "trace", http, loop) as client:
        for headers, count in REQUESTS.values():
            answer = client.get("/", headers)
            assert len(answer.body) >= count
            assert answer.complete
            expected += count

    sent = carried(tmp_path / "trace", "sendfile")
    assert expected - 3 * 16384 <= sent <= expected
    for call in ("write", "writev", "sendto", "sendmsg", "pread64"):
        assert carried(tmp_path / "trace", call) == 0


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("http", ["ZeroCopyH11Protocol", "ZeroCopyHttpToolsProtocol"])
def test_what_a_process_writes_is_carried_by_splice_alone(
    tmp_path: Path, http: str, loop: str
) -> None:
    path, trace = tmp_path / "file", tmp_path / "trace"
    path.write_bytes(bytes(SIZE))
    with traced(path, trace, http, loop) as client:
        for _ in range(3):
            answer = client.get("/pipe")
            assert (answer.complete, answer.body) == (True, bytes(SIZE))

    server = trace.read_text().split(maxsplit=1)[0]
    own = "\n".join(re.findall(rf"^{server} .*", trace.read_text(), re.MULTILINE))
    trace.write_text(own)
    assert 3 * SIZE * 0.9 < carried(trace, "splice") <= 3 * SIZE
    assert "SPLICE_F_MOVE|SPLICE_F_NONBLOCK|SPLICE_F_MORE" in own
    for call in ("write", "writev", "sendto", "sendmsg", "pread64"):
        assert carried(trace, call) == 0


CALLS = ("sendfile", "sendto", "write", "writev", "sendmsg", "pread64", "preadv2?")
CARRY = {
    "sendfile": {"sendfile"},
    "mmap": {"sendto"},
    "direct": {"sendto", "preadv2?"},
    "copy": {"sendto", "pread64"},
}
"""The calls by which the bytes of each strategy move."""
WITNESSED = {Strategy.SPLICE, *map(Strategy, CARRY)}
"""Those that a test here has seen at work."""


@pytest.mark.parametrize("strategy", CARRY)
def test_the_strategy_that_is_set_is_what_carries_a_body(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, strategy: str
) -> None:
    monkeypatch.setenv("ZC_RESPONSE_STRATEGY", strategy)
    path, trace = tmp_path / "file", tmp_path / "trace"
    path.write_bytes(bytes(SIZE))
    with traced(path, trace, "ZeroCopyHttpToolsProtocol", "uvloop") as client:
        for _ in range(3):
            assert client.get("/").body == bytes(SIZE)

    carry = {call for call in CALLS if carried(trace, call)}
    assert carry == CARRY[strategy]
    for call in carry:
        assert carried(trace, call) > 3 * (SIZE - 65536)
    is_direct = re.search(r"\bO_DIRECT\b", trace.read_text()) is not None
    assert is_direct == (strategy == "direct")

"""A server of a directory at one level of integrity: in a thread, or as another user.

`python -m uvicorn --factory tests.guards.served:app` is the latter; it sends what lies
in its working directory, and is told the level as any of our servers is. It starts as
root, because nobody else may be able to read this Python, and gives its rights up when
it is asked to.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.live import HOOKED, Client, eventually, serve
from zc_response import Policy, Report, add_listener, remove_listener
from zc_response.integrations.starlette import FileResponse

BREAK_BUDGET: Final = 0.4
"""Seconds; less than by default, so that many trials take less time."""

_ROOT: Final = Path(__file__).parents[2]
_PROTOCOLS: Final = "zc_response.integrations.uvicorn"
_STARTED_WITHIN: Final = 20.0  # seconds
NOBODY: Final = 65534
SMALL_AND_MORE: Final = 200_000  # bytes


def serving(directory: Path, policy: Policy, last: list[Report]) -> Starlette:
    """Sends the files of a directory; `/report` tells what stood behind the last."""

    class Answer(FileResponse):
        pass

    Answer.policy = policy

    def file(request: Request) -> Response:
        return Answer(directory / request.path_params["name"])

    def report(_request: Request) -> Response:
        return JSONResponse(vars_of(last[-1]) if last else None)

    return Starlette(routes=[Route("/report", report), Route("/file/{name}", file)])


def vars_of(report: Report) -> dict[str, str]:
    """What is wanted to know of a report."""
    names = ("strategy", "reason", "guard", "guard_reason", "outcome", "error")
    return {name: str(getattr(report, name)) for name in names}


@contextlib.contextmanager
def served(
    directory: Path, integrity: str, *, break_budget: float = BREAK_BUDGET
) -> Iterator[int]:
    """The port of a server in this process, until the block ends."""
    last: list[Report] = []
    policy = Policy(integrity=integrity, break_budget=break_budget)
    add_listener(last.append)
    try:
        http = HOOKED["httptools"]
        with serve(serving(directory, policy, last), http=http) as server:
            yield server.port
    finally:
        remove_listener(last.append)


def app() -> Starlette:
    """The application of a process of its own."""
    last: list[Report] = []
    add_listener(last.append)
    application = serving(Path(), Policy.from_environment(), last)
    application.add_route("/become-nobody", _become_nobody)
    return application


def _become_nobody(_request: Request) -> Response:
    """Of all threads, and for good."""
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)
    return Response(str(os.getresuid()))


@contextlib.contextmanager
def served_by_nobody(
    directory: Path, integrity: str, *, break_budget: float = BREAK_BUDGET
) -> Iterator[int]:
    """The port of a server that owns no file and has no rights. Needs root."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "uvicorn", "--factory", f"{__name__}:app"),
                *("--fd", str(listener.fileno()), "--log-level", "critical"),
                *("--loop", "uvloop", "--http", f"{_PROTOCOLS}:ZeroCopyProtocol"),
            ],
            cwd=directory,  # which nobody could not reach through a private one
            env={
                **os.environ,
                "PYTHONPATH": str(_ROOT),
                "ZC_RESPONSE_INTEGRITY": integrity,
                "ZC_RESPONSE_BREAK_BUDGET": str(break_budget),
            },
            stderr=subprocess.DEVNULL,
            pass_fds=[listener.fileno()],
        )
    try:
        _drop_rights(port, directory, process)
        yield port
    finally:
        process.terminate()
        process.wait(_STARTED_WITHIN)


def _drop_rights(port: int, directory: Path, process: subprocess.Popen[bytes]) -> None:
    """Once it has sent a file, and so has imported all it needs."""
    with tempfile.NamedTemporaryFile(dir=directory) as file:
        file.write(bytes(SMALL_AND_MORE))
        file.flush()
        deadline = time.monotonic() + _STARTED_WITHIN
        while True:
            try:
                with Client(port) as client:
                    answer = client.get(f"/file/{Path(file.name).name}")
                    assert len(answer.body) == SMALL_AND_MORE
                    nobody = str((NOBODY,) * 3).encode()
                    assert client.get("/become-nobody").body == nobody
                    return
            except OSError:
                assert process.poll() is None, "the server has ended"
                assert time.monotonic() < deadline, "the server does not answer"
                time.sleep(0.05)


def last_report(port: int) -> dict[str, Any]:
    """What the server tells of the last body that it has sent, once it is through."""

    def ask() -> Any:
        with Client(port) as client:
            return json.loads(client.get("/report").body)

    eventually(lambda: ask() is not None, "a report")
    report: dict[str, Any] = ask()
    return report

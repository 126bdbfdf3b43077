"""The four stacks of uvicorn, and a file to send."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.live import HOOKED, STACKS, Server, serve
from tests.loops import LOOPS, Run, run_on

CONTENT = bytes(range(256)) * 4096 * 3  # 3 MiB: more than one step
BIG = CONTENT * 8  # 24 MiB: more than the buffers of a connection take
SMALL_WINDOW = 16384
"""A receive buffer of a client, in which little of a file can hide."""

BOTH = [("h11", "asyncio"), ("httptools", "uvloop")]

Serve = Callable[..., contextlib.AbstractContextManager[Server]]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file.bin"
    path.write_bytes(CONTENT)
    return path


@pytest.fixture
def big(tmp_path: Path) -> Path:
    path = tmp_path / "big.bin"
    path.write_bytes(BIG)
    return path


@pytest.fixture(params=STACKS, ids="-".join)
def hooked(request: pytest.FixtureRequest) -> Serve:
    """Serve an application by our protocol classes, on each of uvicorn's stacks."""
    http, loop = request.param

    def on_stack(app: Any, **settings: Any) -> Any:
        return serve(app, http=HOOKED[http], loop=loop, **settings)

    return on_stack


@pytest.fixture(params=BOTH, ids="-".join)
def served(request: pytest.FixtureRequest) -> Serve:
    """The same on two stacks, in which every part of the four has its turn."""
    http, loop = request.param
    return lambda app, **settings: serve(app, http=HOOKED[http], loop=loop, **settings)


@pytest.fixture(params=STACKS, ids="-".join)
def plain(request: pytest.FixtureRequest) -> Serve:
    """Serve an application by uvicorn as it is, on each of its stacks."""
    http, loop = request.param

    def on_stack(app: Any, **settings: Any) -> Any:
        return serve(app, http=http, loop=loop, **settings)

    return on_stack


@pytest.fixture(params=LOOPS)
def run(request: pytest.FixtureRequest) -> Run:
    """Run a coroutine function on one loop or the other."""
    return partial(run_on, request.param)

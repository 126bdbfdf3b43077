"""The two loops that a driver runs on, and a line to a client."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from functools import partial

import pytest

from tests.loops import LOOPS, Run, run_on
from tests.transmit.lines import connected


@pytest.fixture(params=LOOPS)
def run(request: pytest.FixtureRequest) -> Run:
    """Run a coroutine function on one loop or the other."""
    return partial(run_on, request.param)


@pytest.fixture
def line() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Give two connected sockets: ours, and the client's."""
    with connected() as pair:
        yield pair

"""The two loops that a driver runs on."""

from __future__ import annotations

from functools import partial

import pytest

from tests.loops import LOOPS, Run, run_on


@pytest.fixture(params=LOOPS)
def run(request: pytest.FixtureRequest) -> Run:
    """Run a coroutine function on one loop or the other."""
    return partial(run_on, request.param)

from __future__ import annotations

import time
from collections.abc import Generator

import pytest

from zc_response.transmit.blocking_driver import finish
from zc_response.transmit.steps import Want


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The sleeps, which take no time."""
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    return slept


def wanting(*wants: Want) -> Generator[Want, None, str]:
    yield from wants
    return "the result"


@pytest.mark.parametrize("want", [Want.TURN, Want.DISK])
def test_who_may_wait_takes_the_next_step_at_once(
    slept: list[float], want: Want
) -> None:
    assert finish(wanting(*[want] * 100)) == "the result"
    assert slept == []


def test_what_nobody_tells_is_waited_for_a_little_and_then_longer(
    slept: list[float],
) -> None:
    assert finish(wanting(*[Want.SOON] * 10)) == "the result"
    assert slept == [0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.05, 0.05, 0.05, 0.05]


def test_steps_that_never_wait_are_just_run(slept: list[float]) -> None:
    assert finish(wanting()) == "the result"
    assert slept == []


def test_what_the_steps_raise_comes_out(slept: list[float]) -> None:
    def failing() -> Generator[Want, None, None]:
        yield Want.SOON
        raise ValueError("in the middle")

    with pytest.raises(ValueError, match="in the middle"):
        finish(failing())
    assert len(slept) == 1


def test_nobody_waits_for_a_socket_here() -> None:
    with pytest.raises(AssertionError):
        finish(wanting(Want.WRITABLE))

"""Whose turn it is: decided on a loop and a clock of the test's own."""

from __future__ import annotations

import asyncio
import types
from collections.abc import Callable

import pytest

from zc_response.transmit import turns
from zc_response.transmit.turns import ROUND_SECONDS, TURN_SECONDS, Turns, turns_of

STEP = TURN_SECONDS  # how long each turn below takes
IN_A_ROUND = round(ROUND_SECONDS / STEP)


class Loop(asyncio.BaseEventLoop):
    """A loop whose rounds are the test's to run, and the time that passes on it."""

    def __init__(self) -> None:
        self.now = 0.0
        self.soon: list[Callable[[], object]] = []

    def __del__(self) -> None: ...

    def call_soon(self, callback: Callable[..., object], *_: object, **__: object):  # type: ignore[no-untyped-def]  # noqa: ANN201
        self.soon.append(callback)

    def round(self) -> None:
        """Call what is due, and not what becomes due meanwhile."""
        due, self.soon = self.soon, []
        for callback in due:
            callback()


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch) -> Loop:
    loop = Loop()
    clock = types.SimpleNamespace(monotonic=lambda: loop.now)
    monkeypatch.setattr(turns, "time", clock)
    running = types.SimpleNamespace(get_running_loop=lambda: loop)
    monkeypatch.setattr(turns, "asyncio", running)
    return loop


class Transfer:
    """Takes turns, each of which lasts, and writes its name down."""

    def __init__(
        self, loop: Loop, log: list[str], name: str, count: int, seconds: float = STEP
    ) -> None:
        self._loop, self._log, self._name = loop, log, name
        self._left, self._seconds = count, seconds
        self.until: list[float] = []

    def turn(self, until: float) -> bool:
        self.until.append(until - self._loop.now)
        self._log.append(self._name)
        self._loop.now += self._seconds
        self._left -= 1
        return self._left > 0


def test_who_comes_first_has_its_turn_at_once(loop: Loop) -> None:
    log: list[str] = []
    Turns().take(Transfer(loop, log, "a", 1).turn)

    assert log == ["a"]


def test_a_turn_is_told_when_it_is_over(loop: Loop) -> None:
    first = Transfer(loop, [], "a", 3)
    Turns().take(first.turn)
    for _ in range(3):
        loop.round()

    assert first.until == pytest.approx([TURN_SECONDS] * 3)


def test_when_a_round_is_used_up_the_others_wait_for_the_next(loop: Loop) -> None:
    log: list[str] = []
    queue = Turns()
    for name in "abcdefg":
        queue.take(Transfer(loop, log, name, 1).turn)
    assert len(log) == IN_A_ROUND

    loop.round()
    assert len(log) == 2 * IN_A_ROUND


def test_they_are_served_in_the_order_in_which_they_came(loop: Loop) -> None:
    log: list[str] = []
    queue = Turns()
    for name in "abcdefghij":
        queue.take(Transfer(loop, log, name, 3).turn)
    while loop.soon:
        loop.round()

    assert sorted(log) == sorted("abcdefghij" * 3)
    for name in "bcdefghij":
        # Nobody has a turn more than whoever came before, nor two fewer.
        for moment in range(len(log)):
            ahead = log[:moment].count("a") - log[:moment].count(name)
            assert 0 <= ahead <= 2


def test_a_round_runs_no_more_once_its_time_is_spent(loop: Loop) -> None:
    """Only the turn that oversteps it oversteps it."""
    log: list[str] = []
    queue = Turns()
    slow = Transfer(loop, log, "slow", 5, seconds=10 * ROUND_SECONDS)
    queue.take(slow.turn)
    for name in "abc":
        queue.take(Transfer(loop, log, name, 1).turn)
    assert log == ["slow"]

    rounds = []
    while loop.soon:
        before = len(log)
        loop.round()
        rounds.append("".join(log[before:]))
    assert all("slow" not in each[:-4] for each in rounds)
    assert log.count("slow") == 5
    assert max(each.count("slow") for each in rounds) == 1


def test_everybody_else_has_their_turn_in_each_round(loop: Loop) -> None:
    log: list[str] = []
    queue = Turns()
    for name in "ab":
        queue.take(Transfer(loop, log, name, 20).turn)

    def other() -> None:
        log.append("|")
        if len(log) < 60:
            loop.call_soon(other)

    loop.call_soon(other)
    for _ in range(10):
        before = len(log)
        loop.round()
        this_round = log[before:]
        assert this_round.count("|") == 1
        assert len(this_round) <= IN_A_ROUND + 1


def test_a_short_one_need_not_queue(loop: Loop) -> None:
    log: list[str] = []
    queue = Turns()
    for name in "abcde":
        queue.take(Transfer(loop, log, name, 9).turn)
    queue.take(Transfer(loop, log, "short", 1).turn, is_short=True)

    assert log[-1] == "short"


def test_what_was_spent_is_forgotten_in_the_next_round(loop: Loop) -> None:
    log: list[str] = []
    queue = Turns()
    for _ in range(5):
        for name in "ab":
            queue.take(Transfer(loop, log, name, 1).turn)
        while loop.soon:
            loop.round()
        assert log[-2:] == ["a", "b"]


def test_without_transfers_the_loop_is_left_alone(loop: Loop) -> None:
    queue = Turns()
    queue.take(Transfer(loop, [], "a", 3).turn)
    for _ in range(10):
        loop.round()

    assert loop.soon == []


def test_a_loop_has_one_queue_as_long_as_it_lives() -> None:
    loop = asyncio.new_event_loop()
    try:
        assert turns_of(loop) is turns_of(loop)
    finally:
        loop.close()

"""Lanes: a few threads for each filesystem, none of which waits for another one's."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator

import pytest

from tests.live import PATIENCE, eventually
from zc_response import threads
from zc_response.threads import Lane, close_all, lane


class Gate:
    """Work that waits until the test lets it go."""

    def __init__(self) -> None:
        self.inside = 0
        self.most = 0
        self._lock = threading.Lock()
        self._opened = threading.Event()

    def __call__(self) -> None:
        with self._lock:
            self.inside += 1
            self.most = max(self.most, self.inside)
        self._opened.wait(PATIENCE)
        with self._lock:
            self.inside -= 1

    def open(self) -> None:
        self._opened.set()


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.open()


def of_lanes() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if "zc_response-disk" in t.name]


def test_one_thread_does_its_work_in_order() -> None:
    done: list[int] = []
    alone = Lane("alone", width=1)
    for number in range(200):
        alone.submit(lambda number=number: done.append(number))  # type: ignore[misc]
    alone.close()

    assert done == list(range(200))


def test_no_more_than_its_width_is_done_at_once(gate: Gate) -> None:
    narrow = Lane("narrow", width=3)
    for _ in range(20):
        narrow.submit(gate)
    eventually(lambda: gate.inside == 3)
    assert len(of_lanes()) == 3

    gate.open()
    narrow.close()
    assert gate.most == 3


def test_idle_threads_are_used_before_new_ones_start() -> None:
    wide = Lane("wide", width=8)
    done = threading.Event()
    wide.submit(done.set)
    assert done.wait(PATIENCE)
    eventually(lambda: wide._idle == 1)
    for _ in range(50):
        again = threading.Event()
        wide.submit(again.set)
        assert again.wait(PATIENCE)
        eventually(lambda: wide._idle == 1)

    assert len(of_lanes()) == 1
    wide.close()


def test_a_filesystem_that_hangs_does_not_delay_another(gate: Gate) -> None:
    for _ in range(threads.WIDTH * 2):
        lane("hanging").submit(gate)
    done = threading.Event()

    lane("healthy").submit(done.set)

    assert done.wait(PATIENCE)
    assert gate.inside
    gate.open()


def test_a_filesystem_has_one_lane() -> None:
    assert lane("same") is lane("same")
    assert lane("same") is not lane("other")


def test_threads_end_when_there_is_nothing_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(threads, "IDLE_SECONDS", 0.05)
    done = threading.Event()
    quiet = Lane("quiet")
    quiet.submit(done.set)
    assert done.wait(PATIENCE)

    eventually(lambda: not of_lanes())


def test_work_that_comes_after_the_threads_have_ended_is_done(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(threads, "IDLE_SECONDS", 0.01)
    quiet = Lane("quiet")
    for _ in range(3):
        done = threading.Event()
        quiet.submit(done.set)
        assert done.wait(PATIENCE)
        eventually(lambda: not of_lanes())


def test_work_that_comes_while_a_thread_ends_is_not_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Threads give up at any moment here, also while work is handed in."""
    monkeypatch.setattr(threads, "IDLE_SECONDS", 0.0)
    restless = Lane("restless", width=2)
    count = [0]
    lock = threading.Lock()

    def work() -> None:
        with lock:
            count[0] += 1

    for _ in range(500):
        restless.submit(work)
    eventually(lambda: count[0] == 500)
    restless.close()


def test_closing_waits_for_all_work() -> None:
    done: list[int] = []
    for name in ("one", "two"):
        for number in range(100):
            lane(name).submit(lambda number=number: done.append(number))  # type: ignore[misc]
    close_all()

    assert len(done) == 200
    assert not of_lanes()


def test_a_lane_works_again_after_it_was_closed() -> None:
    again = Lane("again")
    for _ in range(3):
        done = threading.Event()
        again.submit(done.set)
        again.close()
        assert done.is_set()


def test_a_thread_that_cannot_be_started_is_not_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What was refused is refused to whoever asked, and later work is done."""
    full = Lane("full", width=1)
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", _refuse)
        with pytest.raises(RuntimeError):
            full.submit(lambda: None)
    done = threading.Event()
    full.submit(done.set)

    assert done.wait(2)
    full.close()


def _refuse(_self: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


def test_a_child_of_fork_starts_anew(gate: Gate) -> None:
    """Its parent's threads are not there, and are not waited for."""
    for _ in range(threads.WIDTH):
        lane("busy").submit(gate)
    eventually(lambda: gate.inside == threads.WIDTH)
    child = os.fork()
    if child == 0:  # nothing of the test runner may run in here
        try:
            done = threading.Event()
            lane("busy").submit(done.set)
            worked = done.wait(5)
            close_all()
            os._exit(0 if worked and not of_lanes() else 1)
        finally:
            os._exit(2)

    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    gate.open()

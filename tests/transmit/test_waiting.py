"""Those who wait for a client: looked at from time to time, and told when it reads."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.loops import LOOPS, run_on
from zc_response.transmit import waiting as module
from zc_response.transmit.waiting import Waiting, waiting_on

Main = Callable[[Waiting], Coroutine[Any, Any, None]]
Run = Callable[[Main], None]


@pytest.fixture(params=LOOPS)
def run(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a coroutine function with those who wait on its loop, and short ticks."""
    monkeypatch.setattr(module, "TICK_SECONDS", 0.005)
    return lambda main: run_on(request.param, lambda: main(Waiting()))


class Waiter:
    """Counts what it is told; at the `gone`th look it leaves."""

    def __init__(self, waiting: Waiting, gone: int = 1 << 30) -> None:
        self._waiting = waiting
        self._gone = gone
        self.looks = 0
        self.calls = 0
        self.fd = -1

    def look(self) -> None:
        self.looks += 1
        if self.looks == self._gone:
            self._waiting.discard(self)

    def park(self, sock: socket.socket) -> bool:
        self.fd = sock.fileno()
        return self._waiting.park(self.fd, self)

    def ready(self) -> None:
        self.calls += 1
        self._waiting.leave(self.fd, self)


def fill(sock: socket.socket) -> None:
    try:
        while sock.send(bytes(65536)):
            pass
    except BlockingIOError:
        pass


@pytest.fixture
def pairs() -> Iterator[Callable[[], tuple[socket.socket, socket.socket]]]:
    made: list[socket.socket] = []

    def pair() -> tuple[socket.socket, socket.socket]:
        """Our end, full, and the peer's."""
        ours, peer = socket.socketpair()
        ours.setblocking(False)
        made.extend((ours, peer))
        fill(ours)
        return ours, peer

    yield pair
    for each in made:
        each.close()


Pairs = Callable[[], tuple[socket.socket, socket.socket]]


async def until(condition: Callable[[], Any]) -> None:
    while not condition():  # noqa: ASYNC110  # nobody tells of it
        await asyncio.sleep(0.002)


def empty(peer: socket.socket) -> None:
    peer.setblocking(False)
    try:
        while peer.recv(1 << 20):
            pass
    except BlockingIOError:
        pass


def test_everybody_is_looked_at_and_again(run: Run) -> None:
    async def main(waiting: Waiting) -> None:
        waiters = [Waiter(waiting) for _ in range(100)]
        for waiter in waiters:
            waiting.add(waiter)
        await until(lambda: all(waiter.looks >= 3 for waiter in waiters))
        looks = [waiter.looks for waiter in waiters]
        assert max(looks) - min(looks) <= 1
        for waiter in waiters:
            waiting.discard(waiter)

    run(main)


def test_only_a_few_are_looked_at_together(run: Run) -> None:
    async def main(waiting: Waiting) -> None:
        waiters = [Waiter(waiting) for _ in range(100)]
        for waiter in waiters:
            waiting.add(waiter)
        waiting._tick()
        assert sum(waiter.looks for waiter in waiters) == 100 // module.TICKS
        for waiter in waiters:
            waiting.discard(waiter)

    run(main)


def test_who_leaves_while_being_looked_at_is_gone(run: Run) -> None:
    async def main(waiting: Waiting) -> None:
        waiters = [Waiter(waiting, gone=number) for number in (1, 2, 3, 1, 2, 3)]
        for waiter in waiters:
            waiting.add(waiter)
        await until(lambda: not waiting._waiters)
        await asyncio.sleep(0.03)
        assert [waiter.looks for waiter in waiters] == [1, 2, 3, 1, 2, 3]

    run(main)


def test_without_anybody_there_is_no_timer(run: Run) -> None:
    async def main(waiting: Waiting) -> None:
        assert waiting._timer is None
        waiter = Waiter(waiting)
        waiting.add(waiter)
        assert waiting._timer is not None
        waiting.discard(waiter)
        waiting.discard(waiter)
        assert waiting._timer is None

    run(main)


def test_who_is_parked_is_told_when_the_client_reads(run: Run, pairs: Pairs) -> None:
    async def main(waiting: Waiting) -> None:
        ours, peer = pairs()
        waiter = Waiter(waiting)
        assert waiter.park(ours)
        await asyncio.sleep(0.02)
        assert waiter.calls == 0

        empty(peer)
        await until(lambda: waiter.calls)
        await asyncio.sleep(0.02)
        assert waiter.calls == 1

    run(main)


def test_who_is_parked_is_told_when_the_client_leaves(run: Run, pairs: Pairs) -> None:
    async def main(waiting: Waiting) -> None:
        ours, peer = pairs()
        waiter = Waiter(waiting)
        assert waiter.park(ours)
        peer.close()
        await until(lambda: waiter.calls)

    run(main)


def test_only_the_one_whose_client_reads_is_told(run: Run, pairs: Pairs) -> None:
    async def main(waiting: Waiting) -> None:
        lines = [pairs() for _ in range(10)]
        waiters = [Waiter(waiting) for _ in lines]
        for waiter, (ours, _) in zip(waiters, lines, strict=True):
            assert waiter.park(ours)
        empty(lines[3][1])
        empty(lines[7][1])
        await until(lambda: waiters[3].calls and waiters[7].calls)
        assert sum(waiter.calls for waiter in waiters) == 2
        for waiter, (ours, _) in zip(waiters, lines, strict=True):
            waiting.leave(ours.fileno(), waiter)

    run(main)


def test_when_all_have_left_the_descriptor_for_them_is_gone(
    run: Run, pairs: Pairs
) -> None:
    async def main(waiting: Waiting) -> None:
        for _ in range(3):
            before = len(os.listdir("/proc/self/fd"))
            ours, peer = socket.socketpair()
            ours.setblocking(False)
            waiter = Waiter(waiting)
            with ours, peer:
                assert waiter.park(ours)
                await until(lambda waiter=waiter: waiter.calls)  # type: ignore[misc]
            assert len(os.listdir("/proc/self/fd")) == before

    run(main)


def test_a_number_that_belongs_to_another_connection_now_is_watched_for_it(
    run: Run, pairs: Pairs
) -> None:
    """The server has closed the first one without a word; it is told."""

    async def main(waiting: Waiting) -> None:
        first, _ = pairs()
        former = Waiter(waiting)
        assert former.park(first)
        number = first.fileno()
        first.close()
        second, peer = pairs()
        while second.fileno() != number:
            second, peer = pairs()
        latter = Waiter(waiting)
        assert latter.park(second)
        assert former.calls == 1
        assert latter.calls == 0

        empty(peer)
        await until(lambda: latter.calls)
        assert former.calls == 1

    run(main)


def test_a_closed_descriptor_can_be_left(run: Run, pairs: Pairs) -> None:
    async def main(waiting: Waiting) -> None:
        ours, _ = pairs()
        waiter = Waiter(waiting)
        assert waiter.park(ours)
        ours.close()
        waiting.leave(waiter.fd, waiter)
        waiting.leave(waiter.fd, waiter)

    run(main)


def test_without_epoll_nobody_is_parked(
    run: Run, pairs: Pairs, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main(waiting: Waiting) -> None:
        ours, _ = pairs()
        monkeypatch.delattr("select.epoll")
        assert not Waiter(waiting).park(ours)

    run(main)


def test_what_cannot_be_watched_is_not_parked_and_leaves_nothing(
    run: Run, tmp_path: Path
) -> None:
    """Such as a file, which the kernel refuses to watch."""

    async def main(waiting: Waiting) -> None:
        before = len(os.listdir("/proc/self/fd"))
        with (tmp_path / "file").open("wb") as file:
            assert not waiting.park(file.fileno(), Waiter(waiting))
        assert len(os.listdir("/proc/self/fd")) == before

    run(main)


def test_a_loop_has_one_list_as_long_as_it_lives() -> None:
    loop = asyncio.new_event_loop()
    try:
        assert waiting_on(loop) is waiting_on(loop)
    finally:
        loop.close()

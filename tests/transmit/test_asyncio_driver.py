from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.loops import Run
from tests.transmit.lines import (
    CONTENT,
    connected,
    open_file,
    receive,
    tally_of,
    transfer_of,
    whole,
)
from zc_response.errors import DisconnectedError, TruncatedError
from zc_response.kernel import sockets
from zc_response.report import Tally
from zc_response.transmit import Strategy, drive, turns
from zc_response.transmit.steps import Steps, Want

BIG = CONTENT * 16  # more than a socket's buffers take


class Work:
    """A job of the test's own: steps, and a socket that stays the test's."""

    stall_timeout = 0.0
    filesystem = None
    unacknowledged = 0

    def __init__(
        self, steps: Steps, sock: socket.socket, tally: Tally | None = None
    ) -> None:
        self._steps = steps
        self._socket = sock
        self.tally = tally or tally_of([], Strategy.COPY)
        self.closed = 0

    def steps(self) -> Steps:
        return self._steps

    def on_wake(self, wake: Callable[[], object]) -> None: ...

    def fileno(self) -> int:
        return self._socket.fileno()

    def park(self) -> int:
        return -1

    def check(self) -> None: ...

    def check_client(self) -> None: ...

    def input(self) -> int:
        return -1

    def borrow(self) -> None: ...

    def own(self) -> None: ...

    def wait_inside(self, seconds: float) -> None: ...

    def abort(self) -> None: ...

    def reset(self) -> None: ...

    def close(self) -> None:
        self.closed += 1


def test_it_sends_all_to_a_client_that_reads(run: Run, tmp_path: Path) -> None:
    with open_file(tmp_path / "f", BIG) as source, connected() as (ours, peer):
        with transfer_of([whole(source)], ours) as (transfer, _tally):

            async def main() -> bytes:
                reading = asyncio.to_thread(receive, peer, len(BIG))
                _, received = await asyncio.gather(drive(transfer), reading)
                return received

            assert run(main) == BIG


def test_what_fits_into_the_socket_needs_no_wait(run: Run, tmp_path: Path) -> None:
    with open_file(tmp_path / "f", b"small") as source, connected() as (ours, peer):
        with transfer_of([b"head", whole(source)], ours) as (transfer, _tally):

            async def main() -> None:
                sending = drive(transfer)
                with pytest.raises(StopIteration):
                    sending.send(None)

            run(main)
            assert receive(peer, 9) == b"headsmall"


def test_others_get_their_turn_when_a_turn_is_over(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "TURN_SECONDS", 0)
    with connected() as (ours, _peer):
        order: list[str] = []

        def steps(name: str) -> Steps:
            for _ in range(4):
                order.append(name)
                yield Want.TURN

        async def main() -> None:
            with ours.dup() as second:
                await asyncio.gather(
                    drive(Work(steps("a"), ours)), drive(Work(steps("b"), second))
                )

        run(main)
        assert "aaa" not in "".join(order)
        assert "bbb" not in "".join(order)


def test_a_client_that_does_not_read_costs_no_time(run: Run, tmp_path: Path) -> None:
    with (
        open_file(tmp_path / "f", BIG) as source,
        connected() as (ours, _peer),
        transfer_of([whole(source)], ours) as (transfer, tally),
    ):
        taken: list[Want] = []

        def counted() -> Steps:
            for want in transfer.steps():
                taken.append(want)
                yield want

        async def main() -> None:
            task = asyncio.create_task(drive(Work(counted(), ours, tally)))
            await settled(lambda: len(taken))
            before = len(taken)
            await asyncio.sleep(0.3)
            assert len(taken) == before
            assert tally.sent < len(BIG)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        run(main)


async def settled(progress: Callable[[], int]) -> None:
    """Wait until nothing has moved for a while: the buffers are full."""
    before = -1
    while progress() != before:
        before = progress()
        await asyncio.sleep(0.1)


@pytest.mark.parametrize("after", [0, 1, 2, 5, 20])
def test_cancelled_after_any_step_it_watches_nothing_any_more(
    run: Run, tmp_path: Path, after: int
) -> None:
    with open_file(tmp_path / "f", BIG) as source, connected() as (ours, peer):
        with transfer_of([whole(source)], ours, step_bytes=30_000) as (transfer, tally):

            async def main() -> int:
                loop = asyncio.get_running_loop()
                task = asyncio.create_task(drive(transfer))
                for _ in range(after):
                    await asyncio.sleep(0)
                fd = transfer.fileno()
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                sent = tally.sent
                assert fd < 0 or not loop.remove_writer(fd)
                transfer.close()
                # The number goes to somebody else, who must not be written to.
                with (tmp_path / "other").open("wb") as other:
                    await asyncio.sleep(0.02)
                    assert os.fstat(other.fileno()).st_size == 0
                assert tally.sent == sent
                return sent

            run(main)
            ours.close()
            if after:  # else it never began, and has nothing to make visible
                with pytest.raises(ConnectionResetError):
                    receive(peer, len(BIG))


def test_a_reset_while_it_waits_ends_it(run: Run, tmp_path: Path) -> None:
    with open_file(tmp_path / "f", BIG) as source, connected() as (ours, peer):
        with transfer_of([whole(source)], ours) as (transfer, _tally):

            async def main() -> None:
                asyncio.get_running_loop().call_later(0.05, leave, peer)
                with pytest.raises(DisconnectedError):
                    await drive(transfer)

            run(main)


def leave(peer: socket.socket) -> None:
    sockets.abort(peer)
    peer.close()


def test_what_the_steps_raise_comes_out(run: Run, tmp_path: Path) -> None:
    with (
        open_file(tmp_path / "f", BIG) as source,
        connected() as (ours, peer),
        transfer_of([whole(source)], ours, integrity="fast") as (transfer, tally),
    ):

        async def main() -> None:
            sending = asyncio.create_task(drive(transfer))
            await settled(lambda: tally.sent)
            os.truncate(tmp_path / "f", 0)
            await asyncio.to_thread(receive, peer, tally.sent)
            with pytest.raises(TruncatedError):
                await sending

        run(main)


@pytest.mark.usefixtures("reports")
def test_the_thread_time_of_every_step_is_counted(run: Run) -> None:
    with connected() as (ours, _peer):

        def work() -> Steps:
            for _ in range(3):
                sum(range(200_000))
                yield Want.TURN

        job = Work(work(), ours)
        run(lambda: drive(job))
        assert job.tally.cpu_seconds is not None
        assert job.tally.cpu_seconds > 0

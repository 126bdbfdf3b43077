"""What the driver of asyncio and uvloop does while it waits: for clients and disks."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.loops import Run
from tests.transmit.lines import (
    CONTENT,
    connected,
    open_file,
    receive,
    tally_of,
    whole,
)
from tests.transmit.test_asyncio_driver import Work, settled
from zc_response import guards
from zc_response.errors import (
    DisconnectedError,
    FilesystemTimeoutError,
    OutOfDescriptorsError,
    StalledError,
)
from zc_response.kernel import sockets
from zc_response.planning import Segment
from zc_response.policy import Policy
from zc_response.sources import FileSource
from zc_response.threads import close_all
from zc_response.transmit import (
    Access,
    Body,
    Strategy,
    Transfer,
    asyncio_driver,
    drive,
    waiting,
)
from zc_response.transmit.steps import Steps, Want

BIG = CONTENT * 16  # more than a socket's buffers take


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those who wait are looked at often."""
    monkeypatch.setattr(waiting, "TICK_SECONDS", 0.01)


@pytest.fixture
def source(tmp_path: Path) -> Iterator[FileSource]:
    with open_file(tmp_path / "f", BIG) as source:
        yield source


Line = tuple[socket.socket, socket.socket]


class Server:
    """The server's side of a connection, which may be over."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self.is_gone = False

    def fileno(self) -> int:
        if self.is_gone:
            raise DisconnectedError("the client left")
        return self._socket.fileno()


def transfer(
    segments: list[Segment], server: Server | socket.socket, **settings: Any
) -> Transfer:
    tally = tally_of(segments, Strategy.SENDFILE)
    access = Access(fileno=server.fileno)
    policy = Policy(**settings)
    return Transfer(Body(segments, policy), access, policy, tally)


def is_reset(peer: socket.socket) -> bool:
    """True if the connection ends with RST, whatever comes before it."""
    try:
        while peer.recv(1 << 20):
            pass
    except ConnectionResetError:
        return True
    return False


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


async def until(condition: Callable[[], Any]) -> None:
    while not condition():  # noqa: ASYNC110  # nobody tells of it
        await asyncio.sleep(0.002)


# Stalls -----------------------------------------------------------------------------


def test_a_client_that_takes_nothing_is_cut_off(
    run: Run, line: Line, source: FileSource
) -> None:
    ours, peer = line
    job = transfer([whole(source)], ours, stall_timeout=0.2)

    async def main() -> None:
        with pytest.raises(StalledError):
            await drive(job)

    run(main)
    ours.close()
    assert 0 < job.tally.sent < len(BIG)
    assert is_reset(peer)


def test_a_client_that_takes_a_little_all_the_time_is_not(
    run: Run, line: Line, source: FileSource
) -> None:
    """It takes several times as long as the timeout for the whole."""
    ours, peer = line
    job = transfer([whole(source)], ours, stall_timeout=0.3)

    def read_slowly() -> bytes:
        received = b""
        for _ in range(40):
            received += receive(peer, 64 * 1024)
            time.sleep(0.025)
        return received + receive(peer, len(BIG) - len(received))

    async def main() -> bytes:
        reading = asyncio.to_thread(read_slowly)
        _, received = await asyncio.gather(drive(job), reading)
        return received

    assert run(main) == BIG


def test_without_a_timeout_a_client_may_wait_for_ever(
    run: Run, line: Line, source: FileSource
) -> None:
    ours, peer = line
    job = transfer([whole(source)], ours, stall_timeout=0)

    async def main() -> bytes:
        sending = asyncio.create_task(drive(job))
        await settled(lambda: job.tally.sent)
        await asyncio.sleep(0.3)
        assert not sending.done()
        received = await asyncio.to_thread(receive, peer, len(BIG))
        await sending
        return received

    assert run(main) == BIG


def test_of_many_clients_only_those_that_stall_are_cut_off(
    run: Run, source: FileSource
) -> None:
    with connected() as good, connected() as bad:
        good_job = transfer([whole(source)], good[0], stall_timeout=0.3)
        bad_job = transfer([whole(source)], bad[0], stall_timeout=0.3)

        def read_slowly() -> bytes:
            received = b""
            while len(received) < len(BIG):
                received += receive(good[1], 1 << 20)
                time.sleep(0.05)
            return received

        async def main() -> bytes:
            reading = asyncio.to_thread(read_slowly)
            results = await asyncio.gather(
                drive(good_job), drive(bad_job), reading, return_exceptions=True
            )
            assert results[0] is None
            assert isinstance(results[1], StalledError)
            assert isinstance(results[2], bytes)
            return results[2]

        assert run(main) == BIG


# Disks ------------------------------------------------------------------------------


def test_a_step_that_may_wait_for_a_disk_is_taken_in_a_thread(
    run: Run, line: Line
) -> None:
    where: list[tuple[str, int]] = []

    def steps() -> Steps:
        where.append(("before", threading.get_ident()))
        yield Want.DISK
        where.append(("disk", threading.get_ident()))
        yield Want.WRITABLE
        where.append(("after", threading.get_ident()))

    async def main() -> None:
        await drive(Work(steps(), line[0]))

    run(main)
    here = threading.get_ident()
    assert [(name, ident == here) for name, ident in where] == [
        ("before", True),
        ("disk", False),
        ("after", True),
    ]


def test_the_loop_goes_on_while_a_step_waits_for_a_disk(run: Run, line: Line) -> None:
    disk = threading.Event()

    def steps() -> Steps:
        yield Want.DISK
        disk.wait(10)

    async def main() -> None:
        sending = asyncio.create_task(drive(Work(steps(), line[0])))
        for _ in range(100):
            await asyncio.sleep(0.001)
        assert not sending.done()
        disk.set()
        await sending

    run(main)


def test_a_long_stay_in_the_thread_is_interrupted(
    run: Run, line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that the loop can see how far it has come."""
    monkeypatch.setattr(asyncio_driver, "AWAY_SECONDS", 0.0)
    back: list[int] = []

    def steps() -> Steps:
        for _ in range(5):
            yield Want.DISK
        back.append(threading.get_ident())
        yield Want.TURN

    async def main() -> None:
        await drive(Work(steps(), line[0]))

    run(main)
    assert back


@pytest.mark.parametrize("error", [OSError(5, "bad sector"), ValueError("bug")])
def test_an_error_in_the_thread_comes_out(
    run: Run, line: Line, error: Exception
) -> None:
    def steps() -> Steps:
        yield Want.DISK
        raise error

    job = Work(steps(), line[0])

    async def main() -> None:
        with pytest.raises(type(error)) as caught:
            await drive(job)
        assert caught.value is error

    run(main)
    assert job.closed == 1


class Disk:
    """Holds steps of real transfers up until it is let go; only for cold ranges."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.go = threading.Event()
        self.asked = threading.Event()
        self.threads: set[int] = set()
        real = sockets.sendfile

        def waiting_sendfile(*arguments: Any) -> int:
            self.threads.add(threading.get_ident())
            self.asked.set()
            self.go.wait(10)
            return real(*arguments)

        monkeypatch.setattr(sockets, "sendfile", waiting_sendfile)
        monkeypatch.setattr(
            "zc_response.transmit.straight.is_resident", lambda *_: False
        )


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    disk = Disk(monkeypatch)
    yield disk
    disk.go.set()


def test_from_a_slow_disk_every_byte_comes_and_none_is_read_on_the_loop(
    run: Run, line: Line, source: FileSource, slow: Disk
) -> None:
    ours, peer = line
    job = transfer([b"<", whole(source), b">"], ours)

    async def main() -> bytes:
        sending = asyncio.create_task(drive(job))
        await asyncio.to_thread(slow.asked.wait, 10)
        slow.go.set()
        received = await asyncio.to_thread(receive, peer, len(BIG) + 2)
        await sending
        return received

    assert run(main) == b"<" + BIG + b">"
    assert threading.get_ident() not in slow.threads


def test_cancelled_while_a_step_is_away_the_connection_is_reset_at_once(
    run: Run, line: Line, source: FileSource, slow: Disk
) -> None:
    """And everything is closed when the step comes back."""
    ours, peer = line
    before = descriptors()
    job = transfer([whole(source)], ours)

    async def main() -> None:
        sending = asyncio.create_task(drive(job))
        await asyncio.to_thread(slow.asked.wait, 10)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        with pytest.raises(ConnectionResetError):
            peer.recv(1)
        source.release()
        assert not source.closed  # the thread may still read from it

        slow.go.set()
        await until(lambda: source.closed)
        await until(lambda: job.fileno() < 0)

    run(main)
    guards.close_all()
    close_all()
    assert descriptors() <= before
    assert job.tally.sent == 0


def test_cancelled_in_the_queue_for_a_thread_no_step_is_taken_any_more(
    run: Run, line: Line
) -> None:
    """The threads of a disk that hangs are all taken; much later they are free."""
    taken: list[str] = []
    disk = threading.Event()

    def hanging() -> Steps:
        yield Want.DISK
        disk.wait(10)

    def steps() -> Steps:
        yield Want.DISK
        taken.append("a step")

    async def main() -> None:
        others = [
            asyncio.create_task(drive(Work(hanging(), line[0]))) for _ in range(8)
        ]
        await asyncio.sleep(0.05)
        job = Work(steps(), line[0])
        sending = asyncio.create_task(drive(job))
        await asyncio.sleep(0.05)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        disk.set()
        await asyncio.gather(*others)
        await until(lambda: job.closed)

    run(main)
    assert taken == []


def test_a_disk_that_does_not_answer_ends_the_transfer(
    run: Run, line: Line, source: FileSource, slow: Disk
) -> None:
    """And is not taken for a client that stalls."""
    ours, peer = line
    job = transfer([whole(source)], ours, stall_timeout=0.2)

    async def main() -> None:
        with pytest.raises(FilesystemTimeoutError, match="has not answered"):
            await drive(job)
        with pytest.raises(ConnectionResetError):
            peer.recv(1)
        slow.go.set()
        await until(lambda: job.fileno() < 0)

    run(main)


def test_a_loop_that_is_closed_meanwhile_loses_nothing(
    line: Line, source: FileSource, slow: Disk
) -> None:
    ours, _ = line
    job = transfer([whole(source)], ours)
    loop = asyncio.new_event_loop()

    async def main() -> None:
        sending = asyncio.create_task(drive(job))
        await asyncio.to_thread(slow.asked.wait, 10)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending

    loop.run_until_complete(main())
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()
    slow.go.set()
    close_all()
    assert job.fileno() < 0


# Parking ----------------------------------------------------------------------------


@pytest.fixture
def parking(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asyncio_driver, "PARK_SECONDS", 0.05)


def is_parked(job: Transfer) -> bool:
    return job.fileno() < 0


async def parked(job: Transfer) -> None:
    """Wait until the client is being waited for without a descriptor."""
    await settled(lambda: job.tally.sent)
    await until(lambda: is_parked(job))


# No descriptor for a thread ----------------------------------------------------------


class Lack:
    """All is cold, and until `is_over` no descriptor is left to go to a thread with."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.tries = 0
        self.is_over = False
        self._duplicate = sockets.duplicate
        monkeypatch.setattr(sockets, "duplicate", self.duplicate)
        cold = "zc_response.transmit.straight.is_resident"
        monkeypatch.setattr(cold, lambda *_: False)

    def duplicate(self, fd: int) -> sockets.Socket:
        if self.is_over:
            return self._duplicate(fd)
        self.tries += 1
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


@pytest.fixture
def lack(monkeypatch: pytest.MonkeyPatch) -> Lack:
    return Lack(monkeypatch)


def test_a_step_for_which_no_descriptor_is_left_is_tried_again(
    run: Run, line: Line, source: FileSource, lack: Lack
) -> None:
    """And never taken where the loop would wait for the disk."""
    ours, peer = line
    job = transfer([whole(source)], ours)

    async def main() -> bytes:
        sending = asyncio.create_task(drive(job))
        await until(lambda: lack.tries > 3)
        assert job.tally.sent == 0
        lack.is_over = True
        received = await asyncio.to_thread(receive, peer, len(BIG))
        await sending
        return received

    assert run(main) == BIG


def test_if_none_comes_free_for_too_long_the_report_says_so(
    run: Run, line: Line, source: FileSource, lack: Lack
) -> None:
    ours, peer = line

    async def main() -> None:
        await drive(transfer([whole(source)], ours, stall_timeout=0.1))

    with pytest.raises(OutOfDescriptorsError):
        run(main)
    ours.close()
    assert is_reset(peer)


def test_cancelled_while_it_lacks_a_descriptor_it_resets_the_connection(
    run: Run, line: Line, source: FileSource, lack: Lack
) -> None:
    ours, peer = line

    async def main() -> None:
        sending = asyncio.create_task(drive(transfer([whole(source)], ours)))
        await until(lambda: lack.tries)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending

    run(main)
    ours.close()
    assert is_reset(peer)


@pytest.mark.usefixtures("parking")
def test_a_stalled_download_holds_no_descriptor_of_its_own(
    run: Run, line: Line, source: FileSource
) -> None:
    """But one, for all of them together."""
    ours, _ = line
    job = transfer([whole(source)], ours)

    async def main() -> None:
        before = descriptors()
        sending = asyncio.create_task(drive(job))
        await parked(job)
        assert descriptors() == before + 1
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        assert descriptors() == before

    run(main)


@pytest.mark.usefixtures("parking")
def test_a_parked_download_goes_on_where_it_was(
    run: Run, line: Line, source: FileSource
) -> None:
    """As often as the client stops and reads again."""
    ours, peer = line
    job = transfer([b"<", whole(source), b">"], ours)

    async def main() -> bytes:
        sending = asyncio.create_task(drive(job))
        received = b""
        for _ in range(3):
            await parked(job)
            received += await asyncio.to_thread(receive, peer, 3 << 20)
        received += await asyncio.to_thread(receive, peer, len(BIG) + 2 - len(received))
        await sending
        return received

    assert run(main) == b"<" + BIG + b">"


@pytest.mark.usefixtures("parking")
@pytest.mark.parametrize("how", ["reset", "close"])
def test_a_client_that_leaves_while_parked_is_noticed(
    run: Run, line: Line, source: FileSource, how: str
) -> None:
    ours, peer = line
    job = transfer([whole(source)], ours)

    async def main() -> None:
        sending = asyncio.create_task(drive(job))
        await parked(job)
        if how == "reset":
            sockets.abort(peer)
        peer.close()
        with pytest.raises(DisconnectedError):
            await sending

    run(main)


@pytest.mark.usefixtures("parking")
def test_a_connection_that_the_server_closes_while_parked_is_noticed(
    run: Run, line: Line, source: FileSource
) -> None:
    """Even if its number belongs to somebody else by then, who gets nothing."""
    ours, _ = line
    server = Server(ours)
    job = transfer([whole(source)], server)

    async def main() -> None:
        sending = asyncio.create_task(drive(job))
        await parked(job)
        sent = job.tally.sent
        number = ours.fileno()
        server.is_gone = True
        ours.close()
        others = [each for _ in range(20) for each in socket.socketpair()]
        assert number in [other.fileno() for other in others]
        with pytest.raises(DisconnectedError):
            await sending
        for other in others:
            with pytest.raises(BlockingIOError):
                other.recv(1, socket.MSG_DONTWAIT)
        for other in others:
            other.close()
        assert job.tally.sent == sent

    run(main)


@pytest.mark.usefixtures("parking")
def test_cancelled_while_parked_it_resets_the_connection(
    run: Run, line: Line, source: FileSource
) -> None:
    ours, peer = line
    job = transfer([whole(source)], ours)

    async def main() -> None:
        sending = asyncio.create_task(drive(job))
        await parked(job)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending

    run(main)
    ours.close()
    assert is_reset(peer)


@pytest.mark.usefixtures("parking")
def test_a_client_that_stalls_is_cut_off_while_parked_too(
    run: Run, line: Line, source: FileSource
) -> None:
    ours, peer = line
    job = transfer([whole(source)], ours, stall_timeout=0.5)

    async def main() -> None:
        sending = asyncio.create_task(drive(job))
        await parked(job)
        with pytest.raises(StalledError):
            await sending

    run(main)
    ours.close()
    assert is_reset(peer)


@pytest.mark.usefixtures("parking")
def test_many_parked_downloads_all_arrive(run: Run, source: FileSource) -> None:
    async def main(lines: list[Line]) -> list[bytes]:
        jobs = [transfer([whole(source)], ours) for ours, _ in lines]
        sending = asyncio.gather(*map(drive, jobs))
        for job in jobs:
            await parked(job)
        reading = [asyncio.to_thread(receive, peer, len(BIG)) for _, peer in lines]
        received = await asyncio.gather(*reading)
        await sending
        return received

    with contextlib.ExitStack() as stack:
        lines = [stack.enter_context(connected()) for _ in range(5)]
        for received in run(lambda: main(lines)):
            assert received == BIG

"""Transfers of files that are written to meanwhile, on both loops."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.filesystems import DISK_KINDS
from tests.live import PATIENCE
from tests.loops import Run
from tests.transmit.lines import (
    CONTENT,
    receive,
    tally_of,
    whole,
)
from tests.transmit.test_asyncio_driver import settled
from tests.transmit.test_driver_waits import is_reset, until
from tests.writers import OVERWRITE, TRUNCATE, Writer
from zc_response.errors import ChangedError
from zc_response.kernel import leases as kernel, sockets
from zc_response.policy import Policy
from zc_response.sources import FileSource
from zc_response.transmit import (
    Access,
    Body,
    Strategy,
    Transfer,
    asyncio_driver,
    drive,
    waiting,
)
from zc_response.transmit.steps import Want

BIG = CONTENT * 16  # more than a socket's buffers take
Line = tuple[socket.socket, socket.socket]
Disk = Callable[[str], Path]

SHORT_SECONDS = kernel.break_time() / 2
"""Less than this, and it was not the kernel that let the writer in."""


@pytest.fixture(params=DISK_KINDS)
def source(request: pytest.FixtureRequest, disk: Disk) -> Iterator[FileSource]:
    """A big file on each kind of disk."""
    yield from big_file(disk(request.param) / "big")


@pytest.fixture
def plain_source(tmp_path: Path) -> Iterator[FileSource]:
    yield from big_file(tmp_path / "big")


def big_file(path: Path) -> Iterator[FileSource]:
    path.write_bytes(BIG)
    with FileSource.open(path) as source:
        yield source
    path.unlink()


def transfer_of(
    source: FileSource,
    ours: socket.socket,
    strategy: Strategy = Strategy.SENDFILE,
    **settings: Any,
) -> Transfer:
    tally = tally_of([whole(source)], strategy)
    policy = Policy(**settings)
    body = Body([whole(source)], policy)
    return Transfer(body, Access(fileno=ours.fileno), policy, tally)


def no_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    def take(_fd: int, _thread: int) -> None:
        raise OSError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(kernel, "take", take)


def test_closing_a_transfer_twice_leaves_its_account_alone(
    line: Line, source: FileSource
) -> None:
    job = transfer_of(source, line[0], integrity="safe")
    job.close()
    guard = job.tally.guard
    job.close()

    assert guard == job.tally.guard == "lease"


def test_a_file_that_is_truncated_while_it_is_sent_arrives_whole(
    run: Run, line: Line, source: FileSource
) -> None:
    """Truncated pages that are under way keep their bytes, as overwritten ones do
    not on this host; so what arrives is what was sent."""
    ours, peer = line
    job = transfer_of(source, ours)

    async def main() -> bytes:
        sending = asyncio.create_task(drive(job))
        await settled(lambda: job.tally.sent)
        with Writer(source.path, TRUNCATE) as writer:
            writer.go()
            received = await asyncio.to_thread(receive, peer, len(BIG))
            await asyncio.to_thread(writer.seconds)
        await sending
        return received

    assert run(main) == BIG
    assert (job.tally.guard, job.tally.strategy) == ("snapshot", "sendfile")


def test_a_file_that_is_overwritten_while_it_is_copied_arrives_as_it_was(
    run: Run, line: Line, source: FileSource
) -> None:
    """What has been read can change no more, so the writer need not wait for it."""
    ours, peer = line
    job = transfer_of(source, ours, Strategy.COPY)

    async def main() -> bytes:
        sending = asyncio.create_task(drive(job))
        await settled(lambda: job.tally.sent)
        with Writer(source.path, OVERWRITE) as writer:
            writer.go()
            await asyncio.to_thread(writer.seconds)
        received = await asyncio.to_thread(receive, peer, len(BIG))
        await sending
        return received

    assert run(main) == BIG
    assert job.tally.guard == "snapshot"


@pytest.mark.parametrize("park_seconds", [0.01, 100.0], ids=["parked", "waiting"])
def test_a_client_that_takes_nothing_is_cut_off_when_the_budget_ends(
    run: Run,
    line: Line,
    plain_source: FileSource,
    monkeypatch: pytest.MonkeyPatch,
    park_seconds: float,
) -> None:
    monkeypatch.setattr(asyncio_driver, "PARK_SECONDS", park_seconds)
    monkeypatch.setattr(waiting, "TICK_SECONDS", 0.01)
    ours, peer = line
    job = transfer_of(plain_source, ours, break_budget=0.3)

    async def main() -> None:
        sending = asyncio.create_task(drive(job))
        await settled(lambda: job.tally.sent)
        if park_seconds < 1:
            await until(lambda: job.fileno() < 0)
            monkeypatch.setattr(waiting, "TICK_SECONDS", 1000.0)
            await asyncio.sleep(0.05)  # from now on it is woken, or sleeps
        with Writer(plain_source.path, OVERWRITE) as writer:
            writer.go()
            with pytest.raises(ChangedError, match="has not taken in time"):
                await sending
            assert await asyncio.to_thread(writer.seconds) < SHORT_SECONDS

    run(main)
    ours.close()
    assert is_reset(peer)


def test_what_is_too_big_for_a_snapshot_ends_visibly(
    run: Run, line: Line, plain_source: FileSource
) -> None:
    ours, peer = line
    job = transfer_of(plain_source, ours, snapshot_bytes=len(BIG) // 2)
    received = bytearray()

    def read_all() -> None:
        while data := peer.recv(1 << 20):
            received.extend(data)

    async def main() -> None:
        sending = asyncio.create_task(drive(job))
        await settled(lambda: job.tally.sent)
        with Writer(plain_source.path, TRUNCATE) as writer:
            writer.go()
            await until(lambda: not kernel.is_held(plain_source.fileno()))
            reading = asyncio.create_task(asyncio.to_thread(read_all))
            with pytest.raises(ChangedError, match="no copy of the rest"):
                await sending
            await asyncio.to_thread(writer.seconds)
        ours.close()
        with pytest.raises(ConnectionResetError):
            await reading

    run(main)
    assert len(received) <= job.tally.sent < len(BIG)
    assert received == BIG[: len(received)]


@pytest.mark.parametrize("reads", [True, False], ids=["reads", "does not read"])
def test_a_loop_that_writes_to_the_file_it_sends_does_not_wait_for_itself(
    run: Run, line: Line, plain_source: FileSource, reads: bool
) -> None:
    ours, peer = line
    job = transfer_of(plain_source, ours, break_budget=0.3)
    received: list[bytes] = []
    reading = threading.Thread(
        target=lambda: received.append(receive(peer, len(BIG))), daemon=True
    )

    async def main() -> float:
        sending = asyncio.create_task(drive(job))
        await settled(lambda: job.tally.sent)
        if reads:
            reading.start()
        began = time.monotonic()
        with open(plain_source.path, "r+b") as file:  # noqa: ASYNC230  # that is it
            seconds = time.monotonic() - began
            file.truncate(0)
        if reads:
            await sending
        else:
            with pytest.raises(ChangedError):
                await sending
        return seconds

    assert run(main) < SHORT_SECONDS
    if reads:
        reading.join()
        assert received == [BIG]


@pytest.mark.parametrize("strategy", [Strategy.SENDFILE, Strategy.COPY])
def test_without_a_lease_a_file_that_is_overwritten_ends_visibly(
    run: Run,
    line: Line,
    source: FileSource,
    monkeypatch: pytest.MonkeyPatch,
    strategy: Strategy,
) -> None:
    no_lease(monkeypatch)
    ours, peer = line
    job = transfer_of(source, ours, strategy)

    async def main() -> None:
        sending = asyncio.create_task(drive(job))
        await settled(lambda: job.tally.sent)
        with Writer(source.path, OVERWRITE) as writer:
            await asyncio.to_thread(writer.go().seconds)
        reading = asyncio.create_task(asyncio.to_thread(is_reset, peer))
        with pytest.raises(ChangedError, match="was written to"):
            await sending
        ours.close()
        assert await reading

    run(main)
    assert job.tally.sent < len(BIG)
    assert job.tally.guard == "stat"


def test_without_a_lease_the_last_byte_leaves_after_the_last_look(
    line: Line, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever changes what has been queued until then can still be seen."""
    no_lease(monkeypatch)
    (tmp_path / "f").write_bytes(CONTENT[:10_000])
    ours, peer = line
    with FileSource.open(tmp_path / "f") as source:
        job = transfer_of(source, ours)
        steps = job.steps()
        assert next(steps) is Want.TURN
        assert job.tally.sent == 9_999
        with open(source.path, "r+b") as file:
            file.write(b"\xff")
        with pytest.raises(ChangedError):
            list(steps)
        assert job.tally.sent == 9_999
        job.abort()
        job.close()
    ours.close()
    assert is_reset(peer)


def test_with_a_lease_the_last_byte_leaves_with_the_others(
    line: Line, tmp_path: Path
) -> None:
    (tmp_path / "f").write_bytes(CONTENT[:10_000])
    with FileSource.open(tmp_path / "f") as source:
        job = transfer_of(source, line[0])
        assert list(job.steps()) == []
        job.close()


def test_strict_holds_the_file_until_the_client_has_taken_all(
    line: Line, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By reference, so to a client on another host."""
    left = [3, 2, 1, 0]
    monkeypatch.setattr(sockets, "unacknowledged", lambda _fd: left.pop(0))
    (tmp_path / "f").write_bytes(CONTENT[:10_000])
    with FileSource.open(tmp_path / "f") as source:
        job = transfer_of(source, line[0], integrity="strict")
        assert list(job.steps()) == [Want.SOON] * 3
        assert left == []
        job.close()


def test_strict_keeps_a_descriptor_to_be_cut_off_by(line: Line, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(CONTENT[:10_000])
    with FileSource.open(tmp_path / "f") as source:
        job = transfer_of(source, line[0], integrity="strict")
        own = job.fileno()
        assert own not in (-1, line[0].fileno())
        job.park()
        job.borrow()
        job.own()
        assert job.fileno() == own
        assert job.cut()
        job.close()
    with pytest.raises(ConnectionResetError):
        line[1].recv(1)


@pytest.mark.parametrize("is_queued", [False, True], ids=["before", "after"])
def test_a_step_that_outlasts_the_budget_is_cut_off_and_says_why(
    run: Run,
    line: Line,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    is_queued: bool,
) -> None:
    """Before it has put the last bytes into the socket, or right after that."""
    real, asked, written = sockets.sendfile, threading.Event(), threading.Event()

    def slow(*arguments: int) -> int:
        sent = real(*arguments) if is_queued else 0
        asked.set()
        assert written.wait(PATIENCE)
        return sent or real(*arguments)

    monkeypatch.setattr(sockets, "sendfile", slow)
    monkeypatch.setattr("zc_response.transmit.straight.is_resident", lambda *_: False)
    path = tmp_path / "f"
    path.write_bytes(CONTENT[:10_000])
    ours, peer = line

    async def main(job: Transfer) -> None:
        sending = asyncio.create_task(drive(job))
        await asyncio.to_thread(asked.wait, PATIENCE)
        with Writer(path, OVERWRITE) as writer:
            assert await asyncio.to_thread(writer.go().seconds) < SHORT_SECONDS
            written.set()
            with pytest.raises(ChangedError, match="has not taken in time"):
                await sending

    with FileSource.open(path) as source:
        job = transfer_of(source, ours, break_budget=0.1)
        run(lambda: main(job))
    ours.close()
    assert is_reset(peer)
    assert job.tally.sent == 0

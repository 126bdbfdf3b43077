"""Reading around the page cache: what stays out of it, and what is read ahead."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import threading
import weakref
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.filesystems import DISK_KINDS
from tests.live import PATIENCE, eventually
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
from tests.transmit.test_asyncio_driver import settled
from tests.transmit.test_strategies import pump, traces_of
from tests.writers import OVERWRITE, Writer
from zc_response.cli.bench.disks import Disk
from zc_response.kernel import buffers as buffers_module, files, pages
from zc_response.planning import Slice
from zc_response.policy import Policy
from zc_response.sources import FileSource
from zc_response.transmit import Access, Body, Strategy, Transfer, direct, drive
from zc_response.transmit.direct import BUFFER, LARGEST
from zc_response.transmit.steps import Want

BIG = CONTENT * 16
Line = tuple[socket.socket, socket.socket]


def sent(source: FileSource, *parts: tuple[int, int], **settings: Any) -> bytes:
    """What arrives of parts of a file, each an offset and a length."""
    segments: list[Any] = [Slice(source, *part) for part in parts]
    with connected() as (ours, peer):
        with transfer_of(segments, ours, Strategy.DIRECT, 1 << 20, **settings) as (
            transfer,
            tally,
        ):
            early = pump(transfer, peer)
            late = receive(peer, tally.promised - len(early))
        assert tally.strategy in (Strategy.DIRECT, Strategy.SENDFILE)
    return early + late


@pytest.mark.parametrize("kind", [kind for kind in DISK_KINDS if kind != "tmpfs"])
def test_a_download_leaves_nothing_in_the_page_cache(
    disk: Callable[[str], Path], kind: str
) -> None:
    path = disk(kind) / "big"
    path.write_bytes(BIG)
    Disk(path=path.parent, kind=kind).drop_caches(path)
    with FileSource.open(path) as source:
        assert sent(source, (1, len(BIG) - 2)) == BIG[1:-1]
        in_memory = pages.cached(source.fileno(), 0, len(BIG)) * pages.PAGE
    path.unlink()
    assert in_memory <= BUFFER, kind


def test_what_is_in_memory_already_stays_there(tmp_path: Path) -> None:
    with open_file(tmp_path / "f", BIG) as source:
        os.fsync(source.fileno())
        before = pages.cached(source.fileno(), 0, len(BIG))
        assert sent(source, (0, len(BIG))) == BIG
        assert pages.cached(source.fileno(), 0, len(BIG)) == before


EDGE = BUFFER - 1


@pytest.mark.parametrize(
    ("offset", "length"),
    [(0, 1), (1, 1), (4095, 2), (EDGE, 2), (EDGE, BUFFER + 2), (1, 2 * BUFFER)],
)
@pytest.mark.parametrize("size", [3 * BUFFER, 3 * BUFFER + 1, 3 * BUFFER - 1])
def test_ends_and_misaligned_ranges_are_right(
    tmp_path: Path, offset: int, length: int, size: int
) -> None:
    content = (CONTENT * 4)[:size]
    last = (size - length, length)
    with open_file(tmp_path / "f", content) as source:
        arrived = sent(source, (offset, length), last)
    assert arrived == content[offset : offset + length] + content[-length:]


def test_what_was_written_a_moment_ago_is_what_is_sent(tmp_path: Path) -> None:
    """It is in memory only: the kernel writes it to the disk first."""
    with open_file(tmp_path / "f", CONTENT) as source:
        with open(source.path, "r+b") as file:
            file.write(b"\xff" * 100)
        with FileSource.open(source.path) as anew:
            assert sent(anew, (0, 200)) == b"\xff" * 100 + CONTENT[100:200]


def test_while_one_buffer_is_sent_the_next_one_is_read(
    line: Line, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, read_by = files.read_into, list[int]()

    def read_into(fd: int, buffer: memoryview, offset: int) -> int:
        read_by.append(threading.get_native_id())
        return real(fd, buffer, offset)

    monkeypatch.setattr(files, "read_into", read_into)
    me = threading.get_native_id()
    with open_file(tmp_path / "f", BIG) as source:
        with transfer_of([whole(source)], line[0], Strategy.DIRECT, 1000) as (
            transfer,
            tally,
        ):
            steps = transfer.steps()
            while next(steps) is not Want.TURN:
                pass
            assert tally.sent < BUFFER
            eventually(lambda: len(read_by) == 2, "the second buffer")
            assert read_by[0] == me != read_by[1]


@pytest.mark.parametrize(
    ("when", "sizes"),
    [
        ("late", [1, 1, 2, 4, 4]),
        ("early", [1, 1, 1, 1, 1]),
        ("late, then early", [1, 1, 2, 4, 4, 2, 1]),
    ],
)
def test_buffers_grow_while_the_disk_is_what_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str, sizes: list[int]
) -> None:
    """Late: nobody reads before it is waited for."""
    real, read = files.read_into, list[int]()

    def read_into(fd: int, buffer: memoryview, offset: int) -> int:
        read.append(len(buffer) // BUFFER)
        return real(fd, buffer, offset)

    def submit(work: Callable[[], None]) -> None:
        if "early" in when and ("late" not in when or len(read) > 3):
            work()

    monkeypatch.setattr(files, "read_into", read_into)
    monkeypatch.setattr(direct, "lane", lambda _: SimpleNamespace(submit=submit))
    with open_file(tmp_path / "f", CONTENT * 48) as source:
        assert sent(source, (0, len(CONTENT) * 48)) == CONTENT * 48
    assert read[: len(sizes)] == sizes
    assert max(read) * BUFFER <= LARGEST


def test_what_was_read_ahead_for_a_client_that_rests_is_given_back_and_read_again(
    line: Line, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, read = files.read_into, list[int]()

    def read_into(fd: int, buffer: memoryview, offset: int) -> int:
        read.append(offset)
        return real(fd, buffer, offset)

    monkeypatch.setattr(files, "read_into", read_into)

    def noted(count: int) -> memoryview:
        view = buffers_module.aligned(count)
        buffers.append(weakref.ref(view.obj))
        return view

    buffers: list[weakref.ref[Any]] = []
    at_once = SimpleNamespace(submit=lambda work: work())
    monkeypatch.setattr(direct, "lane", lambda _: at_once)
    monkeypatch.setattr(direct, "aligned", noted)
    with open_file(tmp_path / "f", BIG) as source:
        with transfer_of([whole(source)], line[0], Strategy.DIRECT) as (job, _):
            for want in job.steps():
                if want is Want.WRITABLE:
                    break
            assert [buffer() is None for buffer in buffers] == [False, False]
            job.park()
            assert [buffer() is None for buffer in buffers] == [False, True]
            job.borrow()
            arrived = pump(job, line[1])
            arrived += receive(line[1], len(BIG) - len(arrived))
        assert arrived == BIG
        assert read[:3] == [0, BUFFER, BUFFER]


def test_the_loop_takes_no_part_in_reading(
    run: Run, line: Line, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, read_by = files.read_into, set[int]()

    def read_into(fd: int, buffer: memoryview, offset: int) -> int:
        read_by.add(threading.get_native_id())
        return real(fd, buffer, offset)

    monkeypatch.setattr(files, "read_into", read_into)
    with open_file(tmp_path / "f", BIG) as source:
        with transfer_of([whole(source)], line[0], Strategy.DIRECT) as (job, _):

            async def main() -> bytes:
                reading = asyncio.to_thread(receive, line[1], len(BIG))
                return (await asyncio.gather(reading, drive(job)))[0]

            assert run(main) == BIG
    assert read_by
    assert threading.get_native_id() not in read_by


def test_who_leaves_while_a_read_hangs_leaves_nothing_behind_when_it_ends(
    line: Line, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, hangs, go_on = files.read_into, threading.Event(), threading.Event()

    def read_into(fd: int, buffer: memoryview, offset: int) -> int:
        if offset:
            hangs.set()
            assert go_on.wait(PATIENCE)
        return real(fd, buffer, offset)

    monkeypatch.setattr(files, "read_into", read_into)
    path, policy = tmp_path / "f", Policy(integrity="fast", step_bytes=1000)
    with open_file(path, BIG) as source:
        body, access = Body([whole(source)], policy), Access(line[0].fileno)
        tally = tally_of([whole(source)], Strategy.DIRECT)
        with closing(Transfer(body, access, policy, tally)) as transfer:
            steps = transfer.steps()
            while next(steps) is not Want.TURN:
                pass
            assert hangs.wait(PATIENCE)
    assert traces_of(path)
    go_on.set()
    eventually(lambda: not traces_of(path), "the end of the read")


@pytest.mark.parametrize("kind", DISK_KINDS)
def test_a_file_that_is_overwritten_meanwhile_arrives_as_it_was(
    run: Run, line: Line, disk: Callable[[str], Path], kind: str
) -> None:
    """From the snapshot: by O_DIRECT again, or otherwise where that is refused."""
    path = disk(kind) / "big"
    path.write_bytes(BIG)
    with FileSource.open(path) as source:
        with transfer_of([whole(source)], line[0], Strategy.DIRECT) as (job, tally):

            async def main() -> bytes:
                sending = asyncio.create_task(drive(job))
                await settled(lambda: tally.sent)
                with Writer(str(path), OVERWRITE) as writer:
                    writer.go()
                    await asyncio.to_thread(writer.seconds)
                received = await asyncio.to_thread(receive, line[1], len(BIG))
                await sending
                return received

            assert run(main) == BIG
            assert tally.guard == "snapshot"
    path.unlink()


def test_where_the_filesystem_has_no_direct_reads_the_table_is_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    monkeypatch.setattr(files, "open_directly", refuse)
    with open_file(tmp_path / "f") as source, connected() as (ours, peer):
        with transfer_of([whole(source)], ours, Strategy.DIRECT) as (transfer, tally):
            arrived = pump(transfer, peer)
            arrived += receive(peer, len(CONTENT) - len(arrived))
    assert arrived == CONTENT
    assert tally.strategy == "sendfile"
    assert tally.reason == "O_DIRECT: Invalid argument"

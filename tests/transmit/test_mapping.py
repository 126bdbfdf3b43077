"""A file that is sent from a mapping, and shrinks meanwhile: on every driver
(gunicorn's are in tests/gunicorn/test_strategies.py).

Whoever loaded a byte of it here would be killed by SIGBUS, and the tests with him.
"""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from pathlib import Path

import pytest

from tests.filesystems import Faults, MountFaulty
from tests.live import PATIENCE
from tests.loops import Run
from tests.transmit.lines import (
    CONTENT,
    connected,
    open_file,
    transfer_of,
    whole,
)
from tests.transmit.test_asyncio_driver import settled
from tests.transmit.test_driver_waits import is_reset
from tests.transmit.test_strategies import traces_of
from zc_response.errors import TruncatedError
from zc_response.kernel.mappings import Mapping
from zc_response.kernel.pages import PAGE
from zc_response.sources import FileSource
from zc_response.transmit import Strategy, drive, drive_here
from zc_response.transmit.mapping import WINDOW
from zc_response.transmit.steps import Want

BIG = CONTENT * 16  # more than a socket's buffers take
Line = tuple[socket.socket, socket.socket]


def test_on_a_loop_a_file_that_shrinks_ends_visibly(
    run: Run, line: Line, tmp_path: Path
) -> None:
    ours, peer = line
    with open_file(tmp_path / "f", BIG) as source:
        with transfer_of([whole(source)], ours, Strategy.MMAP, integrity="fast") as (
            job,
            tally,
        ):

            async def main() -> None:
                sending = asyncio.create_task(drive(job))
                await settled(lambda: tally.sent)
                os.truncate(source.path, 0)
                reading = asyncio.create_task(asyncio.to_thread(is_reset, peer))
                with pytest.raises(TruncatedError):
                    await sending
                ours.close()
                assert await reading

            run(main)
    assert 0 < tally.sent < len(BIG)


def test_in_a_thread_a_file_that_shrinks_ends_visibly(
    line: Line, tmp_path: Path
) -> None:
    ours, peer = line
    with open_file(tmp_path / "f", BIG) as source:
        with transfer_of([whole(source)], ours, Strategy.MMAP, integrity="fast") as (
            job,
            tally,
        ):
            steps = job.steps()
            while next(steps) is not Want.WRITABLE:
                pass
            os.truncate(source.path, 0)
            found: list[bool] = []
            reading = threading.Thread(target=lambda: found.append(is_reset(peer)))
            reading.start()
            with pytest.raises(TruncatedError):
                drive_here(job, lambda: None)
    ours.close()
    reading.join(PATIENCE)
    assert found == [True]
    assert 0 < tally.sent < len(BIG)


def test_a_file_that_is_cut_off_in_the_middle_of_a_page_is_noticed(
    line: Line, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a step is being taken: then the kernel sends zeros up to the page's end."""
    real = Mapping.send

    def send(mapping: Mapping, *arguments: int, more: bool) -> int:
        os.truncate(tmp_path / "f", 10)
        return real(mapping, *arguments, more=more)

    monkeypatch.setattr(Mapping, "send", send)
    with open_file(tmp_path / "f", CONTENT[:PAGE]) as source:
        with transfer_of([whole(source)], line[0], Strategy.MMAP, integrity="fast") as (
            job,
            tally,
        ):
            with pytest.raises(TruncatedError, match="ended at byte 10"):
                list(job.steps())
    assert tally.sent == 0


def test_a_broken_disk_is_told_from_a_file_that_shrinks(
    line: Line, faulty_mount: MountFaulty
) -> None:
    bad = 5 * PAGE
    file = faulty_mount(CONTENT, Faults(read_error_from=bad)).file
    with FileSource.open(file) as source:
        with transfer_of([whole(source)], line[0], Strategy.MMAP) as (job, tally):
            with pytest.raises(OSError, match="Input/output error"):
                list(job.steps())
    assert tally.sent <= bad


def test_however_large_the_file_is_a_window_is_mapped(tmp_path: Path) -> None:
    path, sizes = tmp_path / "f", []
    with path.open("wb") as file:
        file.truncate(64 * WINDOW)
    with connected() as (ours, peer), FileSource.open(path) as source:
        peer.setblocking(False)
        with transfer_of([whole(source)], ours, Strategy.MMAP, 1 << 20) as (job, tally):
            for _want in job.steps():
                sizes.append(mapped_bytes(path))
                while taken(peer):
                    pass
                if tally.sent > 3 * WINDOW:
                    break
    assert WINDOW <= max(sizes) <= WINDOW + PAGE
    assert traces_of(path) == []


def mapped_bytes(path: Path) -> int:
    total = 0
    for line in Path("/proc/self/maps").read_text().splitlines():
        if line.endswith(str(path)):
            start, end = line.split(" ")[0].split("-")
            total += int(end, 16) - int(start, 16)
    return total


def taken(peer: socket.socket) -> bytes:
    try:
        return peer.recv(1 << 20)
    except BlockingIOError:
        return b""

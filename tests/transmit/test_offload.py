"""The loop that finishes what a worker has begun."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.live import eventually
from tests.transmit.lines import (
    CONTENT,
    connected,
    open_file,
    receive,
    transfer_of,
    whole,
)
from zc_response import Report
from zc_response.kernel import sockets
from zc_response.report import Tally
from zc_response.transmit import Transfer, drive_briefly, drive_here
from zc_response.transmit.offload import Done, Offload

BIG = CONTENT * 16  # more than a socket's buffers take
MOST = 2


@pytest.fixture
def offload() -> Iterator[Offload]:
    made = Offload()
    yield made
    made.close()


@pytest.fixture
def begun(tmp_path: Path) -> Iterator[tuple[Transfer, Tally, socket.socket]]:
    """A transfer that its client makes wait; its account, and the client."""
    with contextlib.ExitStack() as stack:
        ours, peer = stack.enter_context(connected())
        source = stack.enter_context(open_file(tmp_path / "file", BIG))
        transfer, tally = stack.enter_context(transfer_of([whole(source)], ours))
        tally.begin()
        assert not drive_briefly(transfer, 1.0, 0.001)
        yield transfer, tally, peer


async def note(ends: list[bool], whole: bool) -> None:
    ends.append(whole)


def prepare(ends: list[bool]) -> Done:
    return partial(note, ends)


def no_descriptors() -> Done:
    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


def test_it_sends_the_rest_and_says_so(
    offload: Offload,
    begun: tuple[Transfer, Tally, socket.socket],
    reports: list[Report],
) -> None:
    transfer, tally, peer = begun
    ends: list[bool] = []

    assert offload.take(transfer, tally, partial(prepare, ends), MOST)
    assert len(offload) == 1
    assert receive(peer, len(BIG)) == BIG

    eventually(lambda: not len(offload))
    assert ends == [True]
    assert [(r.outcome, r.sent) for r in reports] == [("complete", len(BIG))]


def test_it_takes_no_more_than_it_may(
    offload: Offload, begun: tuple[Transfer, Tally, socket.socket]
) -> None:
    transfer, tally, peer = begun

    assert not offload.take(transfer, tally, no_descriptors, 0)

    with contextlib.closing(peer):
        reader = threading.Thread(target=receive, args=(peer, len(BIG)))
        reader.start()
        drive_here(transfer, lambda: None)
        reader.join()
    tally.end(None)


def test_what_cannot_be_prepared_is_left_to_the_worker(
    offload: Offload, begun: tuple[Transfer, Tally, socket.socket]
) -> None:
    transfer, tally, peer = begun

    assert not offload.take(transfer, tally, no_descriptors, MOST)
    assert len(offload) == 0

    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(receive(peer, len(BIG))))
    reader.start()
    drive_here(transfer, lambda: None)
    reader.join()
    tally.end(None)
    assert got == [BIG]


def test_without_a_thread_it_takes_nothing_and_later_it_does(
    offload: Offload,
    begun: tuple[Transfer, Tally, socket.socket],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    transfer, tally, peer = begun
    ends: list[bool] = []

    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        assert not offload.take(transfer, tally, partial(prepare, ends), MOST)
    assert offload.take(transfer, tally, partial(prepare, ends), MOST)

    assert receive(peer, len(BIG)) == BIG
    eventually(lambda: ends)
    assert ends == [True]


def test_draining_waits_for_those_that_move(
    offload: Offload, begun: tuple[Transfer, Tally, socket.socket]
) -> None:
    transfer, tally, peer = begun
    ends: list[bool] = []
    offload.take(transfer, tally, partial(prepare, ends), MOST)
    reader = threading.Thread(target=receive, args=(peer, len(BIG)))
    reader.start()

    beats: list[None] = []
    offload.drain(10, lambda: beats.append(None))

    reader.join()
    assert ends == [True]
    assert beats


def test_draining_cuts_off_those_that_do_not(
    offload: Offload,
    begun: tuple[Transfer, Tally, socket.socket],
    reports: list[Report],
) -> None:
    transfer, tally, _peer = begun
    ends: list[bool] = []
    offload.take(transfer, tally, partial(prepare, ends), MOST)

    offload.drain(0.1, lambda: None)

    assert ends == [False]
    assert len(offload) == 0
    assert [r.outcome for r in reports] == ["cancelled"]


def test_who_waits_without_a_descriptor_waits_with_the_servers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(_fd: int) -> socket.socket:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(sockets, "duplicate", refused)
    got: list[bytes] = []
    with connected() as (ours, peer), open_file(tmp_path / "file", BIG) as source:
        with transfer_of([whole(source)], ours) as (transfer, tally), tally:
            reader = threading.Thread(
                target=lambda: got.append(receive(peer, len(BIG)))
            )
            assert not drive_briefly(transfer, 1.0, 0.001)
            reader.start()
            drive_here(transfer, lambda: None)
            reader.join()
    assert got == [BIG]

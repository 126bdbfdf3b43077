from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

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
from zc_response.errors import DisconnectedError, TruncatedError
from zc_response.kernel import sockets
from zc_response.planning import Segment, Slice
from zc_response.sources import FileSource
from zc_response.transmit import Strategy, Transfer
from zc_response.transmit.steps import Want
from zc_response.transmit.transfer import STRATEGIES

every_strategy = pytest.mark.parametrize("strategy", list(STRATEGIES))


def pump(transfer: Transfer, peer: socket.socket, limit: int = 1 << 20) -> bytes:
    """Run a transfer to its end, reading at the peer's side whenever it waits."""
    received = bytearray()
    peer.setblocking(False)
    for _ in transfer.steps():
        try:
            received += peer.recv(limit)
        except BlockingIOError:
            pass
    peer.setblocking(True)
    peer.settimeout(10)
    return bytes(received)


def deliver(segments: list[Segment], strategy: Strategy, **settings: Any) -> bytes:
    """What arrives of segments."""
    with connected() as (ours, peer):
        with transfer_of(segments, ours, strategy, **settings) as (transfer, tally):
            early = pump(transfer, peer)
        ours.close()
        received = early + receive(peer, 1 << 30)
    assert tally.sent == tally.promised
    return received


@every_strategy
def test_a_whole_file_arrives_as_it_is(tmp_path: Path, strategy: Strategy) -> None:
    with open_file(tmp_path / "f") as source:
        assert deliver([whole(source)], strategy) == CONTENT


@every_strategy
def test_slices_and_literals_arrive_in_order(
    tmp_path: Path, strategy: Strategy
) -> None:
    with open_file(tmp_path / "f") as source:
        segments: list[Segment] = [
            b"<",
            Slice(source, 3, 70001),
            b"|",
            Slice(source, 0, 1),
            b">",
        ]

        arrived = deliver(segments, strategy)

    assert arrived == b"<" + CONTENT[3:70004] + b"|" + CONTENT[:1] + b">"


@every_strategy
def test_an_empty_slice_sends_nothing(tmp_path: Path, strategy: Strategy) -> None:
    with open_file(tmp_path / "f", b"") as source:
        assert deliver([whole(source)], strategy) == b""


@every_strategy
@pytest.mark.parametrize("offset", [0, 1, 4095, 4096, 4097, len(CONTENT) - 1])
def test_odd_offsets_are_right(tmp_path: Path, strategy: Strategy, offset: int) -> None:
    with open_file(tmp_path / "f") as source:
        count = min(9000, len(CONTENT) - offset)
        arrived = deliver([Slice(source, offset, count)], strategy)

    assert arrived == CONTENT[offset : offset + count]


@every_strategy
def test_offsets_beyond_4_gib_are_right(tmp_path: Path, strategy: Strategy) -> None:
    far = 5 * 1024**3
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        file.seek(far)
        file.write(b"the end")
    with FileSource.open(path) as source:
        assert deliver([Slice(source, far - 3, 10)], strategy) == b"\0\0\0the end"


@every_strategy
def test_a_step_is_bounded(tmp_path: Path, strategy: Strategy) -> None:
    with open_file(tmp_path / "f") as source, connected() as (ours, _peer):
        with transfer_of([whole(source)], ours, strategy, step_bytes=1000) as (
            transfer,
            tally,
        ):
            steps = transfer.steps()
            for turn in range(1, 20):
                assert next(steps) is Want.TURN
                assert tally.sent == 1000 * turn


@every_strategy
def test_a_full_socket_is_waited_for(tmp_path: Path, strategy: Strategy) -> None:
    with open_file(tmp_path / "f", CONTENT * 16) as source, connected() as (ours, peer):
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        with transfer_of([whole(source)], ours, strategy) as (transfer, _):
            steps = transfer.steps()
            while next(steps) is not Want.WRITABLE:
                pass

            assert next(steps) is Want.WRITABLE


@every_strategy
def test_a_file_that_shrinks_is_an_error_though_bytes_are_only_counted(
    tmp_path: Path, strategy: Strategy
) -> None:
    with open_file(tmp_path / "f") as source, connected() as (ours, peer):
        with transfer_of(
            [whole(source)], ours, strategy, step_bytes=5000, integrity="fast"
        ) as (transfer, tally):
            steps = transfer.steps()
            next(steps)
            os.truncate(tmp_path / "f", 7000)

            with pytest.raises(TruncatedError, match="ends at byte 7000"):
                list(steps)
            assert tally.sent == 7000
            assert receive(peer, 7000) == CONTENT[:7000]


@every_strategy
def test_a_file_that_grows_is_sent_as_far_as_was_promised_if_bytes_are_only_counted(
    tmp_path: Path, strategy: Strategy
) -> None:
    with open_file(tmp_path / "f") as source:
        with (tmp_path / "f").open("ab") as file:
            file.write(b"more")
        assert deliver([whole(source)], strategy, integrity="fast") == CONTENT


@every_strategy
def test_a_client_that_resets_is_a_disconnect(
    tmp_path: Path, strategy: Strategy
) -> None:
    with open_file(tmp_path / "f") as source, connected() as (ours, peer):
        with transfer_of([whole(source)], ours, strategy, step_bytes=5000) as (
            transfer,
            _,
        ):
            steps = transfer.steps()
            next(steps)
            sockets.abort(peer)
            peer.close()

            with pytest.raises(DisconnectedError):
                list(steps)


def failing(code: int, times: int = 1 << 30, after: int = 0) -> Callable[..., int]:
    """A sendfile that fails with `code`: `times` times, after `after` good calls."""
    calls = []
    real = sockets.sendfile

    def sendfile(*arguments: Any) -> int:
        calls.append(arguments)
        if after < len(calls) <= after + times:
            raise OSError(code, os.strerror(code))
        return real(*arguments)

    return sendfile


@pytest.mark.parametrize("code", sorted(sockets.REFUSED), ids=errno.errorcode.get)
@pytest.mark.parametrize("after", [0, 3])
def test_a_sendfile_that_is_refused_becomes_a_copy_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, after: int
) -> None:
    monkeypatch.setattr(sockets, "sendfile", failing(code, after=after))
    with open_file(tmp_path / "f") as source, connected() as (ours, peer):
        with transfer_of([whole(source), b"."], ours) as (transfer, tally):
            arrived = pump(transfer, peer)
            arrived += receive(peer, len(CONTENT) + 1 - len(arrived))

    assert arrived == CONTENT + b"."
    assert tally.strategy == "copy"
    assert os.strerror(code) in tally.reason


def test_a_storm_of_full_sockets_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sockets, "sendfile", failing(errno.EAGAIN, times=500, after=2))
    with open_file(tmp_path / "f") as source:
        assert deliver([whole(source)], Strategy.SENDFILE) == CONTENT


def test_sends_of_one_byte_add_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = sockets.sendfile
    monkeypatch.setattr(sockets, "sendfile", lambda o, i, at, _n: real(o, i, at, 1))
    with open_file(tmp_path / "f", CONTENT[:3000]) as source:
        assert deliver([whole(source)], Strategy.SENDFILE) == CONTENT[:3000]


def test_an_error_of_the_disk_is_neither_a_disconnect_nor_a_refusal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sockets, "sendfile", failing(errno.EIO, after=2))
    with open_file(tmp_path / "f") as source, connected() as (ours, _peer):
        with transfer_of([whole(source)], ours, step_bytes=1000) as (transfer, tally):
            with pytest.raises(OSError, match="Input/output") as caught:
                list(transfer.steps())

    assert not isinstance(caught.value, DisconnectedError)
    assert tally.sent == 2000


def test_a_transfer_keeps_its_source_open_until_it_is_closed(tmp_path: Path) -> None:
    with connected() as (ours, _peer), open_file(tmp_path / "f") as source:
        with transfer_of([whole(source)], ours, integrity="fast"):
            source.release()
            assert not source.closed
        assert source.closed


def test_its_lease_keeps_the_source_open_for_as_long_as_it_lingers(
    tmp_path: Path,
) -> None:
    with connected() as (ours, _peer), open_file(tmp_path / "f") as source:
        with transfer_of([whole(source)], ours):
            source.release()
        assert not source.closed
        eventually(lambda: source.closed, "the end of the lease")


def test_a_closed_source_is_refused_and_the_socket_given_back(tmp_path: Path) -> None:
    with open_file(tmp_path / "f") as source:
        pass
    with (
        connected() as (ours, _peer),
        pytest.raises(ValueError, match="closed"),
        transfer_of([whole(source)], ours),
    ):
        pass

from __future__ import annotations

import contextlib
import errno
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from itertools import count, islice
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
from zc_response.kernel import files, mappings, pipes, sockets
from zc_response.kernel.mappings import Mapping
from zc_response.planning import Segment, Slice
from zc_response.sources import FileSource
from zc_response.transmit import Strategy, Transfer
from zc_response.transmit.pieces import STRATEGIES
from zc_response.transmit.steps import Want

every_strategy = pytest.mark.parametrize("strategy", [*STRATEGIES, Strategy.SPLICE])
of_files = pytest.mark.parametrize("strategy", list(STRATEGIES))
"""The others know no file: what they send can be neither cut short nor added to, and
how a stream does not keep its promise is another matter (test_streaming.py)."""


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
        length = min(9000, len(CONTENT) - offset)
        arrived = deliver([Slice(source, offset, length)], strategy)

    assert arrived == CONTENT[offset : offset + length]


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
            ends = (Want.TURN, Want.SOON)
            steps = (want for want in transfer.steps() if want in ends)
            for turn in range(1, 20):
                next(steps)
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


@of_files
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


@of_files
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


# What the kernel may answer ---------------------------------------------------------

Call = tuple[Any, str]

SENDS: dict[Strategy, Call] = {
    Strategy.SENDFILE: (sockets, "sendfile"),
    Strategy.MMAP: (Mapping, "send"),
    Strategy.DIRECT: (sockets, "send"),
    Strategy.COPY: (sockets, "send"),
    Strategy.SPLICE: (pipes, "splice"),
}
"""The call by which each strategy puts bytes into the socket."""
READS: dict[Strategy, Call] = {
    Strategy.SENDFILE: (sockets, "sendfile"),
    Strategy.MMAP: (Mapping, "send"),
    Strategy.DIRECT: (files, "read_into"),
    Strategy.COPY: (FileSource, "read"),
    Strategy.SPLICE: (pipes, "splice"),
}
"""The call in which each strategy takes bytes from where they come from."""
REFUSALS: dict[str, tuple[Strategy, Call, int]] = {
    "sendfile": (Strategy.SENDFILE, (sockets, "sendfile"), 0),
    "a later sendfile": (Strategy.SENDFILE, (sockets, "sendfile"), 3),
    "mmap": (Strategy.MMAP, (mappings, "_map"), 0),
    "a later mmap": (Strategy.MMAP, (mappings, "_map"), 1),
    "send from a mapping": (Strategy.MMAP, (Mapping, "send"), 0),
    "a later send from a mapping": (Strategy.MMAP, (Mapping, "send"), 3),
    "open with O_DIRECT": (Strategy.DIRECT, (files, "open_directly"), 0),
    "read with O_DIRECT": (Strategy.DIRECT, (files, "read_into"), 0),
    "a later read with O_DIRECT": (Strategy.DIRECT, (files, "read_into"), 2),
    "splice": (Strategy.SPLICE, (pipes, "splice"), 0),
    "a later splice": (Strategy.SPLICE, (pipes, "splice"), 3),
}
"""What can be refused: of which strategy, which call, and after how many good ones."""


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Have a call fail with `code`: `times` times, after `after` good ones."""

    def failing(call: Call, code: int, times: int = 1 << 30, after: int = 0) -> None:
        calls = count()
        real = getattr(*call)

        def fails(*arguments: Any, **more: Any) -> Any:
            if after <= next(calls) < after + times:
                raise OSError(code, os.strerror(code))
            return real(*arguments, **more)

        monkeypatch.setattr(*call, fails)

    return failing


@pytest.mark.parametrize("code", sorted(sockets.REFUSED), ids=errno.errorcode.get)
@pytest.mark.parametrize("refusal", REFUSALS)
def test_what_is_refused_is_sent_in_another_way_and_the_report_says_so(
    tmp_path: Path, failing: Callable[..., None], code: int, refusal: str
) -> None:
    strategy, call, after = REFUSALS[refusal]
    failing(call, code, after=after)
    content = CONTENT * 5  # more than a window, and than two buffers
    with open_file(tmp_path / "f", content) as source, connected() as (ours, peer):
        with transfer_of([whole(source), b"."], ours, strategy) as (transfer, tally):
            arrived = pump(transfer, peer)
            arrived += receive(peer, len(content) + 1 - len(arrived))

    assert arrived == content + b"."
    assert tally.strategy != strategy
    assert os.strerror(code) in tally.reason


def test_where_all_is_refused_a_body_is_copied(
    tmp_path: Path, failing: Callable[..., None]
) -> None:
    failing((sockets, "sendfile"), errno.EINVAL)
    failing((mappings, "_map"), errno.ENODEV)
    with open_file(tmp_path / "f") as source, connected() as (ours, peer):
        with transfer_of([whole(source)], ours) as (transfer, tally):
            arrived = pump(transfer, peer)
            arrived += receive(peer, len(CONTENT) - len(arrived))

    assert arrived == CONTENT
    assert (tally.strategy, tally.reason) == (
        "copy",
        "sendfile: Invalid argument; mmap: No such device",
    )


@every_strategy
def test_a_storm_of_full_sockets_loses_nothing(
    tmp_path: Path, failing: Callable[..., None], strategy: Strategy
) -> None:
    failing(SENDS[strategy], errno.EAGAIN, times=500, after=2)
    with open_file(tmp_path / "f") as source:
        assert deliver([whole(source)], strategy) == CONTENT


@every_strategy
def test_sends_of_one_byte_add_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, strategy: Strategy
) -> None:
    real = getattr(*SENDS[strategy])

    def one_byte(*arguments: Any, **more: Any) -> int:
        *before, last = arguments
        few = last[:1] if isinstance(last, memoryview) else 1
        sent: int = real(*before, few, **more)
        return sent

    monkeypatch.setattr(*SENDS[strategy], one_byte)
    few = CONTENT[:20_000]  # less of a pipe is copied
    with open_file(tmp_path / "f", few) as source:
        assert deliver([whole(source)], strategy) == few


@every_strategy
def test_an_error_of_the_disk_is_neither_a_disconnect_nor_a_refusal(
    tmp_path: Path, failing: Callable[..., None], strategy: Strategy
) -> None:
    """It shows after what was read before it has been sent."""
    failing(READS[strategy], errno.EIO, after=1)
    with open_file(tmp_path / "f", CONTENT * 3) as source, connected() as (ours, peer):
        settings: dict[str, Any] = {"step_bytes": 20_000, "unsent_bytes": 1 << 20}
        with transfer_of([whole(source)], ours, strategy, **settings) as (
            transfer,
            tally,
        ):
            with pytest.raises(OSError, match="Input/output") as caught:
                pump(transfer, peer)

    assert not isinstance(caught.value, DisconnectedError)
    assert 0 < tally.sent < 3 * len(CONTENT)
    assert tally.strategy == strategy


@every_strategy
def test_signals_interrupt_no_transfer(tmp_path: Path, strategy: Strategy) -> None:
    """On a blocking socket, so that they come while a call waits."""
    caught: list[int] = []
    before = signal.signal(signal.SIGALRM, lambda number, _frame: caught.append(number))
    content = CONTENT * 4
    received: list[bytes] = []

    def read_slowly() -> None:
        while not caught:
            time.sleep(0.001)
        received.append(receive(peer, len(content)))

    with open_file(tmp_path / "f", content) as source, connected() as (ours, peer):
        ours.setblocking(True)
        reader = threading.Thread(target=read_slowly)
        reader.start()
        signal.setitimer(signal.ITIMER_REAL, 0.002, 0.002)
        try:
            with transfer_of([whole(source)], ours, strategy) as (transfer, _):
                for _want in transfer.steps():
                    pass
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
            ours.close()
            reader.join()
    assert received == [content]
    assert caught


def traces_of(path: Path) -> list[str]:
    """What this process still has of a file: descriptors, mappings."""
    links = [f"/proc/self/fd/{fd}" for fd in os.listdir("/proc/self/fd")]
    opened = [link for link in links if os.path.lexists(link)]
    maps = Path("/proc/self/maps").read_text().splitlines()
    found = [os.readlink(link) for link in opened if os.path.lexists(link)]
    return [each for each in (*found, *maps) if each.endswith(str(path))]


@every_strategy
def test_who_ends_at_any_step_leaves_nothing_behind(
    tmp_path: Path, strategy: Strategy
) -> None:
    path, is_through = tmp_path / "f", False
    most = count()
    with open_file(path, CONTENT * 3):  # what is left of a lease is its
        pass
    while not is_through:
        with FileSource.open(path) as source, connected() as (ours, peer):
            with transfer_of(
                [whole(source)], ours, strategy, 300_000, integrity="fast"
            ) as (transfer, tally):
                peer.setblocking(False)
                for _want in islice(transfer.steps(), next(most)):
                    with contextlib.suppress(BlockingIOError):
                        peer.recv(1 << 20)
                is_through = tally.sent == tally.promised
        eventually(lambda: not traces_of(path), "the end of the last read")
    assert next(most) > 5


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

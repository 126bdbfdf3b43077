"""Bodies in memory, lent to the kernel: they arrive, and are kept until it has done."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from itertools import count, islice
from pathlib import Path
from typing import Any

import gevent
import pytest

from tests.lending import gather, lead_elsewhere
from tests.live import eventually
from tests.loops import Run
from tests.transmit.lines import CONTENT, connected, receive
from zc_response.errors import DisconnectedError, StalledError
from zc_response.integrations import gevent as greenlets
from zc_response.kernel import sockets, zerocopy
from zc_response.kernel.zerocopy import Notices
from zc_response.native import original
from zc_response.policy import Policy
from zc_response.report import Tally
from zc_response.transmit import (
    Access,
    Body,
    Strategy,
    Transfer,
    drive,
    drive_briefly,
    drive_here,
    loans,
    peers,
)
from zc_response.transmit.memory import COPIED
from zc_response.transmit.steps import Want

BIG = CONTENT * 24  # more than a socket's buffers take

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture(autouse=True)
def _elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    lead_elsewhere(monkeypatch)


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client is behind a card that reads what is lent."""
    gather(monkeypatch)


@contextlib.contextmanager
def lending(
    ours: socket.socket, data: bytes = BIG, **settings: Any
) -> Iterator[tuple[Transfer, Tally]]:
    """A transfer that lends `data` over `ours`, until the block ends."""
    tally = Tally(
        path="in memory",
        status=200,
        promised=len(data),
        strategy=Strategy.ZEROCOPY,
        reason="the test says so",
        guard="count",
    )
    policy = Policy(zerocopy_min=1, **settings)
    transfer = Transfer(
        Body.of_memory(data, policy), Access(fileno=ours.fileno), policy, tally
    )
    with contextlib.closing(transfer):
        yield transfer, tally


def pump(transfer: Transfer, peer: socket.socket) -> bytes:
    """Run a transfer to its end, reading at the peer's side whenever it waits."""
    received = bytearray()
    peer.setblocking(False)
    for _ in transfer.steps():
        with contextlib.suppress(BlockingIOError):
            received += peer.recv(1 << 20)
    peer.setblocking(True)
    peer.settimeout(10)
    return bytes(received)


def owed(transfer: Transfer) -> int:
    assert transfer._body.memory is not None
    return transfer._body.memory.loan.owed


class Watched(bytes):
    """Bytes that tell when their memory is free."""

    freed: Callable[[], object] = staticmethod(lambda: None)

    def __del__(self) -> None:
        self.freed()


# The drivers ------------------------------------------------------------------------


def by_blocking(transfer: Transfer) -> None:
    drive_here(transfer, lambda: None)


def by_handing_over(transfer: Transfer) -> None:
    transfer.steps()
    sock = transfer._line.socket
    os.set_blocking(sock.fileno(), True)
    is_done = drive_briefly(transfer, 10, 0.01)
    if not is_done:
        os.set_blocking(sock.fileno(), False)
        drive_here(transfer, lambda: None)


def by_gevent(transfer: Transfer) -> None:
    try:
        gevent.spawn(greenlets.drive, transfer).get()
    finally:
        gevent.get_hub().destroy(destroy_loop=True)


DRIVERS: dict[str, Callable[[Transfer], None]] = {
    "blocking": by_blocking,
    "briefly, then blocking": by_handing_over,
    "gevent": by_gevent,
}


@pytest.mark.usefixtures("card")
@pytest.mark.parametrize("driver", DRIVERS)
def test_all_arrives_and_is_given_back_by_each_driver(driver: str, line: Pair) -> None:
    ours, peer = line
    arrived: list[bytes] = []
    reader = threading.Thread(target=lambda: arrived.append(receive(peer, len(BIG))))
    reader.start()
    with lending(ours) as (transfer, tally):
        DRIVERS[driver](transfer)
        assert owed(transfer) == 0
    reader.join()

    assert arrived == [BIG]
    assert (tally.strategy, tally.reason) == ("zerocopy", "the test says so")
    assert tally.sent == len(BIG)


@pytest.mark.usefixtures("card")
def test_all_arrives_and_is_given_back_on_a_loop(run: Run, line: Pair) -> None:
    ours, peer = line
    with lending(ours) as (transfer, tally):

        async def main() -> bytes:
            reading = asyncio.to_thread(receive, peer, len(BIG))
            _, received = await asyncio.gather(drive(transfer), reading)
            return received

        assert run(main) == BIG
        assert owed(transfer) == 0
    assert (tally.strategy, tally.sent) == ("zerocopy", len(BIG))


@pytest.mark.usefixtures("card")
def test_it_is_not_over_before_the_client_has_it(line: Pair) -> None:
    ours, peer = line
    data = CONTENT[:300_000]  # the socket takes it all; a small window does not
    with lending(ours, data, unsent_bytes=1 << 20) as (transfer, tally):
        steps = transfer.steps()
        while tally.sent < len(data):
            next(steps)
        for _ in range(10):
            assert next(steps) in (Want.READABLE, Want.SOON)
        assert owed(transfer) > 0

        assert receive(peer, len(data)) == data
        list(steps)
        assert owed(transfer) == 0


@pytest.mark.usefixtures("card")
def test_who_waits_for_a_slow_client_does_not_spin(run: Run, line: Pair) -> None:
    """Neither for room, though notices come, nor for the last of them."""
    ours, peer = line
    turns: list[object] = []

    async def read_slowly() -> int:
        total = 0
        while total < len(BIG):
            total += len(await asyncio.to_thread(peer.recv, 512 * 1024))
            await asyncio.sleep(0.005)
        return total

    with lending(ours) as (transfer, _tally):
        steps = transfer.steps()

        def counted() -> Iterator[Want]:
            for want in steps:
                turns.append(want)
                yield want

        transfer._steps = counted()  # type: ignore[assignment]

        async def main() -> int:
            _, total = await asyncio.gather(drive(transfer), read_slowly())
            return total

        assert run(main) == len(BIG)
    assert len(turns) < 2000


@pytest.mark.usefixtures("card")
def test_room_in_the_socket_wakes_nobody_who_waits_for_the_last_notices(
    line: Pair, failing: Callable[..., None]
) -> None:
    """Though he has waited for room before."""
    failing("lend", errno.EAGAIN, fails=lambda number: number == 2)
    ours, _peer = line
    settings: dict[str, Any] = {"unsent_bytes": 1 << 20, "step_bytes": 100_000}
    with lending(ours, CONTENT[:300_000], **settings) as (transfer, tally):
        wants = []
        while tally.sent < 300_000:
            wants.append(next(transfer.steps()))
        assert Want.READABLE in wants
        while next(transfer.steps()) is not Want.READABLE:
            pass
        assert select.select([], [ours], [], 0)[1]
        assert not select.select([transfer.input()], [], [], 0.05)[0]


@pytest.mark.usefixtures("card")
def test_nothing_is_held_back_while_the_last_notices_are_waited_for(
    line: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A large body leaves in full segments, but for its last one."""
    corked: list[bool] = []
    monkeypatch.setattr(sockets, "is_paced", lambda _sock: False)
    monkeypatch.setattr(sockets, "cork", lambda _sock, on: corked.append(on))
    ours, peer = line
    peer.setblocking(False)
    with lending(ours) as (transfer, tally):
        for want in transfer.steps():
            with contextlib.suppress(BlockingIOError):
                peer.recv(1 << 20)
            if tally.sent == len(BIG) and want is Want.READABLE:
                assert corked == [True, False]
    assert corked == [True, False]


# What the kernel may answer ---------------------------------------------------------


def test_where_the_kernel_copies_the_rest_is_written_and_the_report_says_so(
    line: Pair,
) -> None:
    """As on the loopback, where this test is."""
    ours, peer = line
    with lending(ours) as (transfer, tally):
        arrived = pump(transfer, peer)
        assert owed(transfer) == 0
    ours.close()
    arrived += receive(peer, len(BIG))

    assert arrived == BIG
    assert (tally.strategy, tally.reason) == ("copy", COPIED)


def test_if_that_shows_in_the_end_only_the_report_says_it_too(line: Pair) -> None:
    ours, peer = line
    with lending(ours, b"short") as (transfer, tally):
        assert pump(transfer, peer) + receive(peer, 5) == b"short"
    assert tally.strategy == "zerocopy"
    assert tally.reason == f"the test says so; {COPIED}"


def test_what_goes_by_that_interface_is_not_lent_for_a_while(
    line: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, peer = line
    assert peers.may_lend(ours.fileno())
    with lending(ours, b"short") as (transfer, _tally):
        pump(transfer, peer)
    assert not peers.may_lend(ours.fileno())

    monkeypatch.setattr(peers, "COPIES_SECONDS", 0.0)
    assert peers.may_lend(ours.fileno())


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Have a call of `kernel.zerocopy` fail with `code`, but for some in between."""

    def failing(
        name: str, code: int, after: int = 0, fails: Callable[[int], bool] = bool
    ) -> None:
        calls, real = count(), getattr(zerocopy, name)

        def fail(*arguments: Any, **more: Any) -> Any:
            number = next(calls)
            if number >= after and fails(number + 1):
                raise OSError(code, os.strerror(code))
            return real(*arguments, **more)

        monkeypatch.setattr(zerocopy, name, fail)

    return failing


@pytest.mark.usefixtures("card")
@pytest.mark.parametrize(
    ("call", "after"),
    [("enable", 0), ("notices", 0), ("lend", 0), ("lend", 3)],
    ids=str,
)
@pytest.mark.parametrize("code", sorted(sockets.REFUSED), ids=errno.errorcode.get)
def test_what_is_refused_is_written(
    line: Pair, failing: Callable[..., None], call: str, after: int, code: int
) -> None:
    failing(call, code, after)
    ours, peer = line
    with lending(ours) as (transfer, tally):
        arrived = pump(transfer, peer)
        assert owed(transfer) == 0
    ours.close()
    assert arrived + receive(peer, len(BIG)) == BIG
    assert tally.strategy == "copy"
    assert tally.reason == f"MSG_ZEROCOPY: {os.strerror(code)}"


@pytest.mark.usefixtures("card")
def test_a_piece_for_which_no_more_may_be_pinned_is_written(
    line: Pair, failing: Callable[..., None]
) -> None:
    failing("lend", errno.ENOBUFS, fails=lambda number: number % 2 == 0)
    ours, peer = line
    with lending(ours) as (transfer, tally):
        arrived = pump(transfer, peer)
        assert owed(transfer) == 0
    ours.close()
    assert arrived + receive(peer, len(BIG)) == BIG
    assert tally.strategy == "zerocopy"
    assert tally.reason == "the test says so; in part copied: No buffer space available"


PINNING_LITTLE = """
import os, resource, threading
import pytest
from tests.lending import gather, lead_elsewhere
from tests.transmit.lines import connected, receive
from tests.transmit.test_memory import BIG, lending
from zc_response.transmit import drive_here

lead_elsewhere(pytest.MonkeyPatch())
gather(pytest.MonkeyPatch())
resource.setrlimit(resource.RLIMIT_MEMLOCK, (1 << 20, 1 << 20))
if os.geteuid() == 0:
    os.setuid(65534)  # and so without CAP_IPC_LOCK, which knows no limit
arrived = []
with connected() as (ours, peer):
    reader = threading.Thread(target=lambda: arrived.append(receive(peer, len(BIG))))
    reader.start()
    with lending(ours) as (transfer, tally):
        drive_here(transfer, lambda: None)
    reader.join()
print(arrived == [BIG], tally.strategy, tally.reason, sep="|")
"""


def test_the_limit_on_pinned_memory_is_met_and_nothing_lost() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PINNING_LITTLE],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    reason = "the test says so; in part copied: No buffer space available"
    assert done.stdout.strip() == f"True|zerocopy|{reason}"


@pytest.mark.usefixtures("card")
def test_a_storm_of_full_sockets_loses_nothing(
    line: Pair, failing: Callable[..., None]
) -> None:
    failing("lend", errno.EAGAIN, after=2, fails=lambda number: number < 500)
    ours, peer = line
    with lending(ours) as (transfer, _tally):
        arrived = pump(transfer, peer)
    ours.close()
    assert arrived + receive(peer, len(BIG)) == BIG


@pytest.mark.usefixtures("card")
def test_sends_of_one_byte_add_up(line: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    real = zerocopy.lend
    monkeypatch.setattr(
        zerocopy, "lend", lambda sock, data, more: real(sock, data[:1], more=more)
    )
    ours, peer = line
    with lending(ours, CONTENT[:3000]) as (transfer, _tally):
        arrived = pump(transfer, peer)
        assert owed(transfer) == 0
    assert arrived + receive(peer, 3000 - len(arrived)) == CONTENT[:3000]


def test_without_a_descriptor_of_its_own_nothing_is_lent(
    line: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It could not be taken back by force."""

    def duplicate(_fd: int) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    ours, peer = line
    with monkeypatch.context() as patch:
        patch.setattr(sockets, "duplicate", duplicate)
        with lending(ours, CONTENT[:3000]) as (transfer, tally):
            pump(transfer, peer)
    assert (tally.strategy, tally.sent) == ("copy", 3000)
    assert tally.reason == "MSG_ZEROCOPY: Too many open files"


@pytest.mark.usefixtures("card")
def test_without_a_descriptor_to_wait_with_it_asks_from_time_to_time(
    line: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    def epoll() -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(
        loans,
        "original",
        lambda *name: epoll if name == ("select", "epoll") else original(*name),
    )
    ours, peer = line
    data = CONTENT[:300_000]
    with lending(ours, data, unsent_bytes=1 << 20) as (transfer, tally):
        steps = transfer.steps()
        while tally.sent < len(data):
            next(steps)
        assert next(steps) is Want.SOON
        assert receive(peer, len(data)) == data
        drive_here(transfer, lambda: None)
        assert owed(transfer) == 0


@pytest.mark.usefixtures("card")
def test_a_notice_that_never_comes_is_waited_for_no_longer_than_a_client(
    line: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, peer = line
    with monkeypatch.context() as patch:
        patch.setattr(zerocopy, "notices", lambda _sock: Notices(0, False))
        with lending(ours, b"short", stall_timeout=0.3) as (transfer, _tally):
            with pytest.raises(StalledError):
                drive_here(transfer, lambda: None)
    with pytest.raises(ConnectionResetError):
        receive(peer, 6)
    eventually(lambda: not loans._kept)


# Who ends too early -----------------------------------------------------------------


@pytest.mark.usefixtures("card")
def test_a_client_that_resets_is_a_disconnect(line: Pair) -> None:
    ours, peer = line
    with lending(ours) as (transfer, _tally):
        steps = transfer.steps()
        while next(steps) is not Want.READABLE:
            pass
        sockets.abort(peer)
        peer.close()
        with pytest.raises(DisconnectedError):
            list(steps)


@pytest.mark.usefixtures("card")
def test_so_is_one_that_resets_when_all_is_sent_and_not_all_given_back(
    line: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the broken connection, which never is quiet any more, makes nobody spin."""
    ours, peer = line
    with lending(ours, b"short") as (transfer, _tally):
        monkeypatch.setattr(zerocopy, "notices", lambda _sock: Notices(0, False))
        steps = transfer.steps()
        assert next(steps) is Want.READABLE
        sockets.abort(peer)
        peer.close()
        with pytest.raises(DisconnectedError):
            drive_here(transfer, lambda: None)
        monkeypatch.undo()


@pytest.mark.usefixtures("card")
@pytest.mark.parametrize("size", [len(BIG), 300_000], ids=["not all sent", "all sent"])
def test_a_client_that_takes_nothing_is_cut_off(
    run: Run, line: Pair, size: int
) -> None:
    ours, peer = line
    settings: dict[str, Any] = {"stall_timeout": 0.3, "unsent_bytes": 1 << 20}
    with lending(ours, BIG[:size], **settings) as (transfer, _tally):

        async def main() -> None:
            with pytest.raises(StalledError):
                await drive(transfer)

        run(main)
        assert owed(transfer) == 0
    with pytest.raises(ConnectionResetError):
        receive(peer, size)


@pytest.mark.usefixtures("card")
@pytest.mark.parametrize("size", [len(BIG), 300_000], ids=["not all sent", "all sent"])
def test_memory_is_free_only_after_the_reset(
    line: Pair, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """What is freed before it may be sent as whatever it becomes."""
    order: list[str] = []
    real = sockets.reset

    def reset(sock: sockets.Socket) -> None:
        order.append("reset")
        real(sock)
        order.append("the queue is gone")

    monkeypatch.setattr(sockets, "reset", reset)
    monkeypatch.setattr(Watched, "freed", lambda _self: order.append("freed"))
    ours, peer = line
    with lending(ours, Watched(BIG[:size]), unsent_bytes=1 << 20) as (transfer, _tally):
        list(islice(transfer.steps(), 50))
        assert owed(transfer) > 0
        transfer.abort()
    del transfer

    assert order == ["reset", "the queue is gone", "freed"]
    with pytest.raises(ConnectionResetError):
        receive(peer, size)


@pytest.mark.usefixtures("card")
def test_a_connection_that_its_server_closes_meanwhile_is_reset(line: Pair) -> None:
    """What is queued on it would be sent to its end, out of memory that is free."""
    ours, peer = line
    with lending(ours) as (transfer, _tally):
        list(islice(transfer.steps(), 20))
        assert owed(transfer) > 0
        ours.close()
        with pytest.raises(DisconnectedError):
            transfer.check()
    assert owed(transfer) == 0
    with pytest.raises(ConnectionResetError):
        receive(peer, len(BIG))


@pytest.mark.usefixtures("card")
def test_memory_that_a_card_still_reads_after_the_reset_is_kept(
    line: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_free = threading.Event()
    monkeypatch.setattr(Watched, "freed", lambda _self: is_free.set())
    taken = zerocopy.notices
    is_reading = True

    def notices(sock: sockets.Socket) -> Notices:
        return Notices(0, False) if is_reading else taken(sock)

    monkeypatch.setattr(zerocopy, "notices", notices)
    ours, _peer = line
    with lending(ours, Watched(BIG)) as (transfer, _tally):
        next(transfer.steps())
    del transfer
    time.sleep(0.1)
    assert not is_free.is_set()

    is_reading = False
    assert is_free.wait(10)
    eventually(lambda: not loans._kept)


@pytest.mark.usefixtures("card")
def test_what_a_client_has_of_an_aborted_body_is_the_body() -> None:
    """Though its memory is used again at once, many times."""
    size = 9 << 20
    for _ in range(20):
        with connected() as (ours, peer):
            result = receive_what_comes(peer)
            with lending(ours, b"a" * size, unsent_bytes=1 << 20) as (transfer, _):
                list(islice(transfer.steps(), 20))
            del transfer
            others = [b"b" * size for _ in range(4)]
            ours.close()
            arrived = result()
        assert 0 < len(arrived) < size
        assert arrived == b"a" * len(arrived)
        del others


def receive_what_comes(peer: socket.socket) -> Callable[[], bytes]:
    """Read in a thread until the connection ends, by RST or otherwise."""
    received = bytearray()

    def read() -> None:
        with contextlib.suppress(OSError):
            while data := peer.recv(65536):
                received.extend(data)
                time.sleep(0.001)

    thread = threading.Thread(target=read)
    thread.start()

    def result() -> bytes:
        thread.join()
        return bytes(received)

    return result

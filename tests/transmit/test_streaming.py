"""A pipe on its way to a socket: every byte, in chunks that add up, to a good end."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import select
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.loops import Run, run_on
from tests.transmit.lines import CONTENT, connected, receive
from zc_response.errors import (
    DisconnectedError,
    ProducerError,
    StalledError,
    TruncatedError,
)
from zc_response.kernel import pipes
from zc_response.policy import Policy
from zc_response.report import Tally
from zc_response.sources import Stream, open_stream
from zc_response.transmit import (
    Access,
    Body,
    Job,
    Strategy,
    Transfer,
    blocking_driver,
    drive,
    drive_here,
)
from zc_response.transmit.steps import Want

every_way = pytest.mark.parametrize("way", [Strategy.SPLICE, Strategy.COPY])
Drive = Callable[[Job], None]


def chunk(count: int) -> tuple[bytes, bytes]:
    return b"%x\r\n" % count, b"\r\n"


@contextlib.contextmanager
def flowing(
    stream: Stream,
    ours: socket.socket,
    way: Strategy = Strategy.SPLICE,
    promised: int | None = None,
    **settings: Any,
) -> Iterator[Transfer]:
    """The transfer of a stream: in chunks, unless a length is promised."""
    tally = Tally(
        path=stream.name,
        status=200,
        promised=promised or 0,
        strategy=way,
        reason="the test says so",
        guard="count",
    )
    policy = Policy(**settings)
    body = Body.of_stream(stream, policy)
    transfer = Transfer(body, Access(fileno=ours.fileno), policy, tally)
    if promised is None:
        transfer.frame, transfer.tail = chunk, b"0\r\n\r\n"
    with contextlib.closing(transfer):
        yield transfer


def written(*pieces: bytes) -> Stream:
    """A pipe in which all of these are, and whose writer is gone."""
    out, into = os.pipe()
    with open(into, "wb", buffering=0) as file:
        file.writelines(pieces)
    return open_stream(out)


def command(script: str) -> Stream:
    return open_stream(["sh", "-c", script])


def here(job: Job) -> None:
    drive_here(job, lambda: None)


@pytest.fixture
def greenlets(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """gevent and its own Popen, as after monkey patching."""
    gevent = pytest.importorskip("gevent")
    patched = pytest.importorskip("gevent.subprocess")
    started: list[Any] = []

    def popen(*args: Any, **options: Any) -> Any:
        started.append(patched.Popen(*args, **options))
        return started[-1]

    monkeypatch.setattr(subprocess, "Popen", popen)
    yield
    for process in started:
        process.wait(10)
    gevent.get_hub().destroy(destroy_loop=True)  # it keeps descriptors


@pytest.fixture(params=["blocking", "asyncio", "uvloop", "gevent"])
def driven(request: pytest.FixtureRequest) -> Drive:
    """Each of the drivers."""
    if request.param == "blocking":
        return here
    if request.param == "gevent":
        request.getfixturevalue("greenlets")
        from zc_response.integrations.gevent import drive as drive_greenlet

        return drive_greenlet
    return lambda job: run_on(request.param, lambda: drive(job))


def delivered(
    driven: Drive,
    stream: Stream,
    way: Strategy = Strategy.SPLICE,
    promised: int | None = None,
) -> bytes:
    """What arrives of a stream that ends well."""
    received = bytearray()
    with connected() as (ours, peer):

        def read() -> None:
            while data := peer.recv(65536):
                received.extend(data)

        reader = threading.Thread(target=read)
        reader.start()
        try:
            with flowing(stream, ours, way, promised) as transfer:
                driven(transfer)
            assert transfer.tally.sent == transfer.tally.promised
        finally:
            ours.shutdown(socket.SHUT_WR)
            reader.join()
    return bytes(received)


def unchunked(data: bytes) -> bytes:
    """The body in chunks; what is no correct chunk fails."""
    body = b""
    while True:
        size, _, data = data.partition(b"\r\n")
        count = int(size, 16)
        assert data[count : count + 2] == b"\r\n"
        body, data = body + data[:count], data[count + 2 :]
        if not count:
            assert not data
            return body


@every_way
def test_a_process_s_output_arrives_in_chunks(driven: Drive, way: Strategy) -> None:
    stream = command("for i in 1 2 3; do head -c 700000 /dev/zero; echo $i; done")

    body = unchunked(delivered(driven, stream, way))

    assert body == b"".join(bytes(700_000) + b"%d\n" % i for i in (1, 2, 3))


@every_way
def test_with_its_length_promised_it_arrives_as_it_is(
    driven: Drive, way: Strategy
) -> None:
    stream = command("head -c 3000000 /dev/zero; echo end")

    assert delivered(driven, stream, way, 3_000_004) == bytes(3_000_000) + b"end\n"


def test_a_producer_that_is_slow_is_waited_for(driven: Drive) -> None:
    stream = command("printf one; sleep 0.1; printf two; exec >&-; sleep 0.1")

    assert unchunked(delivered(driven, stream)) == b"onetwo"


def test_more_than_4_gib_arrive() -> None:
    """Counted by the kernel at the peer's side, where they are discarded."""
    size, received = (4 << 30) + 5, [0]

    def discard() -> None:
        while count := peer.recv_into(buffer, 0, socket.MSG_TRUNC):
            received[0] += count

    buffer = bytearray(1 << 20)
    with connected() as (ours, peer):
        reader = threading.Thread(target=discard)
        reader.start()
        with flowing(command(f"head -c {size} /dev/zero"), ours, promised=size) as job:
            here(job)
            ours.close()
        reader.join()
    assert received == [size]


@every_way
def test_single_bytes_arrive_in_order(way: Strategy) -> None:
    stream = written(*(bytes([i % 256]) for i in range(3000)))

    expected = bytes(i % 256 for i in range(3000))
    assert unchunked(delivered(here, stream, way)) == expected


@every_way
@pytest.mark.parametrize("promised", [None, 0])
def test_an_empty_pipe_is_an_empty_body(way: Strategy, promised: int | None) -> None:
    expected = b"0\r\n\r\n" if promised is None else b""
    assert delivered(here, written(), way, promised) == expected


def test_nothing_waits_for_what_the_producer_has_yet_to_say() -> None:
    """Neither the header, nor the end of a chunk, nor a last partial segment."""
    out, into = os.pipe()
    with connected() as (ours, peer), open(into, "wb", buffering=0) as writer:
        with flowing(open_stream(out), ours) as transfer:
            transfer.head = b"head"
            steps = transfer.steps()
            assert next(steps) is Want.READABLE
            assert receive(peer, 4) == b"head"
            writer.write(CONTENT[:40_000])
            assert next(steps) is Want.TURN
            assert next(steps) is Want.READABLE
            whole = b"9c40\r\n" + CONTENT[:40_000] + b"\r\n"
            assert receive(peer, len(whole)) == whole


def test_a_socket_that_is_full_holds_the_producer_up() -> None:
    with connected() as (ours, _peer):
        stream = command("head -c 100000000 /dev/zero")
        with flowing(stream, ours) as transfer:
            for want in transfer.steps():
                if want is Want.WRITABLE:
                    break
                if want is Want.READABLE:
                    select.select([stream.fileno()], [], [], 10)
            assert transfer.tally.sent < 20_000_000
            assert not stream.is_over()


@pytest.mark.parametrize(
    "promised", [None, 100_000], ids=["in chunks", "with a length"]
)
def test_a_producer_that_fails_leaves_the_body_incomplete(
    driven: Drive, promised: int | None
) -> None:
    with connected() as (ours, peer):
        stream = command("head -c 100000 /dev/zero; exit 3")
        with flowing(stream, ours, promised=promised) as transfer:
            with pytest.raises(ProducerError, match=r"^sh ended with status 3$"):
                driven(transfer)
            ours.close()
        assert_reset(peer, but_not=b"0\r\n\r\n" if promised is None else bytes(100_000))


def assert_reset(peer: socket.socket, but_not: bytes) -> None:
    """The client has got an error, or at least not the end of the body."""
    received = bytearray()

    def read() -> None:
        while data := peer.recv(65536):
            received.extend(data)

    with pytest.raises(ConnectionResetError):
        read()
    assert not received.endswith(but_not)


@every_way
@pytest.mark.parametrize(
    ("script", "error", "message"),
    [
        ("printf 1234", TruncatedError, "sh ended after . of 5 bytes"),
        ("printf 123456", ProducerError, "sh wrote more than the 5 bytes promised"),
        ("printf 12345; sleep 0.1; printf 6", ProducerError, "more than"),
        ("printf 1; kill -9 $$", ProducerError, "sh ended with SIGKILL"),
    ],
)
def test_who_breaks_the_promise_of_a_length_ends_the_connection(
    way: Strategy, script: str, error: type[Exception], message: str
) -> None:
    with connected() as (ours, peer):
        with flowing(command(script), ours, way, promised=5) as transfer:
            with pytest.raises(error, match=message):
                here(transfer)
            ours.close()
        assert_reset(peer, but_not=b"5")
        assert transfer.tally.sent < 5


def say_all(sock: socket.socket) -> None:
    with sock:
        sock.sendall(CONTENT)


def test_a_socket_is_sent_as_well(driven: Drive) -> None:
    near, far = socket.socketpair()
    sender = threading.Thread(target=say_all, args=[far])
    sender.start()
    try:
        assert unchunked(delivered(driven, open_stream(near))) == CONTENT
    finally:
        sender.join()


def test_of_a_socket_no_more_is_awaited_than_was_promised() -> None:
    """An HTTP server keeps its connection open behind a response."""
    near, far = socket.socketpair()
    with far:
        far.sendall(b"five.")
        assert delivered(here, open_stream(near), promised=5) == b"five."


REFUSALS = [errno.EINVAL, errno.ENOSYS, errno.EPERM]


@pytest.mark.parametrize("number", REFUSALS)
@pytest.mark.parametrize("after", [0, 1])
@pytest.mark.parametrize("promised", [None, len(CONTENT)])
def test_where_splice_is_refused_the_rest_is_copied(
    monkeypatch: pytest.MonkeyPatch, number: int, after: int, promised: int | None
) -> None:
    real, calls = pipes.splice, iter(range(1 << 30))

    def refusing(*args: Any, **more: Any) -> int:
        if next(calls) >= after:
            raise OSError(number, os.strerror(number))
        return real(*args, **more)

    monkeypatch.setattr(pipes, "splice", refusing)
    stream = command("exec cat")
    stream.close()
    near, far = socket.socketpair()
    sender = threading.Thread(target=say_all, args=[far])
    sender.start()
    try:
        arrived = delivered(here, open_stream(near), promised=promised)
    finally:
        sender.join()

    assert (arrived if promised else unchunked(arrived)) == CONTENT


def test_a_storm_of_full_sockets_and_short_counts_loses_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real, calls = pipes.splice, iter(range(1 << 30))

    def stormy(source: int, target: int, count: int, *, more: bool) -> int:
        if next(calls) % 2:
            raise BlockingIOError(errno.EAGAIN, "full")
        return real(source, target, min(count, 20_001), more=more)

    monkeypatch.setattr(pipes, "splice", stormy)
    stream = command(f"head -c {len(CONTENT)} /dev/zero")

    assert unchunked(delivered(here, stream)) == bytes(len(CONTENT))


def test_an_error_of_the_pipe_is_raised_and_nothing_follows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*_args: Any, **_more: Any) -> int:
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(pipes, "splice", broken)
    with connected() as (ours, peer):
        with flowing(written(CONTENT[:60_000]), ours) as transfer:
            with pytest.raises(OSError, match="broken"):
                here(transfer)
            ours.close()
        assert_reset(peer, but_not=b"0\r\n\r\n")


def test_who_reads_from_the_pipe_as_well_is_found_out() -> None:
    out, into = os.pipe()
    with open(into, "wb", buffering=0) as writer, connected() as (ours, _peer):
        stream = open_stream(out)
        writer.write(CONTENT[:40_000])
        with flowing(stream, ours) as transfer:
            real = stream.load

            def robbed(count: int) -> int:
                loaded = real(count)
                os.read(stream.pipe, 65536)
                return loaded

            stream.load = robbed  # type: ignore[method-assign]
            with pytest.raises(TruncatedError, match="somebody else reads"):
                here(transfer)


def test_a_client_that_leaves_is_noticed_though_the_producer_is_silent(
    driven: Drive, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave(command("echo hello; exec sleep 600"), driven)


def test_a_client_that_leaves_while_bytes_flow_ends_the_producer(
    driven: Drive,
) -> None:
    leave(open_stream(["cat", "/dev/zero"]), driven)


def leave(stream: Stream, driven: Drive) -> None:
    """Have the client leave, and its process end."""
    process = stream._producer.process  # type: ignore[union-attr]
    with connected() as (ours, peer):
        with flowing(stream, ours) as transfer:
            leaving = threading.Timer(0.1, peer.close)
            leaving.start()
            with pytest.raises(DisconnectedError):
                driven(transfer)
            leaving.join()
    assert process.wait(10) != 0


def test_a_client_that_takes_nothing_is_cut_off(driven: Drive) -> None:
    with connected() as (ours, _peer):
        stream = open_stream(["cat", "/dev/zero"])
        with flowing(stream, ours, stall_timeout=0.2) as transfer:
            with pytest.raises(StalledError):
                driven(transfer)


def test_a_silent_producer_is_no_stalled_client(
    driven: Drive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocking_driver, "LOOK_SECONDS", 0.05)
    with connected() as (ours, peer):
        stream = command("printf 1; sleep 1; printf 2")
        with flowing(stream, ours, stall_timeout=0.2) as transfer:
            driven(transfer)
        assert receive(peer, 17) == b"1\r\n1\r\n1\r\n2\r\n0\r\n\r\n"


def test_cancelled_it_ends_the_producer(run: Run) -> None:
    stream = command("echo hello; exec sleep 600")
    process = stream._producer.process  # type: ignore[union-attr]

    async def main() -> None:
        with connected() as (ours, _peer), flowing(stream, ours) as transfer:
            task = asyncio.create_task(drive(transfer))
            await asyncio.sleep(0.1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    run(main)
    assert process.wait(10) == -15


def test_it_is_an_ordinary_job_of_subprocess(driven: Drive) -> None:
    process = subprocess.Popen(["echo", "hi"], stdout=subprocess.PIPE)

    assert unchunked(delivered(driven, open_stream(process))) == b"hi\n"
    assert process.returncode == 0


def test_a_process_that_somebody_else_has_waited_for_counts_as_failed() -> None:
    stream = command("exit 0")
    os.waitpid(stream._producer.pid, 0)  # type: ignore[union-attr]
    with connected() as (ours, _peer), flowing(stream, ours) as transfer:
        with pytest.raises(ProducerError, match="its exit status is lost"):
            here(transfer)

"""How a body is read that has to be copied: on the loop, in turns, or in a thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.asgi.conftest import CONTENT
from tests.live import PATIENCE, eventually
from tests.loops import Run
from tests.transmit.test_strategies import traces_of
from zc_response.asgi import Message, elsewhere
from zc_response.asgi.copying import copy_body
from zc_response.kernel import files, pages
from zc_response.planning import Slice
from zc_response.policy import Policy
from zc_response.report import Tally
from zc_response.sources import FileSource
from zc_response.transmit import Body, Strategy, copy as copy_module
from zc_response.transmit.copy import RECORD
from zc_response.transmit.steps import Want

Threads = list[str]


async def copied(
    file: Path,
    sent: Callable[[bytes], Coroutine[Any, Any, None]],
    in_thread: Any = elsewhere,
    **settings: Any,
) -> None:
    """Copy a file; `sent` gets each of its chunks."""

    async def send(message: Message) -> None:
        await sent(message["body"])

    policy = Policy(**settings)
    with FileSource.open(file) as source:
        body = Body([Slice(source, 0, len(CONTENT))], policy)
        tally = Tally(
            path=str(file),
            status=200,
            promised=len(CONTENT),
            strategy=Strategy("direct" if settings.get("strategy") else "copy"),
            reason="TLS",
            guard=body.guard,
        )
        try:
            with tally:
                await copy_body(send, body, tally, policy, in_thread)
        finally:
            body.close()


@pytest.fixture
def chunks(file: Path, run: Run, threads: Threads) -> Callable[..., list[bytes]]:
    """The chunks in which the file is copied."""

    def of(**settings: Any) -> list[bytes]:
        seen: list[bytes] = []

        async def sent(chunk: bytes) -> None:
            seen.append(chunk)

        run(lambda: copied(file, sent, **settings))
        assert b"".join(seen) == CONTENT
        return seen

    return of


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> Threads:
    """The names of the threads that read."""
    names: Threads = []
    read = FileSource.read

    def noting(self: FileSource, offset: int, count: int) -> bytes:
        names.append(threading.current_thread().name)
        return read(self, offset, count)

    monkeypatch.setattr(FileSource, "read", noting)
    return names


@pytest.mark.parametrize("copy_bytes", [100_000, 300_000])
def test_all_chunks_but_the_last_are_full_records(
    chunks: Callable[..., list[bytes]], copy_bytes: int
) -> None:
    sizes = [len(chunk) for chunk in chunks(copy_bytes=copy_bytes)]

    assert set(sizes[:-1]) == {copy_bytes - copy_bytes % RECORD}


def test_less_than_a_record_at_a_time_is_obeyed(
    chunks: Callable[..., list[bytes]],
) -> None:
    assert len(chunks(copy_bytes=10_000)[0]) == 10_000


def test_what_is_in_memory_is_read_on_the_loop(
    chunks: Callable[..., list[bytes]],
    threads: Threads,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(copy_module, "is_resident", lambda *_: True)
    chunks()

    assert set(threads) == {"MainThread"}


def test_what_may_be_on_disk_only_is_read_in_a_thread_that_has_more_read_ahead(
    chunks: Callable[..., list[bytes]],
    threads: Threads,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ahead: list[tuple[int, int, str]] = []

    def will_need(_fd: int, offset: int, count: int) -> None:
        ahead.append((offset, count, threading.current_thread().name))

    monkeypatch.setattr(copy_module, "is_resident", lambda *_: False)
    monkeypatch.setattr(pages, "will_need", will_need)
    sizes = [len(chunk) for chunk in chunks()]

    assert {name[:16] for name in threads} == {"zc_response-disk"}
    begins = [offset for offset, _count, _name in ahead]
    assert begins == [sum(sizes[:number]) for number in range(1, len(sizes))]
    assert all(offset + count <= len(CONTENT) for offset, count, _name in ahead)
    assert {name[:16] for _offset, _count, name in ahead} == {"zc_response-disk"}


def test_others_have_their_turn_though_the_client_takes_all_at_once(
    file: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is awaited that is not there."""
    monkeypatch.setattr(copy_module, "is_resident", lambda *_: True)
    heard: list[str] = []

    async def sent(_chunk: bytes) -> None:
        heard.append("chunk")

    async def main() -> None:
        copying = asyncio.ensure_future(copied(file, sent))
        while not copying.done():
            heard.append("other")
            await asyncio.sleep(0)
        await copying

    run(main)
    first, last = heard.index("chunk"), len(heard) - heard[::-1].index("chunk")
    assert heard[first:last].count("other") >= 2


def test_several_downloads_share_a_round_of_the_loop(
    file: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many there are, one round has no more chunks than it has time for."""
    monkeypatch.setattr(copy_module, "is_resident", lambda *_: True)
    rounds = [0]

    async def sent(_chunk: bytes) -> None:
        rounds[-1] += 1

    async def main() -> None:
        copying = [asyncio.ensure_future(copied(file, sent)) for _ in range(20)]
        while not all(each.done() for each in copying):
            rounds.append(0)
            await asyncio.sleep(0)
        await asyncio.gather(*copying)

    run(main)
    assert sum(rounds) == 20 * 12
    assert max(rounds) <= 12  # 1 ms of each round, the 0.18 ms of a chunk, twice


def test_who_is_cancelled_while_he_waits_for_his_turn_is_gone(
    file: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copy_module, "is_resident", lambda *_: True)

    async def sent(_chunk: bytes) -> None: ...

    async def main() -> None:
        copying = [asyncio.ensure_future(copied(file, sent)) for _ in range(8)]
        await asyncio.sleep(0)
        for each in copying[::2]:
            each.cancel()
        ends = await asyncio.gather(*copying, return_exceptions=True)
        assert [type(end) for end in ends[::2]] == [asyncio.CancelledError] * 4
        assert ends[1::2] == [None] * 4

    run(main)


def test_who_is_cancelled_while_a_read_hangs_leaves_no_descriptor_when_it_ends(
    file: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, hangs, go_on = files.read_into, threading.Event(), threading.Event()

    def read_into(fd: int, buffer: memoryview, offset: int) -> int:
        hangs.set()
        assert go_on.wait(PATIENCE)
        return real(fd, buffer, offset)

    async def sent(_chunk: bytes) -> None: ...

    async def main() -> None:
        monkeypatch.setattr(files, "read_into", read_into)
        settings = {"strategy": "direct", "integrity": "fast"}
        copying = asyncio.ensure_future(copied(file, sent, **settings))
        await asyncio.to_thread(hangs.wait, PATIENCE)
        copying.cancel()
        with pytest.raises(asyncio.CancelledError):
            await copying
        assert traces_of(file)
        go_on.set()
        gone = partial(eventually, lambda: not traces_of(file), "the end of the read")
        await asyncio.to_thread(gone)

    run(main)


def test_on_a_loop_that_is_not_asyncios_a_thread_reads(file: Path) -> None:
    """It is driven by hand here: nothing in it may ask for a loop."""
    seen: list[bytes] = []
    pieces: list[object] = []

    async def sent(chunk: bytes) -> None:
        seen.append(chunk)

    async def in_thread(_filesystem: object, take: Any, **_options: Any) -> object:
        pieces.append(take())
        return pieces[-1]

    with pytest.raises(StopIteration):
        copied(file, sent, in_thread).send(None)
    assert b"".join(seen) == CONTENT
    assert pieces == [Want.WRITABLE] * len(seen) + [None]

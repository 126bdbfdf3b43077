"""Servers whose `send` takes whatever it is given, and never waits."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.asgi.test_copying import copied
from zc_response.asgi import Message, Scope, copying
from zc_response.asgi.connections import find_connection
from zc_response.asgi.copying import BACKLOG_BYTES
from zc_response.errors import StalledError
from zc_response.integrations.starlette import FileResponse
from zc_response.policy import Policy

ROOM = Policy().copy_bytes
BIG = 64 << 20


class Heap:
    """A server that keeps what it is given, and sends some of it now and then."""

    def __init__(self, sends: int) -> None:
        self.sends = sends
        self.kept = self.most = self.given = 0
        self.is_aborted = False

    async def take(self, data: bytes) -> None:
        self.given += len(data)
        self.kept += len(data)
        self.most = max(self.most, self.kept)

    def backlog(self) -> int:
        self.kept = max(self.kept - self.sends, 0)
        return self.kept

    async def abort(self) -> None:
        self.is_aborted = True


@pytest.fixture
def heap(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], Heap]:
    def behind(sends: int) -> Heap:
        heap = Heap(sends)
        monkeypatch.setattr(copying, "taker_behind", lambda _send: heap)
        return heap

    return behind


def test_it_is_given_no_more_than_a_little_ahead_of_its_client(
    heap: Callable[[int], Heap], file: Path
) -> None:
    server = heap(50_000)
    asyncio.run(copied(file, server.take))

    assert server.given == file.stat().st_size
    assert BACKLOG_BYTES < server.most <= BACKLOG_BYTES + ROOM
    assert not server.is_aborted


def test_a_client_that_takes_nothing_is_cut_off(
    heap: Callable[[int], Heap], file: Path
) -> None:
    server = heap(0)
    with pytest.raises(StalledError, match="took nothing"):
        asyncio.run(copied(file, server.take, stall_timeout=0.1))

    assert server.is_aborted
    assert server.given < file.stat().st_size


def test_a_body_that_cannot_be_completed_ends_visibly(
    heap: Callable[[int], Heap], file: Path
) -> None:
    server = heap(ROOM)

    async def fail(_data: bytes) -> None:
        raise OSError("the disk fails")

    with pytest.raises(OSError, match="the disk"):
        asyncio.run(copied(file, fail))
    assert server.is_aborted


def test_a_file_is_not_read_to_its_end_when_the_client_has_left(file: Path) -> None:
    """Though `send` never waits, and so nothing else is a moment to notice it."""
    with file.open("r+b") as opened:
        opened.truncate(BIG)
    file.read_bytes()  # in memory, nobody waits for a thread

    async def main() -> list[int]:
        return await asyncio.gather(*(given_to_one_who_leaves(file) for _ in range(8)))

    assert max(asyncio.run(main())) < BIG // 2


async def given_to_one_who_leaves(file: Path) -> int:
    """How many bytes a response gives to a client that leaves at once."""
    given, has_left = 0, asyncio.Event()

    async def send(message: Message) -> None:
        nonlocal given
        given += len(message.get("body", b""))
        if given:
            has_left.set()

    async def receive() -> Message:
        await has_left.wait()
        return {"type": "http.disconnect"}

    scope: Scope = {"type": "http", "method": "GET", "path": "/", "headers": []}
    await FileResponse(file)(scope, receive, send)
    return given


def test_a_send_that_is_made_anew_for_each_request_is_told_of_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def reply(_request: object, _message: Message) -> None:
        """As daphne has it."""

    with caplog.at_level(logging.INFO, "zc_response"):
        reasons = {find_connection(partial(reply, object()))[1] for _ in range(3)}

    assert len(reasons) == 1
    assert len(caplog.records) <= 1

"""pathsend and zerocopysend as the ASGI specification describes them."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.asgi.apps import (
    App,
    body,
    calling,
    pathsend,
    sending,
    start,
    zerocopysend,
)
from tests.asgi.conftest import CONTENT, Serve
from tests.live import PATIENCE
from zc_response import Report
from zc_response.asgi import Scope, Send


def test_the_extensions_are_announced(hooked: Serve) -> None:
    async def respond(scope: Scope, send: Send) -> None:
        offers = sorted(scope["extensions"])
        text = " ".join(offers).encode()
        await send(start(content_length=len(text)))
        await send(body(text))

    with hooked(calling(respond)) as server, server.client() as client:
        offers = client.get().body.decode().split()

    assert offers == [
        "http.response.pathsend",
        "http.response.zerocopysend",
        "zc_response",
    ]


def test_pathsend_sends_the_whole_file_by_sendfile(
    hooked: Serve, file: Path, reports: list[Report]
) -> None:
    app = sending(start(content_length=len(CONTENT)), pathsend(file))
    with hooked(app) as server, server.client() as client:
        answer = client.get()

    assert answer.body == CONTENT
    assert answer.complete
    assert [(r.strategy, r.sent, r.outcome) for r in reports] == [
        ("sendfile", len(CONTENT), "complete")
    ]


def test_pathsend_without_content_length_is_chunked(hooked: Serve, file: Path) -> None:
    with hooked(sending(start(), pathsend(file))) as server, server.client() as client:
        answer = client.get()

        assert answer.headers["transfer-encoding"] == "chunked"
        assert answer.body == CONTENT
        assert client.get().body == CONTENT


def test_a_head_request_gets_the_header_and_no_body(hooked: Serve, file: Path) -> None:
    app = sending(start(content_length=len(CONTENT)), pathsend(file))
    with hooked(app) as server, server.client() as client:
        answer = client.head()

        assert answer.length == len(CONTENT)
        assert answer.body == b""
        assert client.get().body == CONTENT


@pytest.mark.parametrize("status", [204, 304])
def test_a_status_without_content_gets_none(
    hooked: Serve, file: Path, status: int
) -> None:
    with (
        hooked(sending(start(status), pathsend(file))) as server,
        server.client() as client,
    ):
        assert client.get().body == b""
        assert client.get().status == status


def test_an_empty_file_is_an_empty_body(hooked: Serve, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.touch()
    for first in (start(content_length=0), start()):
        with hooked(sending(first, pathsend(empty))) as server:
            with server.client() as client:
                assert client.get().body == b""
                assert client.get().reusable


def zerocopy_app(path: Path, as_number: bool, *parts: dict[str, Any]) -> App:
    """Sends parts of a file: each dict holds the keys of one zerocopysend."""

    async def respond(_scope: Scope, send: Send) -> None:
        with path.open("rb") as file:
            handle = file.fileno() if as_number else file
            await send(start())
            for part in parts:
                await send(zerocopysend(handle, more_body=True, **part))
            await send(body())

    return calling(respond)


@pytest.mark.parametrize("as_number", [True, False], ids=["int", "fileno()"])
def test_zerocopysend_takes_offset_and_count(
    hooked: Serve, file: Path, as_number: bool
) -> None:
    app = zerocopy_app(
        file, as_number, {"offset": 5, "count": 1_000_000}, {"offset": 0, "count": 3}
    )
    with hooked(app) as server, server.client() as client:
        assert client.get().body == CONTENT[5:1_000_005] + CONTENT[:3]
        assert client.get().complete


def test_without_count_it_goes_to_the_end_of_the_file(
    hooked: Serve, file: Path
) -> None:
    with (
        hooked(zerocopy_app(file, True, {"offset": 1000})) as server,
        server.client() as client,
    ):
        assert client.get().body == CONTENT[1000:]


def test_without_offset_it_goes_on_where_the_file_stands(
    hooked: Serve, file: Path
) -> None:
    with (
        hooked(zerocopy_app(file, False, {"count": 7}, {"count": 5})) as server,
        server.client() as client,
    ):
        assert client.get().body == CONTENT[:12]


def test_zerocopysend_mixes_with_body_messages(hooked: Serve, file: Path) -> None:
    async def respond(_scope: Scope, send: Send) -> None:
        fd = os.open(file, os.O_RDONLY)
        try:
            await send(start(content_length=2_000_005))
            await send(body(b"<" * 3, more=True))
            await send(zerocopysend(fd, offset=0, count=2_000_000, more_body=True))
            await send(body(b">>"))
        finally:
            os.close(fd)

    with hooked(calling(respond)) as server, server.client() as client:
        for _ in range(2):
            assert client.get().body == b"<<<" + CONTENT[:2_000_000] + b">>"


def test_zerocopysend_may_end_the_body(hooked: Serve, file: Path) -> None:
    async def respond(_scope: Scope, send: Send) -> None:
        with file.open("rb") as handle:
            await send(start(content_length=10))
            await send(zerocopysend(handle, count=10))

    with hooked(calling(respond)) as server, server.client() as client:
        assert client.get().body == CONTENT[:10]
        assert client.get().reusable


def test_the_application_may_close_its_file_as_soon_as_send_returns(
    hooked: Serve, file: Path
) -> None:
    """And the server has closed nothing of the application's."""

    async def respond(_scope: Scope, send: Send) -> None:
        fd = os.open(file, os.O_RDONLY)
        await send(start(content_length=len(CONTENT)))
        await send(zerocopysend(fd))
        os.close(fd)

    with hooked(calling(respond)) as server, server.client() as client:
        assert client.get().body == CONTENT


@pytest.mark.parametrize(
    "part",
    [{"offset": -1}, {"count": -1}, {"offset": 10, "count": len(CONTENT)}],
    ids=["negative offset", "negative count", "past the end"],
)
def test_a_slice_outside_the_file_is_an_error_and_not_a_short_body(
    hooked: Serve, file: Path, part: dict[str, int]
) -> None:
    async def respond(_scope: Scope, send: Send) -> None:
        with file.open("rb") as handle:
            await send(start(content_length=10))
            await send(zerocopysend(handle, **part))

    with hooked(calling(respond)) as server, server.client() as client:
        assert client.get().status == 500


def test_a_path_that_is_not_there_is_an_error_before_the_header(
    hooked: Serve, tmp_path: Path
) -> None:
    app = sending(start(content_length=5), pathsend(tmp_path / "none"))
    with hooked(app) as server, server.client() as client:
        assert client.get().status == 500


@pytest.mark.parametrize("length", [len(CONTENT) - 1, len(CONTENT) + 1])
def test_a_file_that_is_not_as_long_as_announced_is_an_error_before_the_header(
    hooked: Serve, file: Path, length: int
) -> None:
    app = sending(start(content_length=length), pathsend(file))
    with hooked(app) as server, server.client() as client:
        assert client.get().status == 500


def test_a_response_that_is_started_and_never_sent_is_the_servers_to_judge(
    hooked: Serve,
) -> None:
    with (
        hooked(sending(start(content_length=5))) as server,
        server.client() as client,
    ):
        assert not client.get().complete


def test_other_messages_pass_at_once(hooked: Serve) -> None:
    """A stream without Content-Length shows its header before its first chunk."""
    header_seen = threading.Event()

    async def respond(_scope: Scope, send: Send) -> None:
        await send(start())
        assert await asyncio.to_thread(header_seen.wait, PATIENCE)
        await send(body(b"one", more=True))
        await send(body(b"two"))

    with hooked(calling(respond)) as server, server.client() as client:
        client.send()
        client.protocol.receive_data(client.socket.recv(65536))
        header_seen.set()

        assert client.receive().body == b"onetwo"

"""Bodies that the server sends itself, and what they leave in the page cache."""

from __future__ import annotations

import errno
import os
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
import trustme
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Route

from tests.asgi.conftest import CONTENT, Serve
from zc_response import Policy, Report
from zc_response.asgi import Message, Scope, Send
from zc_response.asgi.messages import PATHSEND, ZEROCOPYSEND
from zc_response.cli.bench.disks import Disk
from zc_response.integrations.starlette import FileResponse
from zc_response.kernel import files, pages
from zc_response.transmit.direct import BUFFER

SETTINGS = {
    "direct": ({"strategy": "direct"}, ("direct", "around the page cache"), 0),
    "direct_min": ({"direct_min": 1 << 20}, ("direct", "around the page cache"), 0),
    "drop": ({"cache": "drop"}, ("copy", ""), 0),
    "by default": ({}, ("copy", ""), len(CONTENT)),
}
"""Settings; strategy and reason in the report (empty: the obstacle); what is left."""
every_setting = pytest.mark.parametrize(
    ("settings", "told", "left"), SETTINGS.values(), ids=SETTINGS
)


@pytest.fixture
def cold(disk: Callable[[str], Path]) -> Path:
    """A file that is not in memory."""
    path = disk("ext4") / "sent by the server"
    path.write_bytes(CONTENT)
    Disk(path=path.parent, kind="ext4").drop_caches(path)
    return path


def left_of(path: Path) -> int:
    """How many bytes of a file are in the page cache."""
    with path.open("rb") as file:
        return pages.cached(file.fileno(), 0, len(CONTENT)) * pages.PAGE


def response(path: Path, settings: dict[str, Any]) -> FileResponse:
    class Response(FileResponse):
        policy = Policy(**settings)

    return Response(path)


def application(path: Path, settings: dict[str, Any]) -> Starlette:
    def view(_request: Request) -> FileResponse:
        return response(path, settings)

    return Starlette(routes=[Route("/", view)])


async def answer_of(app: Starlette) -> bytes:
    """What an application answers by httpx's own transport, which is no server."""
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport) as client:
        return (await client.get("http://test/")).content


def check(
    path: Path, reports: list[Report], told: tuple[str, str], left: int, obstacle: str
) -> None:
    strategy, reason = told
    assert [(r.strategy, r.outcome) for r in reports] == [(strategy, "complete")]
    assert reports[0].reason.startswith(reason or obstacle)
    assert abs(left_of(path) - left) <= BUFFER / 4


@every_setting
def test_behind_tls(
    served: Serve,
    cold: Path,
    reports: list[Report],
    tmp_path: Path,
    settings: dict[str, Any],
    told: tuple[str, str],
    left: int,
) -> None:
    authority, pem = trustme.CA(), tmp_path / "certificate.pem"
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(pem)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    with served(
        application(cold, settings), ssl_certfile=str(pem), ssl_keyfile=str(pem)
    ) as server:
        with httpx.Client(verify=trusting) as client:
            answer = client.get(f"https://localhost:{server.port}/")

    assert answer.content == CONTENT
    check(cold, reports, told, left, "TLS")


@every_setting
def test_on_a_server_that_nobody_knows(
    cold: Path,
    reports: list[Report],
    settings: dict[str, Any],
    told: tuple[str, str],
    left: int,
) -> None:
    assert anyio.run(answer_of, application(cold, settings)) == CONTENT
    check(cold, reports, told, left, "no way known to write behind httpx")


@pytest.mark.parametrize("extension", [PATHSEND, ZEROCOPYSEND])
@every_setting
def test_a_server_with_zero_copy_of_its_own_is_left_out_of_it(
    cold: Path,
    reports: list[Report],
    extension: str,
    settings: dict[str, Any],
    told: tuple[str, str],
    left: int,
) -> None:
    """It would read through the page cache, and nobody could clean up behind it."""
    scope: Scope = {
        "type": "http",
        "method": "GET",
        "path": "/",
        "headers": [],
        "extensions": {extension: {}},
        "asgi": {"spec_version": "2.4"},
    }
    received: list[Message] = []

    async def send(message: Message) -> None:
        received.append(message)

    async def receive() -> Message:
        await anyio.sleep_forever()
        raise AssertionError

    async def main(scope: Scope, send: Send) -> None:
        await response(cold, {"integrity": "fast", **settings})(scope, receive, send)

    anyio.run(main, scope, send)
    is_native = any(message["type"] == extension for message in received)
    assert is_native == (settings == {})
    if not is_native:
        assert b"".join(m.get("body", b"") for m in received) == CONTENT
        check(cold, reports, told, left, "the server's own zero copy cleans nothing up")


def test_where_the_filesystem_has_no_direct_reads_it_is_read_as_ever(
    cold: Path, reports: list[Report], monkeypatch: pytest.MonkeyPatch
) -> None:
    real, reads = files.read_into, list[int]()

    def refuse(fd: int, buffer: memoryview, offset: int) -> int:
        """The second read: in the middle of the body."""
        reads.append(offset)
        if len(reads) > 1:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return real(fd, buffer, offset)

    monkeypatch.setattr(files, "read_into", refuse)

    app = application(cold, {"strategy": "direct"})
    assert anyio.run(answer_of, app) == CONTENT
    told = [(r.strategy, r.reason) for r in reports]
    assert told == [("copy", "O_DIRECT: Invalid argument")]

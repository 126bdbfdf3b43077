"""The strategies on each worker: what is set is what carries the body."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.gunicorn.conftest import BIG_SIZE, CONTENT, SMALL_WINDOW, WORKERS, Start
from tests.gunicorn.running import TlsClient
from zc_response.cli.bench.disks import Disk
from zc_response.kernel import pages
from zc_response.transmit.direct import BUFFER

BIG = CONTENT * (BIG_SIZE // len(CONTENT))


@pytest.mark.parametrize("worker", WORKERS)
def test_a_file_that_shrinks_under_its_mapping_ends_visibly_and_the_worker_lives(
    start: Start, worker: str
) -> None:
    """gevent drives it itself; the others hand it over to the thread of the process."""
    settings = {"ZC_RESPONSE_STRATEGY": "mmap", "ZC_RESPONSE_INTEGRITY": "fast"}
    with start(worker=worker, environ=settings) as server:
        before, file = server.worker, server.file(BIG)
        with server.client(receive_buffer=SMALL_WINDOW) as client:
            client.send(f"/sized/{file.name}")
            client.socket.recv(1)
            os.truncate(file, 0)
            assert received(client.socket) < len(BIG)
        report = server.report(file)
        assert (report["strategy"], report["outcome"]) == ("mmap", "truncated")
        assert report["sent"] < len(BIG)

        another = server.file(CONTENT)
        with server.client() as client:
            assert client.get(f"/sized/{another.name}").body == CONTENT
        assert server.worker == before


@pytest.mark.parametrize("strategy", ["sendfile", "mmap", "direct", "copy"])
@pytest.mark.parametrize("worker", WORKERS)
def test_what_is_set_is_what_carries_the_body(
    start: Start, worker: str, strategy: str
) -> None:
    with start(worker=worker, environ={"ZC_RESPONSE_STRATEGY": strategy}) as server:
        file = server.file(BIG)
        with server.client() as client:
            assert client.get(f"/sized/{file.name}").body == BIG
        assert server.report(file)["strategy"] == strategy


@pytest.mark.parametrize(
    ("settings", "strategy"),
    [
        ({"ZC_RESPONSE_STRATEGY": "direct"}, "direct"),
        ({"ZC_RESPONSE_DIRECT_MIN": "1000000"}, "direct"),
        ({"ZC_RESPONSE_CACHE": "drop"}, "copy"),
    ],
    ids=["strategy", "direct_min", "cache"],
)
@pytest.mark.parametrize("worker", WORKERS)
def test_behind_tls_too_the_page_cache_is_left_clean(
    start: Start,
    disk: Callable[[str], Path],
    certificate: dict[str, Any],
    trusting: ssl.SSLContext,
    worker: str,
    settings: dict[str, str],
    strategy: str,
) -> None:
    path = disk("ext4") / "sent-by-gunicorn"
    path.write_bytes(BIG)
    Disk(path=path.parent, kind="ext4").drop_caches(path)
    with start(worker=worker, environ=settings, **certificate) as server:
        with TlsClient(server.port, trusting) as client:
            assert client.get(f"/sized/{path}").body == BIG
        report = server.report(path)
    with path.open("rb") as file:
        left = pages.cached(file.fileno(), 0, len(BIG)) * pages.PAGE
    path.unlink()
    assert (report["strategy"], report["outcome"]) == (strategy, "complete")
    assert left <= BUFFER


def received(sock: socket.socket) -> int:
    """How many bytes come before the connection ends, by RST or otherwise."""
    total = 0
    try:
        while data := sock.recv(1 << 20):
            total += len(data)
    except ConnectionResetError:
        pass
    return total

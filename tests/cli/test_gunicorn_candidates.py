"""gunicorn's workers as candidates, and what was added to the benchmark for them."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from tests.cli.test_clients import LENGTH, answering
from tests.cli.test_commands import linux, measure, values
from zc_response.cli.bench.candidates import CANDIDATES, DEFAULT
from zc_response.cli.bench.client import Connection
from zc_response.cli.bench.errors import LoadError, MissingError
from zc_response.cli.bench.holders import is_whole, sample
from zc_response.cli.bench.load import Target, Wrk, find_wrk
from zc_response.cli.bench.ranges import check_end
from zc_response.cli.bench.servers import Gunicorn, Site

WORKERS = ("sync", "gthread", "gevent", "asgi", "uvicorn-worker")


def command(tmp_path: Path, name: str, connections: int = 0) -> list[str]:
    site = Site(files=tmp_path, scratch=tmp_path, port=1, connections=connections)
    return CANDIDATES[name].software.command(site)


@pytest.mark.parametrize("worker", WORKERS)
def test_no_worker_is_compared_by_default(worker: str) -> None:
    assert f"{worker}-response" in CANDIDATES
    assert f"{worker}-response" not in DEFAULT


@pytest.mark.parametrize("worker", WORKERS)
def test_the_setting_is_all_that_differs(tmp_path: Path, worker: str) -> None:
    stock, ours = (command(tmp_path, f"{worker}-{way}") for way in ("stock", "setting"))
    changed = [pair for pair in zip(stock, ours, strict=True) if pair[0] != pair[1]]
    assert changed[0] == (
        "/dev/null",
        "python:zc_response.integrations.gunicorn_conf",
    )
    assert len(changed) == (2 if worker == "uvicorn-worker" else 1)  # the class


def test_many_connections_are_held_by_two_workers(tmp_path: Path) -> None:
    assert "--workers 1 " in " ".join(command(tmp_path, "sync-stock"))
    assert "--workers 2 " in " ".join(command(tmp_path, "sync-stock", 500))


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    module = "zc_response.cli.bench.servers.installed"
    monkeypatch.setattr(module, lambda name: name != "gevent")
    with pytest.raises(MissingError, match="gevent cannot be found"):
        Gunicorn(worker="gevent", factory="stock").check()


@linux
def test_every_worker_is_measured_with_every_view(tmp_path: Path) -> None:
    """sync closes each connection."""
    names = [name for name in CANDIDATES if name.startswith(WORKERS)]
    assert len(names) == 20
    options = ("--sizes=1MiB", "--seconds=0.05", f"--candidates={','.join(names)}")
    made = measure(tmp_path, "throughput", *options)
    assert made["failures"] == []


@linux
def test_django_is_measured_on_every_server(tmp_path: Path) -> None:
    names = [name for name in CANDIDATES if name.startswith("django-")]
    assert len(names) == 15
    options = ("--sizes=1MiB", "--seconds=0.05", f"--candidates={','.join(names)}")
    made = measure(tmp_path, "throughput", *options)
    assert made["failures"] == []


@linux
def test_clients_that_read_at_last_are_compared(tmp_path: Path) -> None:
    options = ("--stalled=6", "--read=3", "--size=16MiB", "--seconds=0.2")
    made = values(measure(tmp_path, "stalled", *options, "--candidates=sync-setting"))
    assert (made["stalled"], made["whole"], made["spoilt"]) == (6, 3, 0)


@linux
def test_ranges_are_measured(tmp_path: Path) -> None:
    if find_wrk(None) is None:
        pytest.skip("wrk is not installed")
    options = ("--size=1MiB", "--seconds=1", "--candidates=gthread-response")
    assert values(measure(tmp_path, "ranges", *options))["rate"] > 0


# The parts ---------------------------------------------------------------------------


def test_wrk_asks_for_a_range() -> None:
    load = Wrk(program="wrk", seconds=1, range_field="bytes=-5")
    line = load.command(Target(port=1, path="/x", size=5))
    assert line[-3:] == ["-H", "Range: bytes=-5", "http://127.0.0.1:1/x"]


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        (b"200 OK\r\nContent-Length: 2\r\n\r\nyz", "not 206 but 200"),
        (b"206 P\r\nContent-Length: 2\r\n\r\nxy", "not the end of the file"),
        (b"206 P\r\nContent-Length: 2\r\n\r\ny", "ended early"),
        (b"404 No\r\nContent-Length: 0\r\n\r\n", "not 206 but 404"),
    ],
)
def test_a_wrong_range_is_a_failure(
    tmp_path: Path, answer: bytes, complaint: str
) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"wxyz")
    with answering(b"HTTP/1.1 " + answer) as port:
        target = Target(port=port, path="/x", size=4)
        with pytest.raises(LoadError, match=complaint):
            check_end(target, "bytes=-2", file, 2)


def test_where_the_server_closes_the_client_connects_again() -> None:
    answer = LENGTH.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    with answering(answer + b"0123456789", times=2) as port:
        connection = Connection(port, 5)
        connection.get("/x", 10)
        connection.get("/x", 10)
        connection.close()


@pytest.mark.parametrize(
    ("body", "whole"),
    [(b"0123456789", True), (b"01234", False), (b"012345678x", False)],
)
def test_a_download_is_whole_if_it_is_the_file(
    tmp_path: Path, body: bytes, whole: bool
) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"0123456789")
    with answering(LENGTH + body) as port:
        with socket.create_connection(("127.0.0.1", port), 5) as client:
            client.sendall(b"GET / HTTP/1.1\r\n\r\n")
            assert is_whole(client, str(file)) == whole


def test_a_sample_goes_from_the_first_to_the_last() -> None:
    clients = [socket.socket() for _ in range(10)]
    assert [clients.index(each) for each in sample(clients, 4)] == [0, 3, 6, 9]
    assert len(sample(clients, 100)) == 10
    assert not sample(clients, 0)
    for client in clients:
        client.close()

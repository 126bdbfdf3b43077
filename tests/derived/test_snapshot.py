"""`snapshot=True`: the file as it is now, whatever happens to it later."""

from __future__ import annotations

import gzip
import io
import os
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.testclient import TestClient

from tests.live import HOOKED, Client, eventually, serve
from zc_response import (
    FileChangedError,
    MemoryFile,
    NoSnapshotError,
    Outcome,
    Policy,
    Report,
)
from zc_response.derived import snapshot, snapshot_of
from zc_response.guards import Snapshot, make_snapshot
from zc_response.guards.leases import leases
from zc_response.integrations.flask import ZeroCopy, send_file, send_from_directory
from zc_response.integrations.starlette import FileResponse
from zc_response.sources import FileSource

OLD = bytes(range(1, 256)) * 4096 * 8  # 8 MiB: more than a stalled connection takes
NEW = b"n" * len(OLD)
REFLINK = ["xfs", "btrfs"]
COPY = ["ext4", "tmpfs", "overlay"]

Disk = Callable[[str], Path]


def app_for(file: Path | MemoryFile, **settings: Any) -> Starlette:
    class ByPolicy(FileResponse):
        policy = Policy(**settings)

    async def view(_request: Request) -> Response:
        return ByPolicy(file, snapshot=True)

    return Starlette(routes=[Route("/", view, methods=["GET", "HEAD"])])


def overwrite(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(NEW)


def shorten(path: Path) -> None:
    os.truncate(path, 10)


def begin(client: Client) -> None:
    """Ask, and read no more than the beginning of the answer."""
    client.send()
    client.protocol.receive_data(client.socket.recv(2000))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "file.bin"
    path.write_bytes(OLD)
    return path


# What a client gets -----------------------------------------------------------------


@pytest.mark.parametrize("change", [overwrite, shorten, os.unlink])
@pytest.mark.parametrize("kind", REFLINK + COPY)
def test_a_client_gets_the_file_as_it_was(
    disk: Disk, reports: list[Report], kind: str, change: Callable[[Path], None]
) -> None:
    path = disk(kind) / "file.bin"
    path.write_bytes(OLD)
    with serve(app_for(path), http=HOOKED["httptools"]) as server:
        with server.client(receive_buffer=16384) as client:
            begin(client)
            change(path)
            answer = client.receive()
    path.unlink(missing_ok=True)

    assert answer.complete
    assert answer.body == OLD
    (report,) = reports
    assert (report.strategy, report.outcome) == ("sendfile", Outcome.COMPLETE)
    assert (report.guard, report.path) == ("snapshot", str(path))
    how = "reflink" if kind in REFLINK else "a copy in memory"
    assert report.guard_reason == how


def test_who_writes_need_not_wait_for_the_client(
    path: Path, reports: list[Report]
) -> None:
    """No client is cut off, though none may make a writer wait."""
    app = app_for(path, break_budget=0, integrity="strict")
    with serve(app, http=HOOKED["h11"], loop="asyncio") as server:
        with server.client(receive_buffer=16384) as client:
            begin(client)
            overwrite(path)
            overwrite(path)
            answer = client.receive()

    assert answer.body == OLD
    assert reports[0].strategy == "sendfile"  # nothing can change what is queued


def test_the_next_response_has_the_file_as_it_is_then(path: Path) -> None:
    with serve(app_for(path), http=HOOKED["httptools"]) as server:
        with server.client() as client:
            assert client.get().body == OLD
            overwrite(path)
            assert client.get().body == NEW


def test_its_validators_are_the_files(path: Path) -> None:
    os.utime(path, (1e9, 1e9))

    async def plain(_request: Request) -> Response:
        return FileResponse(path)

    with TestClient(Starlette(routes=[Route("/", plain)])) as client:
        file = client.head("/").headers
    with TestClient(app_for(path)) as client:
        copy = client.head("/").headers
        known = client.get("/", headers={"if-none-match": copy["etag"]})

    assert dict(copy) == dict(file)
    assert known.status_code == 304


def test_ranges_are_of_the_snapshot(path: Path) -> None:
    with TestClient(app_for(path)) as client:
        answer = client.get("/", headers={"range": "bytes=1000000-1000999"})

    assert (answer.status_code, answer.content) == (206, OLD[1_000_000:1_001_000])


def test_an_empty_file_is_an_empty_answer(path: Path) -> None:
    path.write_bytes(b"")
    with TestClient(app_for(path)) as client:
        answer = client.get("/")

    assert (answer.status_code, answer.content) == (200, b"")


def test_a_missing_file_is_still_404(tmp_path: Path) -> None:
    with TestClient(app_for(tmp_path / "none")) as client:
        assert client.get("/").status_code == 404


def test_a_file_beside_the_file_has_its_snapshot_sent(path: Path) -> None:
    packed = gzip.compress(OLD)
    path.with_name("file.bin.gz").write_bytes(packed)
    with serve(app_for(path, precompressed="always"), http=HOOKED["h11"]) as server:
        with server.client() as client:
            answer = client.get("/", {"accept-encoding": "gzip"})

    assert answer.headers["content-encoding"] == "gzip"
    assert answer.headers["etag"].endswith(':gzip"')
    assert answer.body == packed


def test_a_memory_file_is_its_own_snapshot() -> None:
    with MemoryFile(OLD) as file:
        with file.share() as source, snapshot_of(source, Policy()) as same:
            assert same is source


# Where there is none ----------------------------------------------------------------


def test_no_room_for_it_is_503_and_the_log_says_why(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with TestClient(app_for(path, snapshot_bytes=len(OLD) - 1)) as client:
        answer = client.get("/")

    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert f"no reflink, and no room for {len(OLD)} bytes" in caplog.text


@pytest.mark.parametrize("kind", REFLINK)
def test_where_data_is_shared_there_is_always_room(disk: Disk, kind: str) -> None:
    path = disk(kind) / "file.bin"
    path.write_bytes(OLD)
    with FileSource.open(path) as source:
        with snapshot_of(source, Policy(snapshot_bytes=0)) as copy:
            assert copy.read(0, len(OLD)) == OLD
    path.unlink()


def test_copies_that_are_in_use_take_the_room(path: Path, tmp_path: Path) -> None:
    policy = Policy(snapshot_bytes=len(OLD) + 1)
    other = tmp_path / "other"
    other.write_bytes(OLD)
    with FileSource.open(path) as source, FileSource.open(other) as another:
        with snapshot_of(source, policy):
            with pytest.raises(NoSnapshotError):
                snapshot_of(another, policy)
        snapshot_of(another, policy).release()


def test_those_who_ask_for_the_same_state_share_a_copy(path: Path) -> None:
    policy = Policy(snapshot_bytes=len(OLD))
    with FileSource.open(path) as source, FileSource.open(path) as again:
        with snapshot_of(source, policy) as one, snapshot_of(again, policy) as other:
            assert one is other


def test_another_state_of_the_file_has_another_copy(path: Path) -> None:
    with FileSource.open(path) as source, snapshot_of(source, Policy()) as one:
        overwrite(path)
        with FileSource.open(path) as again:
            with snapshot_of(again, Policy()) as other:
                assert one.read(0, 9) == OLD[:9]
                assert other.read(0, 9) == NEW[:9]


def test_tags_made_of_other_facts_are_not_shared(path: Path) -> None:
    by_change = Policy(etag="change")
    with FileSource.open(path) as source, snapshot_of(source, Policy()) as one:
        with snapshot_of(source, by_change) as other:
            assert one.validators != other.validators


def test_many_who_ask_at_once_find_room_for_one_copy(path: Path) -> None:
    app = app_for(path, snapshot_bytes=len(OLD))
    with serve(app, http=HOOKED["httptools"]) as server, ExitStack() as stack:
        clients = [
            stack.enter_context(server.client(receive_buffer=16384)) for _ in range(10)
        ]
        for client in clients:
            begin(client)
        overwrite(path)
        assert [client.receive().body == OLD for client in clients] == [True] * 10


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_child_lets_go_of_the_parents_copies(path: Path) -> None:
    """Else their memory would be taken until that process ends."""
    with FileSource.open(path) as source, snapshot_of(source, Policy()) as copy:
        pid = os.fork()
        if pid == 0:
            os._exit(0 if copy.closed else 1)
        status = os.waitpid(pid, 0)[1]

        assert os.waitstatus_to_exitcode(status) == 0
        assert copy.read(0, 9) == OLD[:9]


# While somebody writes --------------------------------------------------------------

Make = Callable[..., Snapshot | None]


@pytest.fixture
def meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[[Callable[[], object]], None]:
    """Have something happen when a copy has been begun."""
    make: Make = make_snapshot

    def meanwhile(action: Callable[[], object]) -> None:
        def made(*args: Any) -> Snapshot | None:
            action()
            return make(*args)

        monkeypatch.setattr(snapshot, "make_snapshot", made)

    return meanwhile


def test_a_file_that_does_not_stand_still_is_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch, meanwhile: Any
) -> None:
    """Its copy could be of two states: this one always is written to."""
    monkeypatch.setattr(leases, "join", lambda *_args: "refused")
    tries: list[int] = []

    def write() -> None:
        tries.append(1)
        overwrite(path)

    meanwhile(write)
    with FileSource.open(path) as source:
        with pytest.raises(FileChangedError):
            snapshot_of(source, Policy())

    assert len(tries) == snapshot._ATTEMPTS


def test_a_write_meanwhile_has_it_made_anew(
    path: Path, monkeypatch: pytest.MonkeyPatch, meanwhile: Any
) -> None:
    monkeypatch.setattr(leases, "join", lambda *_args: "refused")
    tries: list[int] = []

    def write_once() -> None:
        if not tries:
            overwrite(path)
        tries.append(1)

    meanwhile(write_once)
    with FileSource.open(path) as source, snapshot_of(source, Policy()) as copy:
        assert copy.read(0, len(NEW)) == NEW
    assert len(tries) == 2


def test_with_a_lease_who_writes_waits_until_the_copy_is_made(
    path: Path, meanwhile: Any
) -> None:
    threads: list[threading.Thread] = []

    def write() -> None:
        thread = threading.Thread(target=overwrite, args=(path,))
        threads.append(thread)
        thread.start()
        held = leases._leases.values()
        eventually(lambda: any(not each.is_held for each in held), "a broken lease")

    meanwhile(write)
    with FileSource.open(path) as source, snapshot_of(source, Policy()) as copy:
        threads[0].join()
        assert copy.read(0, len(OLD)) == OLD
    assert len(threads) == 1
    assert path.read_bytes() == NEW


def test_a_lease_that_is_lost_meanwhile_has_it_made_anew(
    path: Path, meanwhile: Any
) -> None:
    """When the writer has waited for as long as he may be made to."""
    threads: list[threading.Thread] = []

    def write() -> None:
        if not threads:
            threads.append(threading.Thread(target=overwrite, args=(path,)))
            threads[0].start()
            threads[0].join()

    meanwhile(write)
    policy = Policy(break_budget=0)
    with FileSource.open(path) as source, snapshot_of(source, policy) as copy:
        assert copy.read(0, len(NEW)) == NEW


# Flask ------------------------------------------------------------------------------


@pytest.fixture
def flask_app(path: Path) -> Flask:
    app = Flask(__name__)
    ZeroCopy(app, Policy(snapshot_bytes=len(OLD)))

    def by_directory() -> Any:
        return send_from_directory(path.parent, path.name, snapshot=True)

    views: dict[str, Callable[[], Any]] = {
        "path": lambda: send_file(path, snapshot=True),
        "file": lambda: send_file(path.open("rb"), "x/y", snapshot=True),
        "directory": by_directory,
    }
    for name, function in views.items():
        app.add_url_rule(f"/{name}", name, function)
    return app


@pytest.mark.parametrize("way", ["path", "file", "directory"])
def test_flask_sends_the_file_as_it_was(
    flask_app: Flask, path: Path, reports: list[Report], way: str
) -> None:
    with flask_app.test_client().get(f"/{way}") as answer:
        overwrite(path)
        assert answer.data == OLD

    assert reports[0].guard == "snapshot"


@pytest.mark.parametrize("way", ["path", "directory"])
def test_flask_answers_503_where_there_is_no_room(
    flask_app: Flask, path: Path, way: str
) -> None:
    with path.open("ab") as file:
        file.write(b"too much")
    with flask_app.test_client().get(f"/{way}") as answer:
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")


@pytest.mark.parametrize("way", ["path", "directory"])
def test_flask_leaves_no_snapshot_to_a_server_in_front(
    flask_app: Flask, way: str
) -> None:
    flask_app.config["USE_X_SENDFILE"] = True
    with flask_app.test_client().get(f"/{way}") as answer:
        assert "X-Sendfile" not in answer.headers
        assert answer.data == OLD


def test_flask_can_make_none_of_what_is_no_file(flask_app: Flask) -> None:
    with flask_app.test_request_context("/"):
        with pytest.raises(ValueError, match="no snapshot"):
            send_file(io.BytesIO(OLD), "x/y", snapshot=True)

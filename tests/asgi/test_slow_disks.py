"""Disks that are slow, fail or hang: others are served meanwhile, the end is honest."""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route

from tests.asgi.conftest import Serve
from tests.asgi.test_failures import under_way
from tests.filesystems import Faults, MountFaulty
from tests.live import Answer, Server, eventually
from zc_response import Policy, Report
from zc_response.cli.bench.disks import KINDS, slow_disk, why_not
from zc_response.integrations.starlette import FileResponse, StaticFiles
from zc_response.kernel import pages, sockets
from zc_response.kernel.pages import mapped
from zc_response.threads import close_all

MIB = 1 << 20
CONTENT = bytes(range(256)) * 4096 * 3  # 3 MiB: more than one step
SMALL = CONTENT[:4096]


@pytest.fixture
def near(tmp_path: Path) -> Path:
    """A file that is at hand."""
    path = tmp_path / "near"
    path.write_bytes(SMALL)
    return path


def application(far: Path, near: Path, **settings: Any) -> Starlette:
    """Views of a file far away and one that is at hand, and one without a file."""

    class Download(FileResponse):
        policy = Policy(**settings)

    class Files(StaticFiles):
        policy = Policy(**settings)

    async def view(request: Request) -> Response:
        return Download({"far": far, "near": near}[request.path_params["name"]])

    async def quick(_request: Request) -> Response:
        return PlainTextResponse("quick")

    routes = [
        Route("/quick", quick),
        Mount("/static", Files(directory=far.parent, check_dir=False)),
        Route("/{name}", view),
    ]
    return Starlette(routes=routes)


def others_are_served(server: Server, rounds: int = 5) -> None:
    with server.client() as client:
        for _ in range(rounds):
            assert client.get("/quick").body == b"quick"
            assert client.get("/near").body == SMALL


# Errors -----------------------------------------------------------------------------


def test_a_disk_error_midway_ends_the_connection_visibly(
    served: Serve, faulty_mount: MountFaulty, near: Path, reports: list[Report]
) -> None:
    mount = faulty_mount(CONTENT, Faults(read_error_from=MIB))
    with served(application(mount.file, near)) as server:
        with server.client() as client:
            answer = client.get("/far")
        assert not answer.complete
        assert answer.body == CONTENT[: len(answer.body)]
        assert len(answer.body) <= MIB
        others_are_served(server)
        eventually(lambda: any(r.outcome == "failed" for r in reports))

        mount.inject(Faults())
        with server.client() as client:
            assert client.get("/far").body == CONTENT


def test_a_file_that_ends_too_early_ends_the_connection_visibly(
    served: Serve, faulty_mount: MountFaulty, near: Path, reports: list[Report]
) -> None:
    mount = faulty_mount(CONTENT, Faults(data_ends_at=MIB))
    with served(application(mount.file, near)) as server:
        with server.client() as client:
            answer = client.get("/far")
        assert not answer.complete
        # The kernel may fill up with zeros what it has read at once of the file.
        assert answer.body[:MIB] == CONTENT[: len(answer.body[:MIB])]
        assert not any(answer.body[MIB:])
        others_are_served(server)
        eventually(lambda: any(r.outcome == "truncated" for r in reports))


def test_a_close_that_fails_is_nobodys_concern(
    served: Serve, faulty_mount: MountFaulty, near: Path
) -> None:
    mount = faulty_mount(CONTENT, Faults(close_error=True))
    with served(application(mount.file, near, open_files=0)) as server:
        with server.client() as client:
            for _ in range(3):
                answer = client.get("/far")
                assert answer.body == CONTENT
                assert answer.reusable


# What hangs -------------------------------------------------------------------------


@contextlib.contextmanager
def asked_in_background(server: Server, target: str) -> Iterator[list[Answer]]:
    """Ask for a target; the answer is in the list at the end."""

    def ask() -> Answer:
        with server.client() as client:
            return client.get(target)

    with in_background(ask) as found:
        yield found


@contextlib.contextmanager
def in_background(get: Callable[[], Answer]) -> Iterator[list[Answer]]:
    """Wait for an answer, which is in the list at the end."""
    found: list[Answer] = []
    thread = threading.Thread(target=lambda: found.append(get()))
    thread.start()
    try:
        yield found
    finally:
        thread.join()


@pytest.mark.parametrize("operation", ["open", "getattr"])
@pytest.mark.parametrize("target", ["/far", "/static/file"])
def test_while_a_name_is_waited_for_others_are_served(
    served: Serve, faulty_mount: MountFaulty, near: Path, operation: str, target: str
) -> None:
    mount = faulty_mount(CONTENT, Faults(hanging=(operation,)))
    with served(application(mount.file, near)) as server:
        with asked_in_background(server, target) as found:
            eventually(lambda: operation in mount.operations())
            others_are_served(server)
            assert not found
            mount.release()
        assert found[0].body == CONTENT


@pytest.mark.parametrize("operation", ["open", "getattr"])
@pytest.mark.parametrize("target", ["/far", "/static/file"])
def test_a_name_that_is_waited_for_too_long_is_answered_503(
    served: Serve, faulty_mount: MountFaulty, near: Path, operation: str, target: str
) -> None:
    mount = faulty_mount(CONTENT, Faults(hanging=(operation,)))
    with served(application(mount.file, near, stall_timeout=0.3)) as server:
        with server.client() as client:
            answer = client.get(target)
            assert (answer.status, answer.headers["retry-after"]) == (503, "1")
            assert answer.reusable
            others_are_served(server)
            mount.release()
            eventually(lambda: client.get(target).body == CONTENT)


def test_a_name_that_hangs_does_so_for_as_many_as_ask(
    served: Serve, faulty_mount: MountFaulty, near: Path
) -> None:
    """More than there are threads for its filesystem."""
    mount = faulty_mount(SMALL, Faults(hanging=("open",), longest_hang=5))
    with served(application(mount.file, near)) as server:
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(server.client()) for _ in range(30)]
            for client in clients:
                client.send("/far")
            eventually(lambda: "open" in mount.operations())
            others_are_served(server)
            mount.release()
            for client in clients:
                assert client.receive().body == SMALL


@pytest.mark.parametrize("content", [CONTENT, SMALL], ids=["large", "small"])
def test_while_a_read_hangs_others_are_served(
    served: Serve, faulty_mount: MountFaulty, near: Path, content: bytes
) -> None:
    mount = faulty_mount(content, Faults(hanging=("read",)))
    with served(application(mount.file, near)) as server:
        with asked_in_background(server, "/far") as found:
            eventually(lambda: any("read" in line for line in mount.operations()))
            others_are_served(server)
            assert not found
            mount.release()
        assert found[0].body == content


def test_while_a_look_at_the_file_hangs_others_are_served(
    served: Serve, faulty_mount: MountFaulty, near: Path
) -> None:
    """There is no lease there, so it is looked at between two steps."""
    mount = faulty_mount(CONTENT * 8)
    with served(application(mount.file, near)) as server:
        with server.client(receive_buffer=16384) as client:
            client.send("/far")
            under_way(server)
            mount.inject(Faults(hanging=("getattr", "fgetattr")))
            mount.forget()
            with in_background(client.receive) as found:
                eventually(lambda: any("getattr" in x for x in mount.operations()))
                others_are_served(server)
                assert not found
                mount.release()
        assert found[0].body == CONTENT * 8


def test_a_read_that_hangs_for_too_long_ends_the_connection_visibly(
    served: Serve, faulty_mount: MountFaulty, near: Path, reports: list[Report]
) -> None:
    mount = faulty_mount(CONTENT, Faults(hanging=("read",)))
    with served(application(mount.file, near, stall_timeout=0.3)) as server:
        with server.client() as client:
            assert not client.get("/far").complete
        others_are_served(server)
        (cut,) = [r for r in reports if r.path == str(mount.file)]
        assert cut.outcome == "failed"
        assert "has not answered" in cut.error
        mount.release()
        eventually(lambda: not server.connections())


def test_a_small_read_that_hangs_for_too_long_is_answered_503(
    served: Serve, faulty_mount: MountFaulty, near: Path
) -> None:
    """Nothing of the response has left by then."""
    mount = faulty_mount(SMALL, Faults(hanging=("read",), longest_hang=5))
    with served(application(mount.file, near, stall_timeout=0.3)) as server:
        with server.client() as client:
            answer = client.get("/far")
        others_are_served(server)
        mount.release()
        assert answer.status == 503


def test_a_client_that_leaves_while_a_read_hangs_leaves_nothing_behind(
    served: Serve, faulty_mount: MountFaulty, near: Path
) -> None:
    mount = faulty_mount(CONTENT, Faults(hanging=("read",)))
    with served(application(mount.file, near)) as server:
        client = server.client().send("/far")
        eventually(lambda: any("read" in line for line in mount.operations()))
        client.reset()
        others_are_served(server)
        mount.release()
        eventually(lambda: not server.connections())


@pytest.mark.parametrize("content", [CONTENT, SMALL], ids=["large", "small"])
def test_a_close_that_hangs_holds_nobody_up(
    served: Serve, faulty_mount: MountFaulty, near: Path, content: bytes
) -> None:
    mount = faulty_mount(content, Faults(hanging=("flush",)))
    with served(application(mount.file, near, open_files=0)) as server:
        with server.client() as client:
            assert client.get("/far").body == content
        eventually(lambda: "flush" in mount.operations())
        others_are_served(server)
        mount.release()


def test_a_file_in_use_whose_filesystem_hangs_is_not_waited_for_on_the_loop(
    served: Serve, faulty_mount: MountFaulty, near: Path
) -> None:
    """Also when it has been served before, and is kept open."""
    mount = faulty_mount(SMALL)
    with served(application(mount.file, near)) as server:
        with server.client() as client:
            assert client.get("/far").body == SMALL
        mount.inject(Faults(hanging=("getattr", "fgetattr", "open", "read")))
        mount.forget()
        with asked_in_background(server, "/far") as found:
            eventually(mount.operations)
            others_are_served(server)
            mount.release()
        assert found[0].body == SMALL


# What is slow -----------------------------------------------------------------------


def test_from_a_slow_daemon_every_byte_arrives(
    served: Serve, faulty_mount: MountFaulty, near: Path
) -> None:
    mount = faulty_mount(CONTENT, Faults(seconds_per_read=0.02))
    with served(application(mount.file, near)) as server:
        with asked_in_background(server, "/far") as found:
            while not found:
                others_are_served(server, rounds=1)
        assert found[0].body == CONTENT


@contextlib.contextmanager
def cold_file(kind: str, directory: Path, content: bytes) -> Iterator[Path]:
    """A file on a disk that reads 6 MB a second, and none of it in memory."""
    if missing := why_not(kind):
        pytest.skip(f"no slow {kind} here: {missing}")
    with slow_disk(kind, 64 * MIB, 6_000_000, directory) as disk:
        path = disk.path / "file"
        path.write_bytes(content)
        if kind != "fuse":  # whose every range counts as cold
            disk.drop_caches(path)
        yield path


class Watch:
    """Notes which thread asks which range of sendfile, and what of it was cold."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, is_cold: Any) -> None:
        self.cold_on: set[int] = set()
        self.hot_on: set[int] = set()
        real = sockets.sendfile

        def sendfile(out: int, file: int, offset: int, count: int) -> int:
            seen = self.cold_on if is_cold(file, offset, count) else self.hot_on
            seen.add(threading.get_ident())
            return real(out, file, offset, count)

        monkeypatch.setattr(sockets, "sendfile", sendfile)


def is_cold(fd: int, offset: int, count: int) -> bool:
    """True if the first byte of a range would have to be waited for."""
    return mapped(fd, offset, min(count, 1)) is not True


class Noting:
    """An application that notes which thread it is called in: the loop's."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self.threads: set[int] = set()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.threads.add(threading.get_ident())
        await self.app(scope, receive, send)


@pytest.mark.parametrize("kind", KINDS)
def test_a_cold_file_arrives_and_is_never_waited_for_on_the_loop(
    served: Serve,
    tmp_path: Path,
    near: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
) -> None:
    with cold_file(kind, tmp_path, CONTENT) as far:
        watch = Watch(monkeypatch, is_cold)
        app = Noting(application(far, near, open_files=0))
        with served(app) as server:
            with asked_in_background(server, "/far") as found:
                while not found:
                    others_are_served(server, rounds=1)
            assert found[0].body == CONTENT
        close_all()

    assert watch.cold_on
    assert not watch.cold_on & app.threads


def test_a_small_cold_file_is_not_read_on_the_loop(
    served: Serve, tmp_path: Path, near: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    readers: set[int] = set()
    real = os.pread

    def pread(*arguments: Any) -> bytes:
        readers.add(threading.get_ident())
        return real(*arguments)

    def absent(_fd: int, _offset: int, _count: int) -> bytearray:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    content = CONTENT[: 64 * 1024]
    with cold_file("ext4", tmp_path, content) as far:
        monkeypatch.setattr(os, "pread", pread)
        # Asked about, the kernel starts to read; a quick disk may be done with it soon.
        monkeypatch.setattr(pages, "read_nowait", absent)
        app = Noting(application(far, near, open_files=0))
        with served(app) as server, server.client() as client:
            assert client.get("/far").body == content

    assert readers
    assert not readers & app.threads

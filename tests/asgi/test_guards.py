"""Files that are written to in the middle of a response, on live servers."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import anyio
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.asgi.apps import sending, start, zerocopysend
from tests.asgi.conftest import BIG, BOTH, CONTENT, SMALL_WINDOW, Serve
from tests.asgi.test_failures import under_way
from tests.live import HOOKED, Server, eventually, serve
from tests.writers import OVERWRITE, TRUNCATE, Writer
from zc_response import Policy, Report
from zc_response.asgi import Message, Scope, ZeroCopyMiddleware
from zc_response.guards.leases import leases as leases_of_process
from zc_response.integrations.starlette import FileResponse, StaticFiles
from zc_response.kernel import leases
from zc_response.transmit import residency

OTHER = b"other content, of another length"


def responding(path: Path, **settings: Any) -> Starlette:
    class Guarded(FileResponse):
        policy: ClassVar[Policy] = Policy(**settings)

    def view(_request: Request) -> Response:
        return Guarded(path)

    return Starlette(routes=[Route("/", view)])


def by_import(http: str, loop: str, app: Any) -> Any:
    return serve(app, http=http, loop=loop)


def by_protocol(http: str, loop: str, app: Any) -> Any:
    return serve(app, http=HOOKED[http], loop=loop)


def by_middleware(http: str, loop: str, app: Any) -> Any:
    return serve(ZeroCopyMiddleware(app), http=http, loop=loop)


@pytest.fixture(params=[by_import, by_protocol, by_middleware])
def each_way(request: pytest.FixtureRequest) -> Serve:
    """Serve with zero copy in each of the ways there are."""
    return lambda app: request.param(*BOTH[1], app)


def without_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    def take(_fd: int, _thread: int) -> None:
        raise OSError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(leases, "take", take)


def changing(
    monkeypatch: pytest.MonkeyPatch, path: Path, contents: list[bytes]
) -> list[bytes]:
    """Each time before a lease is taken the file gets the next of the contents."""
    real = leases.take

    def take(fd: int, thread: int) -> None:
        if contents:
            path.write_bytes(contents.pop(0))
        real(fd, thread)

    monkeypatch.setattr(leases, "take", take)
    return contents


# Before the first byte --------------------------------------------------------------


@pytest.mark.parametrize("zero_copy", [True, False])
def test_a_file_that_changes_before_the_first_byte_gets_a_fresh_answer(
    each_way: Serve,
    big: Path,
    monkeypatch: pytest.MonkeyPatch,
    reports: list[Report],
    zero_copy: bool,
) -> None:
    new = CONTENT[:1_000_000]
    left = changing(monkeypatch, big, [new])
    app = responding(big, zero_copy=zero_copy)
    with each_way(app) as server, server.client() as client:
        first, second = client.get(), client.get()

    assert left == []
    assert first.status == 200
    assert first.length == len(new)
    assert first.body == new
    assert first.headers["etag"] == second.headers["etag"]
    assert second.body == new
    assert [r.outcome for r in reports] == ["complete"] * 2


@pytest.mark.parametrize("zero_copy", [True, False])
def test_a_file_that_changes_all_the_time_is_503_and_come_again(
    each_way: Serve,
    big: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    zero_copy: bool,
) -> None:
    contents = [CONTENT[: 1_000_000 + number] for number in range(4)]
    left = changing(monkeypatch, big, contents)
    app = responding(big, zero_copy=zero_copy)
    with each_way(app) as server, server.client() as client:
        refused, answered = client.get(), client.get()

    assert left == []
    assert (refused.status, refused.headers["retry-after"]) == (503, "1")
    assert refused.body != b""
    assert answered.body == CONTENT[:1_000_003]
    assert "answering 503" in caplog.text
    assert not [r for r in caplog.records if r.levelname == "ERROR"]


def test_a_static_file_that_changes_before_the_first_byte_gets_a_fresh_answer(
    each_way: Serve, big: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a file that is in use it is known already when the response is made."""
    new = CONTENT[:1_000_000]
    with each_way(StaticFiles(directory=big.parent)) as server:
        with server.client() as client:
            assert client.get(f"/{big.name}").body == BIG
            eventually(lambda: not len(leases_of_process), "the end of the lease")
            left = changing(monkeypatch, big, [new])
            answer = client.get(f"/{big.name}")

    assert left == []
    assert (answer.status, answer.body) == (200, new)


def test_a_small_file_that_changes_while_it_is_read_gets_a_fresh_answer(
    each_way: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, changes = tmp_path / "small", [OTHER]
    path.write_bytes(b"small content")
    real = residency.read_resident

    def read_resident(*arguments: Any) -> Any:
        data = real(*arguments)
        if changes:
            path.write_bytes(changes.pop())
        return data

    monkeypatch.setattr("zc_response.transmit.copy.read_resident", read_resident)
    with each_way(responding(path)) as server, server.client() as client:
        answer = client.get()

    assert changes == []
    assert (answer.status, answer.length, answer.body) == (200, len(OTHER), OTHER)


def test_behind_middleware_that_has_the_header_already_it_is_an_honest_error(
    big: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """BaseHTTPMiddleware takes one start message: there can be no second answer."""
    changing(monkeypatch, big, [CONTENT[:1_000_000]])

    async def dispatch(request: Request, call_next: Any) -> Any:
        return await call_next(request)

    inner = responding(big)
    inner.user_middleware.append(Middleware(BaseHTTPMiddleware, dispatch=dispatch))
    with by_protocol(*BOTH[1], inner) as server, server.client() as client:
        refused = client.get()
    with by_protocol(*BOTH[1], inner) as server, server.client() as client:
        answered = client.get()

    assert (refused.status, refused.complete) == (500, True)
    assert answered.body == CONTENT[:1_000_000]


# In the middle ----------------------------------------------------------------------


def test_a_file_that_is_truncated_while_it_is_sent_arrives_whole(
    each_way: Serve, big: Path, reports: list[Report]
) -> None:
    with each_way(responding(big)) as server:
        with server.client(receive_buffer=SMALL_WINDOW) as client:
            client.send()
            under_way(server)
            with Writer(big, TRUNCATE) as writer:
                writer.go()
                answer = client.receive(chunk=1 << 20)
                assert writer.seconds() < leases.break_time() / 2

            assert answer.complete
            assert answer.body == BIG
            assert client.get().body == b""

    assert reports[0].guard == "snapshot"
    assert reports[0].outcome == "complete"


@pytest.mark.parametrize("has_lease", [True, False])
def test_a_body_that_is_copied_is_never_a_mixture(
    each_way: Serve,
    big: Path,
    monkeypatch: pytest.MonkeyPatch,
    reports: list[Report],
    has_lease: bool,
) -> None:
    """With a lease it comes from a snapshot, else it ends visibly."""
    if not has_lease:
        without_lease(monkeypatch)
    app = responding(big, zero_copy=False)
    with each_way(app) as server:
        with server.client(receive_buffer=SMALL_WINDOW) as client:
            client.send()
            under_way(server)
            with Writer(big, OVERWRITE) as writer:
                writer.go().seconds()
                answer = client.receive(chunk=1 << 20)
        eventually(lambda: reports)

    assert answer.complete is has_lease
    assert answer.body == BIG[: len(answer.body)]
    assert [(r.guard, r.outcome) for r in reports] == [
        ("snapshot", "complete") if has_lease else ("stat", "changed")
    ]


def test_without_a_lease_a_file_that_is_overwritten_ends_the_connection_visibly(
    each_way: Serve,
    big: Path,
    monkeypatch: pytest.MonkeyPatch,
    reports: list[Report],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """And the application has made no mistake."""
    without_lease(monkeypatch)
    with each_way(responding(big)) as server:
        with server.client(receive_buffer=SMALL_WINDOW) as client:
            client.send()
            under_way(server)
            with Writer(big, OVERWRITE) as writer:
                writer.go().seconds()
            answer = client.receive()
        eventually(lambda: reports)

    assert not answer.complete
    assert len(answer.body) < len(BIG)
    assert [(r.guard, r.outcome) for r in reports] == [("stat", "changed")]
    assert reports[0].guard_reason.startswith("the process does not own the file")
    assert not [r for r in caplog.records if r.levelname == "ERROR"]


def test_a_descriptor_of_the_applications_is_compared(
    served: Serve, file: Path, reports: list[Report]
) -> None:
    with file.open("rb") as opened:
        app = sending(
            start(content_length=len(CONTENT)), zerocopysend(opened, offset=0)
        )
        with served(app) as server, server.client() as client:
            assert client.get().body == CONTENT
    assert reports[0].guard == "stat"
    assert reports[0].guard_reason == "the descriptor is the application's own"


# Strict -----------------------------------------------------------------------------


def guards_of(server: Server, reports: list[Report]) -> list[tuple[str, str, str]]:
    with server.client() as client:
        assert client.get().body
    return [(r.strategy, r.reason, r.guard) for r in reports]


def test_strict_sends_nothing_by_reference_to_a_client_on_this_host(
    each_way: Serve, file: Path, reports: list[Report]
) -> None:
    with each_way(responding(file, integrity="strict")) as server:
        assert guards_of(server, reports) == [
            ("mmap", "strict, and the client may be on this host", "lease")
        ]


def test_strict_copies_where_there_is_no_lease(
    each_way: Serve,
    file: Path,
    reports: list[Report],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    without_lease(monkeypatch)
    with each_way(responding(file, integrity="strict")) as server:
        assert guards_of(server, reports) == [
            ("copy", "strict, and no lease on the file", "stat")
        ]


def test_strict_sends_by_reference_to_another_host_and_to_the_last_byte(
    each_way: Serve,
    file: Path,
    reports: list[Report],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("zc_response.transmit.access.is_same_host", lambda _fd: False)
    with each_way(responding(file, integrity="strict")) as server:
        with server.client() as client:
            for _ in range(3):
                answer = client.get()
                assert answer.complete
                assert answer.body == CONTENT
    assert [(r.strategy, r.guard, r.outcome) for r in reports] == [
        ("sendfile", "lease", "complete")
    ] * 3


@pytest.mark.parametrize("has_lease", [True, False])
def test_strict_reads_a_small_file_with_a_lease_or_by_comparing(
    each_way: Serve,
    tmp_path: Path,
    reports: list[Report],
    monkeypatch: pytest.MonkeyPatch,
    has_lease: bool,
) -> None:
    if not has_lease:
        without_lease(monkeypatch)
    path = tmp_path / "small"
    path.write_bytes(OTHER)
    with each_way(responding(path, integrity="strict")) as server:
        with server.client() as client:
            assert client.get().body == OTHER
    assert [(r.guard, r.outcome) for r in reports] == [
        ("lease" if has_lease else "stat", "complete")
    ]


def messages_for(scope: Scope, response: Callable[..., Any]) -> list[Message]:
    """What a response sends to a server with zero copy of its own."""
    sent: list[Message] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Message:
        await anyio.sleep_forever()
        raise AssertionError

    anyio.run(response, scope, receive, send)
    return sent


@pytest.mark.parametrize(
    "extension", ["http.response.pathsend", "http.response.zerocopysend"]
)
@pytest.mark.parametrize("integrity", ["fast", "safe", "strict"])
def test_only_fast_leaves_a_file_to_a_servers_own_zero_copy(
    file: Path, reports: list[Report], extension: str, integrity: str
) -> None:
    """Nothing keeps the file honest there."""

    class Guarded(FileResponse):
        policy: ClassVar[Policy] = Policy(integrity=integrity)

    scope: Scope = {
        "type": "http",
        "method": "GET",
        "path": "/",
        "headers": [],
        "extensions": {extension: {}},
    }
    sent = messages_for(scope, Guarded(file))

    kinds = {message["type"] for message in sent[1:]}
    if integrity != "fast":
        assert kinds == {"http.response.body"}
        assert b"".join(message["body"] for message in sent[1:]) == CONTENT
        assert [(r.strategy, r.guard) for r in reports] == [("copy", "lease")]
    else:
        assert kinds == {extension}
        assert [(r.strategy, r.guard) for r in reports] == [(extension, "count")]

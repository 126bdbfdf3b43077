"""Real servers: the same bytes on each, by zero copy where it can be had."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from django.contrib.staticfiles.finders import get_finder
from django.test import override_settings

from tests.django import project
from tests.django.project import MIDDLEWARE, OURS
from tests.gunicorn.running import UVICORN_WORKER, Gunicorn, gunicorn
from tests.live import Answer, Fields, eventually, serve
from tests.range_cases import Answer as Parsed, parts
from zc_response import Report

CONTENT = bytes(range(256)) * 4096 * 3  # 3 MiB: more than one step
SIZE = len(CONTENT)
MIB = 1024 * 1024

KINDS = {"sync": "wsgi", "gthread": "wsgi", UVICORN_WORKER: "asgi"}
INSTRUMENTS = ["", "sentry", "opentelemetry"]


class Setting(NamedTuple):
    """A server, and the files it serves."""

    server: Gunicorn

    def ask(self, view: str, file: Path, headers: Fields | None = None) -> Answer:
        with self.server.client() as client:
            return client.get(f"/{view}/{file.name}", headers)


def starting(
    work: Path,
    kind: str,
    instrument: str = "",
    app: str = "",
    silent: bool = False,
    **more: Any,
) -> Any:
    environ = {
        "TEST_MIDDLEWARE": json.dumps([*MIDDLEWARE, OURS]),
        "TEST_INSTRUMENT": instrument,
    }
    environ |= {"TEST_SILENT": "1"} if silent else {}
    app = f"tests.django.project:{app or KINDS[kind]}()"
    return gunicorn(work, app, worker=kind, threads=2, environ=environ, **more)


@pytest.fixture(
    scope="module",
    params=[(kind, instrument) for kind in KINDS for instrument in INSTRUMENTS],
    ids=lambda param: "-".join((param[0].rpartition(".")[2], *param[1:])).rstrip("-"),
)
def setting(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Setting]:
    """Each server, with all of Django's middleware, ours, and whoever looks on."""
    kind, instrument = request.param
    with starting(tmp_path_factory.mktemp("django"), kind, instrument) as server:
        yield Setting(server)


@pytest.mark.parametrize("view", ["ours", "stock", "lines", "stored", "served"])
def test_a_whole_file_leaves_by_sendfile(setting: Setting, view: str) -> None:
    file = setting.server.file(CONTENT)

    answer = setting.ask(view, file)

    assert (answer.status, answer.complete) == (200, True), setting.server.log
    assert answer.body == CONTENT
    report = setting.server.report(file)
    assert (report["strategy"], report["outcome"]) == ("sendfile", "complete")


@pytest.mark.parametrize("view", ["ours", "stock", "served"])
def test_so_do_its_ranges(setting: Setting, view: str) -> None:
    file = setting.server.file(CONTENT)

    part = setting.ask(view, file, {"range": "bytes=1000000-1999999"})
    report = setting.server.report(file)

    assert (part.status, part.body) == (206, CONTENT[1_000_000:2_000_000])
    assert part.headers["content-range"] == f"bytes 1000000-1999999/{SIZE}"
    assert (report["strategy"], report["sent"]) == ("sendfile", 1_000_000)


def test_and_several_at_once(setting: Setting) -> None:
    file = setting.server.file(CONTENT)

    answer = setting.ask("ours", file, {"range": "bytes=5-500000,1000000-2000000"})
    report = setting.server.report(file)

    parsed = Parsed(
        status=206, headers=tuple(answer.fields), body=answer.body, content=CONTENT
    )
    assert [part.data for part in parts(parsed)] == [
        CONTENT[5:500_001],
        CONTENT[1_000_000:2_000_001],
    ]
    assert (report["strategy"], report["sent"]) == ("sendfile", answer.length)


def test_a_compressed_body_is_never_sent_raw(setting: Setting) -> None:
    file = setting.server.file(CONTENT)

    answer = setting.ask("ours", file, {"accept-encoding": "gzip"})

    assert answer.headers["content-encoding"] == "gzip"
    assert gzip.decompress(answer.body) == CONTENT


def test_head_and_304_have_no_body_and_keep_the_connection(setting: Setting) -> None:
    file = setting.server.file(CONTENT)
    with setting.server.client() as client:
        head = client.head(f"/ours/{file.name}")
    etag = {"if-none-match": head.headers["etag"]}
    with setting.server.client() as client:
        same = client.get(f"/ours/{file.name}", etag)

    assert (head.status, head.length, head.body) == (200, SIZE, b"")
    assert (same.status, same.body) == (304, b"")
    assert setting.server.reports(file) == []


@pytest.mark.parametrize("size", [0, 1, 5000])
def test_small_and_empty_files_are_whole(setting: Setting, size: int) -> None:
    file = setting.server.file(CONTENT[:size])
    answer = setting.ask("ours", file)
    assert (answer.status, answer.body) == (200, CONTENT[:size])


@pytest.mark.parametrize("view", ["memory", "unzipped"])
def test_what_is_no_plain_file_is_read(setting: Setting, view: str) -> None:
    file = setting.server.file(gzip.compress(CONTENT))

    answer = setting.ask(view, file)

    expected = CONTENT if view == "unzipped" else file.read_bytes()
    assert (answer.status, answer.body) == (200, expected)
    assert setting.server.reports(file) == []


def test_nothing_stays_open(setting: Setting) -> None:
    """Of answers of all kinds; files that are kept open are closed when idle."""
    file = setting.server.file(CONTENT)
    requests: list[dict[str, str]] = [
        {},
        {"range": "bytes=0-9"},
        {"range": "bytes=0-9,20-29"},
        {"if-none-match": "*"},
        {"range": f"bytes={SIZE}-"},
    ]
    for headers in requests:  # whatever is opened once is open now
        setting.ask("ours", file, headers)
    before = setting.server.descriptors()
    for headers in requests * 3:
        setting.ask("ours", file, headers)

    eventually(lambda: setting.server.descriptors() <= before, "the descriptors")


@pytest.mark.parametrize("kind", KINDS)
def test_small_files_are_whole_where_nobody_wants_a_report(
    kind: str, tmp_path: Path
) -> None:
    """They take a shorter way then, again and again on one connection."""
    with starting(tmp_path / "work", kind, silent=True, keepalive=10) as server:
        files = {size: server.file(CONTENT[:size]) for size in (0, 1, 4096, 65536)}
        with server.client() as client:
            for size, file in files.items() if kind != "sync" else ():
                assert client.get(f"/ours/{file.name}").body == CONTENT[:size]
                assert client.head(f"/ours/{file.name}").length == size
        setting = Setting(server)
        for size, file in files.items():
            assert setting.ask("ours", file).body == CONTENT[:size]
        file = files[65536]
        part = setting.ask("ours", file, {"range": "bytes=-9"})
        several = setting.ask("ours", file, {"range": "bytes=0-0,9-9"})
        file.write_bytes(b"new")
        new = setting.ask("ours", file)

    assert (part.status, part.body) == (206, CONTENT[65527:65536])
    assert (several.status, len(several.body)) == (206, several.length)
    assert (new.status, new.body) == (200, b"new")


# Without hooks -----------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["sync", "gthread"])
def test_gunicorn_without_our_setting_sends_the_same(kind: str, tmp_path: Path) -> None:
    with starting(tmp_path / "work", kind, hooks=False) as server:
        file = server.file(CONTENT)
        setting = Setting(server)
        for view in ("ours", "stock", "served"):
            assert setting.ask(view, file).body == CONTENT
            for field, part in (
                ("bytes=2999990-", CONTENT[2_999_990:]),
                ("bytes=-10", CONTENT[-10:]),
            ):
                answer = setting.ask(view, file, {"range": field})
                assert (answer.status, answer.body) == (206, part)


@pytest.mark.parametrize(
    ("app", "strategy"), [("asgi", "sendfile"), ("stock_asgi", "copy")]
)
@pytest.mark.parametrize("http", ["h11", "httptools"])
def test_plain_uvicorn_needs_the_handler(
    app: str, strategy: str, http: str, file: Path, reports: list[Report]
) -> None:
    """Without it our response is read, piece by piece."""
    with override_settings(MIDDLEWARE=[*MIDDLEWARE, OURS]):
        with serve(getattr(project, app)(), http=http) as server:
            for view in ("ours", "ours_async", "stock"):
                with server.client() as client:
                    whole = client.get(f"/{view}/{file.name}")
                    part = client.get(f"/{view}/{file.name}", {"range": "bytes=-99999"})
                content = file.read_bytes()
                assert (whole.status, whole.body) == (200, content)
                assert (part.status, part.body) == (206, content[-99999:])
            eventually(lambda: len(reports) == 6, "the reports")

    assert {report.strategy for report in reports} == {strategy}


def test_stock_responses_gain_by_the_handler_alone(
    file: Path, reports: list[Report]
) -> None:
    with serve(project.asgi()) as server, server.client() as client:
        answer = client.get(f"/stock/{file.name}")
        moved = client.get(f"/memory/{file.name}")

    assert answer.body == moved.body == file.read_bytes()
    assert [report.strategy for report in reports] == ["sendfile"]


def test_a_file_that_is_written_to_meanwhile_can_be_asked_for_again(
    file: Path,
) -> None:
    with serve(project.asgi()) as server, server.client() as client:
        answer = client.get(f"/changed/{file.name}")
        again = client.get(f"/ours/{file.name}")

    assert (answer.status, answer.headers["retry-after"]) == (503, "1")
    assert again.body == file.read_bytes()


def test_static_files_are_not_read_into_memory(
    file: Path, root: Path, reports: list[Report]
) -> None:
    finder = "django.contrib.staticfiles.finders.FileSystemFinder"
    with override_settings(STATICFILES_DIRS=[root], STATICFILES_FINDERS=[finder]):
        get_finder.cache_clear()
        with serve(project.asgi_static()) as server, server.client() as client:
            static = client.get(f"/static/{file.name}", {"range": "bytes=-99999"})
            none = client.get("/static/none")
            other = client.get(f"/ours/{file.name}", {"range": "bytes=0-9"})
    get_finder.cache_clear()

    assert (static.status, static.body) == (206, file.read_bytes()[-99999:])
    assert (none.status, other.status) == (404, 206)
    assert reports[0].strategy == "sendfile"


def test_a_client_that_leaves_ends_it(file: Path, reports: list[Report]) -> None:
    with file.open("r+b") as opened:
        opened.truncate(64 * MIB)
    with serve(project.asgi()) as server:
        with server.client(receive_buffer=16384) as client:
            client.send(f"/ours/{file.name}").socket.recv(1)
            client.reset()
        eventually(lambda: reports, "the report")
        eventually(lambda: not server.connections(), "the end of the connection")

    assert reports[0].outcome in ("disconnected", "cancelled")
    assert reports[0].sent < 64 * MIB


@pytest.mark.parametrize("app", ["asgi", "stock_asgi"])
@pytest.mark.parametrize("view", ["ours", "stock"])
def test_memory_does_not_grow_with_the_file(
    app: str, view: str, tmp_path: Path
) -> None:
    """Django's own reads it all before the first byte."""
    with starting(tmp_path / "work", UVICORN_WORKER, app=app) as server:
        warm, file = server.file(CONTENT), server.file(b"")
        with file.open("r+b") as opened:
            opened.truncate(128 * MIB)
        Setting(server).ask(view, warm)
        status = Path(f"/proc/{server.worker}/status")
        Path(f"/proc/{server.worker}/clear_refs").write_text("5")  # forget the peak
        before = kilobytes(status, "VmRSS")
        with server.client() as client:
            client.send(f"/{view}/{file.name}")
            received = 0
            while received < 128 * MIB:
                received += len(client.socket.recv(MIB))

        assert kilobytes(status, "VmHWM") - before < 16 * 1024


def kilobytes(status: Path, field: str) -> int:
    lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
    return int(lines[field].split()[0])

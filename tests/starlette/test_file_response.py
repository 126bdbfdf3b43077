"""FileResponse: Starlette's own, as far as a user can tell; and better where it is."""

from __future__ import annotations

import errno
import gzip
import inspect
import os
import resource
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse as StockFileResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient

from zc_response import Policy
from zc_response.asgi import Message, Scope
from zc_response.integrations import starlette
from zc_response.integrations.starlette import FileResponse
from zc_response.planning import http_date, plan
from zc_response.sources import FileSource

CONTENT = b"0123456789" * 1000


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file.txt"
    path.write_bytes(CONTENT)
    return path


@pytest.fixture
def client() -> Iterator[Callable[..., TestClient]]:
    """A client of an application whose only view returns what it is given."""
    opened: list[TestClient] = []

    def for_response(*args: Any, kind: Any = FileResponse, **kwargs: Any) -> TestClient:
        async def view(_request: Request) -> Response:
            response: Response = kind(*args, **kwargs)
            return response

        app = Starlette(routes=[Route("/", view, methods=["GET", "HEAD", "POST"])])
        opened.append(TestClient(app))
        return opened[-1]

    yield for_response
    for each in opened:
        each.close()


Make = Callable[..., TestClient]


# As Starlette's ---------------------------------------------------------------------


def test_its_signature_is_starlettes_and_has_more_by_keyword_only() -> None:
    ours = dict(inspect.signature(FileResponse).parameters)
    stock = inspect.signature(StockFileResponse).parameters

    assert ours.pop("snapshot").kind is inspect.Parameter.KEYWORD_ONLY
    assert [(p.name, p.kind, p.default) for p in ours.values()] == [
        (p.name, p.kind, p.default) for p in stock.values()
    ]
    assert issubclass(FileResponse, StockFileResponse)


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"filename": "name.html"},
        {"media_type": "x/y", "status_code": 201},
        {"headers": {"etag": '"mine"', "X-A": "b"}},
    ],
)
def test_its_attributes_are_starlettes(file: Path, arguments: dict[str, Any]) -> None:
    ours, stock = (
        kind(file, **arguments) for kind in (FileResponse, StockFileResponse)
    )

    for name in (
        "path", "status_code", "filename", "media_type", "background", "stat_result",
        "chunk_size", "headers",
    ):  # fmt: skip
        assert getattr(ours, name) == getattr(stock, name), name


def test_a_stat_result_shows_in_the_headers_at_once(file: Path) -> None:
    response = FileResponse(file, stat_result=file.stat())

    assert response.headers["content-length"] == str(len(CONTENT))
    assert "etag" in response.headers
    assert "last-modified" in response.headers


def test_a_stat_result_that_is_out_of_date_does_no_harm(
    client: Make, file: Path
) -> None:
    old = file.stat()
    file.write_bytes(b"new and shorter")

    answer = client(file, stat_result=old).get("/")

    assert answer.content == b"new and shorter"
    assert answer.headers["content-length"] == "15"
    assert answer.headers["etag"] == client(file).get("/").headers["etag"]


def test_the_views_own_fields_are_kept(client: Make, file: Path) -> None:
    headers = {"etag": '"mine"', "cache-control": "no-store", "x-a": "b"}

    answer = client(file, headers=headers).get("/")

    assert headers.items() <= dict(answer.headers).items()


def test_a_status_other_than_200_is_sent_as_it_is(client: Make, file: Path) -> None:
    answer = client(file, status_code=404).get("/", headers={"range": "bytes=0-1"})

    assert answer.status_code == 404
    assert answer.content == CONTENT


def test_head_has_the_header_fields_of_get(client: Make, file: Path) -> None:
    test_client = client(file)

    assert test_client.head("/").headers == test_client.get("/").headers
    assert test_client.head("/").content == b""


def test_post_gets_the_file_whatever_it_asks(client: Make, file: Path) -> None:
    answer = client(file).post("/", headers={"range": "bytes=0-1"})

    assert (answer.status_code, answer.content) == (200, CONTENT)


def test_it_works_in_fastapi(file: Path) -> None:
    app = FastAPI()

    @app.get("/download", response_class=FileResponse)
    def download() -> str:
        return str(file)

    @app.get("/made")
    async def made() -> FileResponse:
        return FileResponse(file, filename="made.txt")

    with TestClient(app) as client:
        assert client.get("/download").content == CONTENT
        assert "made.txt" in client.get("/made").headers["content-disposition"]


# Conditions and ranges --------------------------------------------------------------


def test_a_second_visit_is_answered_304(client: Make, file: Path) -> None:
    test_client = client(file)
    first = test_client.get("/")

    for condition in (
        {"if-none-match": first.headers["etag"]},
        {"if-modified-since": first.headers["last-modified"]},
    ):
        answer = test_client.get("/", headers=condition)
        assert (answer.status_code, answer.content) == (304, b"")
        assert answer.headers["etag"] == first.headers["etag"]


def test_a_download_resumes_where_it_was_cut(client: Make, file: Path) -> None:
    test_client = client(file)
    etag = test_client.head("/").headers["etag"]

    answer = test_client.get("/", headers={"range": "bytes=5000-", "if-range": etag})

    assert answer.status_code == 206
    assert answer.content == CONTENT[5000:]
    assert answer.headers["content-range"] == f"bytes 5000-9999/{len(CONTENT)}"


def test_a_download_of_a_changed_file_starts_again(client: Make, file: Path) -> None:
    test_client = client(file)
    etag = test_client.head("/").headers["etag"]
    file.write_bytes(b"changed")

    answer = test_client.get("/", headers={"range": "bytes=5000-", "if-range": etag})

    assert (answer.status_code, answer.content) == (200, b"changed")


def test_an_etag_of_changes_differs_when_only_the_inode_does(
    client: Make, file: Path
) -> None:
    class ByChange(FileResponse):
        policy = Policy(etag="change")

    def etags() -> list[str]:
        kinds = (FileResponse, ByChange)
        return [client(file, kind=k).get("/").headers["etag"] for k in kinds]

    before = etags()
    times = file.stat()
    copy = file.with_name("copy")
    copy.write_bytes(CONTENT)
    os.utime(copy, ns=(times.st_atime_ns, times.st_mtime_ns))
    copy.replace(file)
    after = etags()

    assert before[0] == after[0]
    assert before[1] != after[1]


# Precompressed variants -------------------------------------------------------------


class Encoded(FileResponse):
    policy = Policy(precompressed="always")


def test_a_variant_beside_the_file_is_sent_to_who_accepts_it(
    client: Make, file: Path
) -> None:
    packed = gzip.compress(CONTENT)
    file.with_name("file.txt.gz").write_bytes(packed)
    test_client = client(file, kind=Encoded)

    plain = test_client.get("/", headers={"accept-encoding": "identity"})
    encoded = test_client.get("/", headers={"accept-encoding": "gzip"})

    assert encoded.content == plain.content == CONTENT
    assert encoded.headers["content-encoding"] == "gzip"
    assert encoded.headers["content-length"] == str(len(packed))
    assert encoded.headers["content-type"] == plain.headers["content-type"]
    assert encoded.headers["vary"] == plain.headers["vary"] == "Accept-Encoding"
    assert encoded.headers["etag"] != plain.headers["etag"]
    assert "content-encoding" not in plain.headers


def test_a_tag_of_the_views_own_is_another_for_the_variant(
    client: Make, file: Path
) -> None:
    """And it is known by that one."""
    file.with_name("file.txt.gz").write_bytes(gzip.compress(CONTENT))
    test_client = client(file, kind=Encoded, headers={"etag": '"mine"'})
    gzipped = {"accept-encoding": "gzip"}

    plain = test_client.get("/", headers={"accept-encoding": "identity"})
    encoded = test_client.get("/", headers=gzipped)
    known = test_client.get("/", headers={**gzipped, "if-none-match": '"mine:gzip"'})
    other = test_client.get("/", headers={**gzipped, "if-none-match": '"mine"'})

    assert plain.headers["etag"] == '"mine"'
    assert encoded.headers["etag"] == known.headers["etag"] == '"mine:gzip"'
    assert (known.status_code, other.status_code) == (304, 200)


@pytest.mark.parametrize(
    ("accepted", "suffix"),
    [("gzip, br, zstd", ".zst"), ("gzip, br", ".br"), ("gzip, br;q=0.5", ".gz")],
)
def test_the_client_and_then_we_choose_among_variants(
    client: Make, file: Path, accepted: str, suffix: str
) -> None:
    for each in (".zst", ".br", ".gz"):
        file.with_name(f"file.txt{each}").write_bytes(each.encode())
    headers = {"accept-encoding": accepted, "range": "bytes=0-"}

    with client(file, kind=Encoded).stream("GET", "/", headers=headers) as answer:
        assert b"".join(answer.iter_raw()) == suffix.encode()
        assert answer.status_code == 206


def test_a_variant_older_than_the_file_is_not_sent(client: Make, file: Path) -> None:
    packed = file.with_name("file.txt.gz")
    packed.write_bytes(gzip.compress(b"older"))
    os.utime(packed, (1_000_000_000, 1_000_000_000))

    answer = client(file, kind=Encoded).get("/", headers={"accept-encoding": "gzip"})

    assert answer.content == CONTENT
    assert answer.headers["vary"] == "Accept-Encoding"


def test_by_default_a_view_sends_the_very_file_it_named(
    client: Make, file: Path
) -> None:
    file.with_name("file.txt.gz").write_bytes(gzip.compress(b"something else"))

    answer = client(file).get("/", headers={"accept-encoding": "gzip"})

    assert answer.content == CONTENT
    assert "vary" not in answer.headers


# Bad input --------------------------------------------------------------------------


def test_a_missing_file_is_404_and_the_log_has_its_name(
    client: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    answer = client(tmp_path / "none").get("/")

    assert answer.status_code == 404
    assert str(tmp_path) not in answer.text
    (line,) = [r.getMessage() for r in caplog.records if r.name == "zc_response"]
    assert "none" in line


def test_a_directory_is_404(
    client: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert client(tmp_path).get("/").status_code == 404
    assert "a directory, not a regular file" in caplog.text


@pytest.mark.timeout(10)
def test_a_fifo_is_404_at_once(client: Make, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")

    assert client(tmp_path / "fifo").get("/").status_code == 404


def test_a_file_we_may_not_read_is_403(
    client: Make, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "open", refusing(errno.EACCES))

    assert client(file).get("/").status_code == 403


def refusing(code: int) -> Callable[..., int]:
    real = os.open

    def refuse(path: Any, *args: Any, **kwargs: Any) -> int:
        if str(path).endswith("file.txt"):
            raise OSError(code, os.strerror(code), path)
        return real(path, *args, **kwargs)

    return refuse


def test_without_descriptors_it_is_503_and_come_again(
    client: Make, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "open", refusing(errno.EMFILE))

    answer = client(file).get("/")

    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"


def test_the_limit_of_the_process_is_felt_as_503(file: Path) -> None:
    """The real limit, not a made-up one."""
    sent: list[Message] = []

    async def receive() -> Message:
        raise AssertionError("nobody should ask")

    async def send(message: Message) -> None:
        sent.append(message)

    async def main() -> None:
        scope: Scope = {"type": "http", "method": "GET", "path": "/", "headers": []}
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
        try:
            await FileResponse(file)(scope, receive, send)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    anyio.run(main)
    assert sent[0]["status"] == 503
    assert (b"retry-after", b"1") in sent[0]["headers"]


def test_the_application_words_the_refusal(tmp_path: Path) -> None:
    async def view(_request: Request) -> Response:
        return FileResponse(tmp_path / "none")

    async def not_found(_request: Request, _exc: Exception) -> Response:
        return Response("nothing here", 404)

    app = Starlette(
        routes=[Route("/", view)], exception_handlers={HTTPException: not_found}
    )
    with TestClient(app) as client:
        assert client.get("/").text == "nothing here"


def test_as_an_application_of_its_own_it_words_the_refusal_itself(
    tmp_path: Path,
) -> None:
    client = TestClient(FileResponse(tmp_path / "none"))

    assert client.get("/").status_code == 404


@pytest.mark.parametrize(
    "name",
    [
        'a"; filename=b.exe',
        "a\r\nSet-Cookie: x=y",
        "a\nb",
        "a\0b",
        "naïve 文件.txt",
        "..\\..\\evil",
        "../../evil",
        "\udcff lone",
        "",
        "%41%42",
    ],
)
def test_no_file_name_breaks_out_of_its_header(
    client: Make, file: Path, name: str
) -> None:
    answer = client(file, filename=name, media_type="text/plain").get("/")

    assert answer.status_code == 200
    assert answer.content == CONTENT
    assert "set-cookie" not in answer.headers
    disposition = answer.headers["content-disposition"]
    assert disposition.startswith("attachment")
    assert disposition.isprintable()
    fallback = disposition.partition('filename="')[2].partition('"')[0]
    assert not set(fallback) & set("/\\%")


def test_a_file_that_vanishes_once_it_is_open_is_still_sent(
    client: Make, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = FileSource.read

    def read(source: FileSource, offset: int, count: int) -> bytes:
        file.unlink(missing_ok=True)
        return real(source, offset, count)

    monkeypatch.setattr(FileSource, "read", read)

    assert client(file).get("/").content == CONTENT


DAY = 86_400 * 1_000_000_000


@pytest.mark.parametrize("jump", [-DAY, DAY])
def test_a_clock_that_jumps_leaves_nothing_behind(
    client: Make, file: Path, monkeypatch: pytest.MonkeyPatch, jump: int
) -> None:
    """What is answered while it is wrong is not kept for when it is right."""
    os.utime(file, ns=(file.stat().st_atime_ns, time.time_ns() - 10_000_000_000))
    asking, now = client(file), time.time_ns
    with monkeypatch.context() as wrong:
        wrong.setattr(time, "time_ns", lambda: now() + jump)
        meanwhile = asking.get("/")
    after = asking.get("/")

    assert meanwhile.content == after.content == CONTENT
    assert meanwhile.headers["etag"] == after.headers["etag"]
    assert after.headers["last-modified"] == http_date(int(file.stat().st_mtime))


@pytest.mark.parametrize("headers", [{}, {"accept-encoding": "gzip, br"}])
def test_a_plain_request_is_planned_once(
    client: Make, file: Path, monkeypatch: pytest.MonkeyPatch, headers: dict[str, str]
) -> None:
    """Also that of a browser, which accepts encodings that nobody offers."""
    os.utime(file, ns=(0, time.time_ns() - 10_000_000_000))
    asking, planned = client(file), 0

    def counted(*args: Any, **kwargs: Any) -> Any:
        nonlocal planned
        planned += 1
        return plan(*args, **kwargs)

    monkeypatch.setattr(starlette, "plan", counted)
    for _ in range(3):
        assert asking.get("/", headers=headers).content == CONTENT

    assert planned == 1

"""Compressed on the fly: what a client is told, and gets."""

from __future__ import annotations

import asyncio
import gzip
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.derived.test_variants import DECOMPRESS, NOISE, TEXT
from tests.live import HOOKED, Answer, Client, eventually, serve
from tests.sites import SITES, Site, Visitors
from zc_response import MemoryFile, Policy, Report
from zc_response.derived import CODINGS, kept_variants
from zc_response.integrations.starlette import FileResponse
from zc_response.sources import FileSource
from zc_response.threads import close_all

POLICY = Policy(compress_bytes=8 << 20, small_bytes=4096)
GZIP = {"accept-encoding": "gzip"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "page.html").write_bytes(TEXT)
    (tmp_path / "film.mp4").write_bytes(TEXT)
    (tmp_path / "noise.txt").write_bytes(NOISE)
    (tmp_path / "tiny.txt").write_bytes(TEXT[:1000])
    return tmp_path


@pytest.fixture(params=SITES)
def client(request: pytest.FixtureRequest, root: Path) -> Iterator[Visitors]:
    """Of a site that compresses, made with each of the frameworks."""
    site = SITES[request.param]
    with MemoryFile(TEXT, "text/plain") as memory, site(root, memory, POLICY) as port:
        yield Visitors(port)


def made(client: Visitors, target: str, coding: str) -> Answer:
    """The answer as it is once there is a variant."""
    found: list[Answer] = []

    def is_there() -> bool:
        found.append(client.get(target, {"accept-encoding": coding}))
        return "content-encoding" in found[-1].headers

    eventually(is_there, f"{target} in {coding}")
    return found[-1]


@pytest.mark.parametrize("target", ["/page.html", "/static/page.html", "/memory"])
def test_the_first_gets_the_file_as_it_is_and_others_the_variant(
    client: Visitors, reports: list[Report], target: str
) -> None:
    first = client.get(target, GZIP)
    later = made(client, target, "gzip")

    assert (first.body, "content-encoding" in first.headers) == (TEXT, False)
    assert later.headers["content-encoding"] == "gzip"
    assert later.length == len(later.body) < len(TEXT)
    assert gzip.decompress(later.body) == TEXT
    for answer in (first, later):
        assert answer.headers["vary"] == "Accept-Encoding"
        assert answer.headers["content-type"].startswith("text/")
    assert first.headers["etag"] != later.headers["etag"]
    assert first.headers.get("last-modified") == later.headers.get("last-modified")
    eventually(lambda: reports[-1].guard == "sealed", "its report")
    assert reports[-1].strategy == "sendfile"


@pytest.mark.parametrize("coding", CODINGS)
def test_each_coding_is_what_it_says(client: Visitors, coding: str) -> None:
    answer = made(client, "/page.html", coding)

    assert answer.headers["content-encoding"] == coding
    assert DECOMPRESS[coding](answer.body) == TEXT
    assert answer.headers["etag"].endswith(f':{coding}"')


def test_the_best_of_those_that_the_client_takes_is_made(client: Visitors) -> None:
    answer = made(client, "/page.html", "gzip, deflate, br, zstd")

    assert answer.headers["content-encoding"] == "zstd"


def test_a_range_is_of_the_compressed_representation(client: Visitors) -> None:
    whole = made(client, "/page.html", "gzip")

    part = client.get("/page.html", {**GZIP, "range": "bytes=10-99"})

    assert (part.status, part.body) == (206, whole.body[10:100])
    assert part.headers["content-range"] == f"bytes 10-99/{whole.length}"
    assert part.headers["content-encoding"] == "gzip"
    assert part.headers["etag"] == whole.headers["etag"]


def test_a_download_begun_as_it_is_is_not_gone_on_with_compressed(
    client: Visitors,
) -> None:
    first = client.get("/page.html", GZIP)
    made(client, "/page.html", "gzip")

    condition = {"range": "bytes=10-99", "if-range": first.headers["etag"]}
    answer = client.get("/page.html", {**GZIP, **condition})

    assert answer.status == 200
    assert gzip.decompress(answer.body) == TEXT


def test_each_representation_is_known_by_its_own_tag(client: Visitors) -> None:
    tag = made(client, "/page.html", "gzip").headers["etag"]

    known = client.get("/page.html", {**GZIP, "if-none-match": tag})
    plain = client.get("/page.html", {"if-none-match": tag})

    assert (known.status, known.headers["etag"]) == (304, tag)
    assert known.headers["vary"] == "Accept-Encoding"
    assert (plain.status, plain.body) == (200, TEXT)


def test_head_says_what_get_would(client: Visitors) -> None:
    get = made(client, "/page.html", "gzip")
    head = client.head("/page.html", GZIP)

    names = ("content-encoding", "content-length", "etag", "vary")
    assert [head.headers[n] for n in names] == [get.headers[n] for n in names]


def test_who_takes_no_coding_gets_the_file_as_it_is(client: Visitors) -> None:
    made(client, "/page.html", "gzip")
    for headers in ({}, {"accept-encoding": "identity"}):
        answer = client.get("/page.html", headers)
        assert (answer.body, answer.headers["vary"]) == (TEXT, "Accept-Encoding")
        assert "content-encoding" not in answer.headers


def test_a_file_that_is_rewritten_is_compressed_anew(
    client: Visitors, root: Path
) -> None:
    made(client, "/page.html", "gzip")
    (root / "page.html").write_bytes(TEXT[::-1])

    first = client.get("/page.html", GZIP)
    later = made(client, "/page.html", "gzip")

    assert first.body == TEXT[::-1]
    assert gzip.decompress(later.body) == TEXT[::-1]


NEVER = {
    "/film.mp4": "a film is compressed",
    "/tiny.txt": "it fits into a segment",
    "/page.html?etag=%22mine%22": "the tag is the view's",
    "/page.html?cache-control=no-transform": "the view forbids it",
    "/page.html?content-encoding=x": "it has a coding",
    "/page.html?status=404": "it is no representation of the target",
}


@pytest.mark.parametrize("target", NEVER)
def test_what_is_not_worth_it_is_left_alone(client: Visitors, target: str) -> None:
    made(client, "/page.html", "gzip")
    before = len(kept_variants(POLICY))
    for _ in range(3):
        answer = client.get(target, GZIP)
        assert answer.body in (TEXT, TEXT[:1000])
        assert "vary" not in answer.headers

    assert len(kept_variants(POLICY)) == before


def test_what_does_not_shrink_is_sent_as_it_is(client: Visitors) -> None:
    client.get("/noise.txt", GZIP)
    eventually(lambda: len(kept_variants(POLICY)), "the trial")

    assert client.get("/noise.txt", GZIP).body == NOISE


def test_files_beside_the_file_win(client: Visitors, root: Path) -> None:
    """Also if they have hardly been compressed."""
    made(client, "/static/page.html", "gzip")
    beside = gzip.compress(TEXT[::-1], compresslevel=0)
    (root / "page.html.gz").write_bytes(beside)
    kept = len(kept_variants(POLICY))

    for _ in range(3):
        answer = client.get("/static/page.html", {"accept-encoding": "gzip, br, zstd"})
        assert answer.headers["content-encoding"] == "gzip"
        assert answer.body == beside
    assert len(kept_variants(POLICY)) == kept


def test_a_snapshot_is_not_compressed(client: Visitors) -> None:
    """It is made for one response."""
    for _ in range(3):
        answer = client.get("/snapshot", GZIP)
        assert answer.body == TEXT
        assert "vary" not in answer.headers
    close_all()
    assert len(kept_variants(POLICY)) == 0


@pytest.mark.parametrize("site", SITES.values(), ids=SITES)
def test_nothing_is_compressed_unless_somebody_wants_it(root: Path, site: Site) -> None:
    with MemoryFile(TEXT) as memory, site(root, memory, Policy()) as port:
        for target in 3 * ["/page.html", "/static/page.html"]:
            answer = Visitors(port).get(target, GZIP)
            assert "content-encoding" not in answer.headers
    assert len(kept_variants(Policy())) == 0


def test_many_at_once_get_the_right_bytes(root: Path) -> None:
    """Twenty clients, on one loop, while variants come and go."""
    policy = Policy(compress_bytes=500_000)

    class Few(FileResponse):
        pass

    Few.policy = policy
    for number in range(8):
        (root / f"{number}.txt").write_bytes(b"%d" % number + TEXT)

    async def view(request: Request) -> Response:
        return Few(root / request.path_params["name"])

    app = Starlette(routes=[Route("/{name}", view)])
    seen: set[str] = set()

    async def ask(port: int, index: int) -> None:
        for turn in range(6):
            number = (index + turn) % 8
            coding = list(CODINGS)[(index + turn) % 3]
            answer = await asyncio.to_thread(get, port, f"/{number}.txt", coding)
            body, got = answer.body, answer.headers.get("content-encoding", "")
            seen.add(got)
            plain = DECOMPRESS[got](body) if got else body
            assert plain == b"%d" % number + TEXT

    def get(port: int, target: str, coding: str) -> Answer:
        with Client(port) as client:
            return client.get(target, {"accept-encoding": coding})

    async def crowd(port: int) -> None:
        await asyncio.gather(*(ask(port, index) for index in range(20)))

    with serve(app, http=HOOKED["httptools"]) as server:
        asyncio.run(crowd(server.port))

    assert "" in seen
    assert len(seen) > 1
    assert kept_variants(policy).total <= 500_000


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_child_finds_what_was_made_and_can_make_more(
    client: Visitors, root: Path
) -> None:
    made(client, "/page.html", "gzip")
    cache = kept_variants(POLICY)

    pid = os.fork()
    if pid == 0:
        signal.alarm(10)  # one that hangs is ended, and has failed
        status = 1
        try:
            with FileSource.open(root / "page.html") as source:
                shared = cache.get(source, "gzip", POLICY)
                cache.get(source, "br", POLICY)
                close_all()
                own = cache.get(source, "br", POLICY)
                status = 0 if shared and own else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0

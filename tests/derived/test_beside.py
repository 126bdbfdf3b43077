"""Variants that lie beside a file: what every framework makes of them."""

from __future__ import annotations

import gzip
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sites import SITES, Visitors
from zc_response import MemoryFile, Policy

TEXT = b"a page\n" * 1000
PACKED = gzip.compress(b"the same page, packed\n" * 1000)
GZIP = {"accept-encoding": "gzip"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "page.html").write_bytes(TEXT)
    (tmp_path / "page.html.gz").write_bytes(PACKED)
    return tmp_path


def visitors(site: str, root: Path, policy: Policy) -> Iterator[Visitors]:
    with MemoryFile(TEXT) as memory, SITES[site](root, memory, policy) as port:
        yield Visitors(port)


@pytest.fixture(params=SITES)
def client(request: pytest.FixtureRequest, root: Path) -> Iterator[Visitors]:
    """Of a site as it is when nobody has set anything."""
    yield from visitors(request.param, root, Policy())


@pytest.fixture(params=["Starlette", "Flask"])
def eager(request: pytest.FixtureRequest, root: Path) -> Iterator[Visitors]:
    """Of a site whose views send variants too; Django's are given no paths."""
    yield from visitors(request.param, root, Policy(precompressed="always"))


def test_a_static_file_is_sent_as_it_lies_beside(client: Visitors) -> None:
    plain = client.get("/static/page.html")
    packed = client.get("/static/page.html", GZIP)

    assert (plain.body, packed.body) == (TEXT, PACKED)
    assert packed.headers["content-encoding"] == "gzip"
    assert packed.headers["etag"].endswith(':gzip"')
    assert packed.headers["etag"] != plain.headers["etag"]
    for answer in (plain, packed):
        assert answer.headers["vary"] == "Accept-Encoding"
        assert answer.headers["content-type"].startswith("text/html")


def test_a_range_is_of_the_variant(client: Visitors) -> None:
    tag = client.get("/static/page.html", GZIP).headers["etag"]
    part = client.get("/static/page.html", {**GZIP, "range": "bytes=2-5"})
    known = client.get("/static/page.html", {**GZIP, "if-none-match": tag})

    assert (part.status, part.body) == (206, PACKED[2:6])
    assert part.headers["content-range"] == f"bytes 2-5/{len(PACKED)}"
    assert (known.status, known.headers["etag"]) == (304, tag)


def test_an_older_one_is_not_sent(client: Visitors, root: Path) -> None:
    os.utime(root / "page.html.gz", (1_000_000_000, 1_000_000_000))

    answer = client.get("/static/page.html", GZIP)

    assert (answer.body, answer.headers["vary"]) == (TEXT, "Accept-Encoding")


def test_one_that_links_out_of_the_directory_is_not_sent(
    client: Visitors, root: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    secret = tmp_path_factory.mktemp("elsewhere") / "secret.gz"
    secret.write_bytes(PACKED)
    (root / "page.html.gz").unlink()
    (root / "page.html.gz").symlink_to(secret)

    assert client.get("/static/page.html", GZIP).body == TEXT


def test_a_view_sends_the_very_file_it_named(client: Visitors) -> None:
    answer = client.get("/page.html", GZIP)

    assert answer.body == TEXT
    assert "vary" not in answer.headers


def test_and_a_variant_if_that_is_wanted(eager: Visitors) -> None:
    answer = eager.get("/page.html", GZIP)

    assert (answer.body, answer.headers["content-encoding"]) == (PACKED, "gzip")


def test_a_tag_of_the_views_is_another_for_the_variant(eager: Visitors) -> None:
    """RFC 9110 section 8.8.3.3."""
    target = "/page.html?etag=%22mine%22"

    assert eager.get(target).headers["etag"] == '"mine"'
    assert eager.get(target, GZIP).headers["etag"] == '"mine:gzip"'

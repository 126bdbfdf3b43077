"""Django's own middlewares around a file: each does its work, and no more."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from django.http import HttpRequest
from django.test import Client, override_settings
from django.views.decorators.gzip import gzip_page

from tests.django.conftest import CONTENT, Get
from tests.django.project import CACHES, MIDDLEWARE, OURS
from zc_response.integrations.django import FileResponse

GZIP, CONDITIONAL, SESSION, COMMON = MIDDLEWARE
STACKS = {
    "ours": ("ours", MIDDLEWARE),
    "served": ("served", MIDDLEWARE),
    "innermost": ("stock", [*MIDDLEWARE, OURS]),
    "outermost": ("stock", [OURS, SESSION, COMMON]),
}
UNCOMPRESSED = {name: stack for name, stack in STACKS.items() if name != "outermost"}


@pytest.fixture(params=STACKS)
def stack(request: pytest.FixtureRequest) -> tuple[str, list[str]]:
    return STACKS[request.param]


@pytest.fixture(params=UNCOMPRESSED)
def compressing(request: pytest.FixtureRequest) -> tuple[str, list[str]]:
    return STACKS[request.param]


def test_all_of_them_let_a_range_through(
    get: Get, stack: tuple[str, list[str]]
) -> None:
    view, middleware = stack
    answer = get(view, *middleware, range="bytes=0-999")
    assert (answer.status_code, answer.body) == (206, CONTENT[:1000])


def test_a_whole_file_is_compressed_once(
    get: Get, compressing: tuple[str, list[str]]
) -> None:
    view, middleware = compressing
    answer = get(view, *middleware, accept_encoding="gzip")

    assert answer["Content-Encoding"] == "gzip"
    assert gzip.decompress(answer.body) == CONTENT
    assert answer["ETag"].startswith('W/"')
    assert "Content-Length" not in answer


def test_a_part_is_never_compressed(
    get: Get, compressing: tuple[str, list[str]]
) -> None:
    view, middleware = compressing
    answer = get(view, *middleware, accept_encoding="gzip", range="bytes=0-9999")

    assert (answer.status_code, answer.body) == (206, CONTENT[:10000])
    assert "Content-Encoding" not in answer.headers
    assert answer["Content-Length"] == "10000"


@pytest.mark.parametrize(
    ("headers", "status"),
    [({"if_none_match": "*"}, 304), ({"range": "bytes=99999999-"}, 416)],
)
def test_nor_is_what_has_no_content(
    get: Get,
    compressing: tuple[str, list[str]],
    headers: dict[str, str],
    status: int,
) -> None:
    view, middleware = compressing
    answer = get(view, *middleware, accept_encoding="gzip", **headers)

    assert (answer.status_code, answer.body) == (status, b"")
    assert "Content-Encoding" not in answer.headers


def test_a_304_closes_the_file(get: Get, compressing: tuple[str, list[str]]) -> None:
    """Ours, or that of ConditionalGetMiddleware: an open file would be a warning."""
    view, middleware = compressing
    etag = get(view, *middleware)["ETag"]
    assert get(view, *middleware, if_none_match=etag).status_code == 304


def test_a_decorator_comes_after_the_range(file: Path) -> None:
    @gzip_page  # type: ignore[untyped-decorator]
    def view(_request: HttpRequest) -> FileResponse:
        return FileResponse(file.open("rb"))

    request = HttpRequest()
    request.method = "GET"
    request.META = {"HTTP_RANGE": "bytes=0-999", "HTTP_ACCEPT_ENCODING": "gzip"}
    answer = view(request)

    assert (answer.status_code, answer.getvalue()) == (206, CONTENT[:1000])
    answer.close()


def test_a_session_is_saved_with_a_part(get: Get) -> None:
    answer = get("in_session", SESSION, range="bytes=0-9")

    assert answer.status_code == 206
    assert "sessionid" in answer.cookies
    assert "Cookie" in answer["Vary"]


def test_the_cache_middlewares_keep_no_file(file: Path) -> None:
    update, fetch = CACHES
    with override_settings(MIDDLEWARE=[update, fetch, *MIDDLEWARE]):
        client = Client()
        for content in (CONTENT, b"changed"):
            file.write_bytes(content)
            answer = client.get(f"/ours/{file.name}")
            assert answer.getvalue() == content
            part = client.get(f"/ours/{file.name}", headers={"range": "bytes=0-2"})
            assert (part.status_code, part.getvalue()) == (206, content[:3])

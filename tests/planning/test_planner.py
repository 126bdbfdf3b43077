"""The plan: which header fields and which bytes each status sends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from tests.planning.in_memory import CONTENT, body, representation
from zc_response.planning import Plan, Representation, Slice, http_date, plan

MODIFIED = 1_445_412_480
LAST_MODIFIED = http_date(MODIFIED)

VIEW = (
    ("Content-Type", "text/plain"),
    ("Content-Language", "en"),
    ("Content-Location", "/en/file"),
    ("Content-Disposition", "attachment"),
    ("Content-Security-Policy", "default-src 'self'"),
    ("Content-Security-Policy-Report-Only", "default-src 'none'"),
    ("X-Content-Type-Options", "nosniff"),
    ("Repr-Digest", "sha-256=:AA==:"),
    ("Cache-Control", "max-age=60"),
    ("Expires", LAST_MODIFIED),
    ("Vary", "Accept-Language"),
    ("Set-Cookie", "a=1"),
    ("Set-Cookie", "b=2"),
)
FILE = Representation(
    source=CONTENT[:1000],
    size=1000,
    headers=VIEW,
    etag='"1"',
    last_modified=MODIFIED,
)
BARE = representation(1000)


def get(request: Mapping[str, str], of: Representation = FILE) -> Plan:
    """Return the plan of a GET, with a boundary that is known."""
    return plan("GET", request, of, new_boundary=lambda: "limit")


# 200


def test_the_whole_file() -> None:
    """The view's fields come first, in their order; then ours."""
    assert get({}) == Plan(
        status=200,
        headers=(
            *VIEW,
            ("ETag", '"1"'),
            ("Last-Modified", LAST_MODIFIED),
            ("Accept-Ranges", "bytes"),
            ("Content-Length", "1000"),
        ),
        segments=(Slice(FILE.source, 0, 1000),),
    )


def test_a_file_without_validators() -> None:
    """Nothing is made up."""
    assert get({}, BARE).headers == (
        ("Accept-Ranges", "bytes"),
        ("Content-Length", "1000"),
    )


def test_an_empty_file_has_no_segments() -> None:
    """There is nothing to send."""
    planned = get({}, representation(0))
    assert ("Content-Length", "0") in planned.headers
    assert planned.segments == ()


@pytest.mark.parametrize("method", ["POST", "PUT", "get", "PROPFIND"])
def test_other_methods_get_the_file_that_the_view_returned(method: str) -> None:
    """What they were to do is done: no condition can undo it, no range cut it."""
    request = {"range": "bytes=0-4", "if-none-match": "*", "if-match": '"2"'}
    assert plan(method, request, FILE) == get({})


def test_fields_of_no_interest_do_not_matter() -> None:
    """Names are lower-case; others are somebody else's."""
    assert get({"accept": "*/*", "If-None-Match": "*", "Range": "bytes=0-4"}) == get({})


# What the view has set


def test_the_views_validators_win() -> None:
    """They are sent once, and they are what is compared."""
    of = replace(FILE, headers=(("etag", '"view"'), ("LAST-MODIFIED", LAST_MODIFIED)))
    names = [name.lower() for name, _ in get({}, of).headers]
    assert names == ["etag", "last-modified", "accept-ranges", "content-length"]
    assert get({"if-none-match": '"view"'}, of).status == 304
    assert get({"if-none-match": '"1"'}, of).status == 200


def test_the_views_date_is_compared() -> None:
    """Not the file's."""
    of = replace(BARE, headers=(("Last-Modified", LAST_MODIFIED),), last_modified=1)
    assert get({"if-modified-since": http_date(MODIFIED - 1)}, of).status == 200
    assert get({"if-modified-since": LAST_MODIFIED}, of).status == 304


def test_a_date_of_the_view_that_is_none_is_no_validator() -> None:
    """It is sent as it is, and compared with nothing."""
    of = replace(FILE, headers=(("Last-Modified", "today"),), etag=None)
    assert get({"if-modified-since": LAST_MODIFIED}, of).status == 200
    assert ("Last-Modified", "today") in get({}, of).headers


@pytest.mark.parametrize(
    "field",
    [
        ("Content-Length", "5"),
        ("content-length", "1000"),
        ("Content-Range", "bytes 0-4/5"),
        ("TRANSFER-ENCODING", "chunked"),
    ],
)
def test_framing_is_not_the_views(field: tuple[str, str]) -> None:
    """Its own ideas of it are dropped."""
    assert get({}, replace(BARE, headers=(field,))) == get({}, BARE)


def test_a_view_can_refuse_ranges() -> None:
    """By the field that says so."""
    of = replace(FILE, headers=(("Accept-Ranges", "none"),))
    planned = get({"range": "bytes=0-4"}, of)
    assert planned.status == 200
    assert planned.headers[0] == ("Accept-Ranges", "none")
    assert "bytes" not in dict(planned.headers).values()


def test_no_parts_means_no_ranges() -> None:
    """They are not offered, and Range is ignored."""
    planned = plan("GET", {"range": "bytes=0-4"}, BARE, max_parts=0)
    assert planned.status == 200
    assert planned.headers == (("Content-Length", "1000"),)


# 206


def test_one_range() -> None:
    """The fields of the 200, and which part this is (section 15.3.7.1)."""
    planned = get({"range": "bytes=10-19"})
    assert planned.status == 206
    assert planned.headers == (
        *get({}).headers[:-1],
        ("Content-Range", "bytes 10-19/1000"),
        ("Content-Length", "10"),
    )
    assert planned.segments == (Slice(FILE.source, 10, 10),)


def test_several_ranges() -> None:
    """No Content-Range but in the parts (section 15.3.7.2)."""
    planned = get({"range": "bytes=0-1,990-"})
    assert planned.status == 206
    fields = dict(planned.headers)
    assert fields["Content-Type"] == "multipart/byteranges; boundary=limit"
    assert "Content-Range" not in fields
    assert fields["Content-Length"] == str(len(body(planned)))
    assert [type(segment) for segment in planned.segments] == [
        *(bytes, Slice),
        *(bytes, Slice),
        bytes,
    ]


def test_every_multipart_has_a_boundary_of_its_own() -> None:
    """Nobody can know it beforehand."""
    first, second = (plan("GET", {"range": "bytes=0-1,3-4"}, BARE) for _ in "12")
    assert first.headers != second.headers


def test_too_many_ranges_are_the_whole_file() -> None:
    """Those count that are left once they are joined."""
    sixteen = ",".join(f"{n}-{n}" for n in range(0, 32, 2))
    assert get({"range": f"bytes={sixteen},32-32"}).status == 200
    assert get({"range": f"bytes={sixteen},0-0,4-5"}).status == 206


def test_one_part_at_most() -> None:
    """Single ranges only."""
    one, two = ({"range": f"bytes={specs}"} for specs in ("0-4", "0-4,9-9"))
    assert plan("GET", one, BARE, max_parts=1).status == 206
    assert plan("GET", two, BARE, max_parts=1).status == 200


def test_encoded_bytes_come_in_one_range() -> None:
    """Content-Encoding cannot speak of the parts alone."""
    of = replace(BARE, headers=(("Content-Encoding", "gzip"),))
    assert get({"range": "bytes=0-4"}, of).status == 206
    assert get({"range": "bytes=0-4,9-9"}, of).status == 200


@pytest.mark.parametrize(
    ("condition", "status"),
    [
        ('"1"', 206),
        ('"2"', 200),
        ('W/"1"', 200),
        (LAST_MODIFIED, 206),
        (http_date(MODIFIED + 1), 200),
    ],
)
def test_if_range(condition: str, status: int) -> None:
    """A part of this file, or all of it."""
    assert get({"range": "bytes=0-4", "if-range": condition}).status == status


def test_if_range_is_nothing_without_range() -> None:
    """It is ignored (section 13.1.5)."""
    assert get({"if-range": '"2"'}) == get({})


def test_if_range_comes_before_the_range() -> None:
    """A range that is out of reach of the new file may be fine in the old."""
    assert get({"range": "bytes=5000-", "if-range": '"2"'}).status == 200
    assert get({"range": "bytes=5000-", "if-range": '"1"'}).status == 416


# 304


def test_not_modified() -> None:
    """What guides a cache, and all that is no metadata (section 15.4.5)."""
    planned = get({"if-none-match": '"1"'})
    assert planned.status == 304
    assert planned.segments == ()
    assert planned.headers == (
        ("Content-Location", "/en/file"),
        ("Content-Security-Policy", "default-src 'self'"),
        ("Content-Security-Policy-Report-Only", "default-src 'none'"),
        ("X-Content-Type-Options", "nosniff"),
        ("Cache-Control", "max-age=60"),
        ("Expires", LAST_MODIFIED),
        ("Vary", "Accept-Language"),
        ("Set-Cookie", "a=1"),
        ("Set-Cookie", "b=2"),
        ("ETag", '"1"'),
    )


def test_not_modified_by_date_alone() -> None:
    """Without an entity-tag Last-Modified is what guides a cache."""
    planned = get({"if-modified-since": LAST_MODIFIED}, replace(FILE, etag=None))
    assert dict(planned.headers).get("Last-Modified") == LAST_MODIFIED


def test_conditions_come_before_ranges() -> None:
    """Nothing new is no part either."""
    request = {"range": "bytes=0-4", "if-none-match": '"1"'}
    assert get(request).status == 304


# 412 and 416

REFUSED = (
    ("Content-Security-Policy", "default-src 'self'"),
    ("Content-Security-Policy-Report-Only", "default-src 'none'"),
    ("X-Content-Type-Options", "nosniff"),
    ("Vary", "Accept-Language"),
    ("Set-Cookie", "a=1"),
    ("Set-Cookie", "b=2"),
)


def test_precondition_failed() -> None:
    """Nothing describes the file, and no cache may keep this in its place."""
    assert get({"if-match": '"2"'}) == Plan(
        status=412, headers=(*REFUSED, ("Content-Length", "0"))
    )


def test_range_not_satisfiable() -> None:
    """The size is all that is told (section 15.5.17)."""
    assert get({"range": "bytes=1000-"}) == Plan(
        status=416,
        headers=(*REFUSED, ("Content-Range", "bytes */1000"), ("Content-Length", "0")),
    )


# HEAD


@pytest.mark.parametrize(
    "request_fields",
    [{}, {"if-none-match": '"1"'}, {"if-match": '"2"'}, {"if-range": '"1"'}],
)
def test_head(request_fields: dict[str, str]) -> None:
    """The fields of a GET, and nothing after them."""
    head = plan("HEAD", request_fields, FILE)
    assert head == get(request_fields).without_body()
    assert head.segments == ()


def test_head_ignores_range() -> None:
    """Range is for GET (section 14.2)."""
    request = {"range": "bytes=0-4", "if-range": '"1"'}
    assert plan("HEAD", request, FILE) == plan("HEAD", {}, FILE)


# Other statuses of the view


@pytest.mark.parametrize("status", [203, 404, 500])
def test_an_error_page_is_sent_as_it_is(status: int) -> None:
    """No condition is asked, no range is cut, no field is added but the length."""
    request = {"range": "bytes=0-4", "if-none-match": "*", "if-match": '"2"'}
    assert get(request, replace(FILE, status=status)) == Plan(
        status=status,
        headers=(*VIEW, ("Content-Length", "1000")),
        segments=(Slice(FILE.source, 0, 1000),),
    )


def test_a_206_of_the_view_keeps_its_content_range() -> None:
    """The view has cut the part itself."""
    field = ("Content-Range", "bytes 0-999/2000")
    planned = get({}, replace(BARE, status=206, headers=(field,)))
    assert planned.headers == (field, ("Content-Length", "1000"))


@pytest.mark.parametrize("status", [204, 304])
def test_a_status_without_content_has_none(status: int) -> None:
    """Not a byte, and no length, or framing breaks (section 8.6)."""
    of = replace(BARE, status=status, headers=(("Content-Length", "1000"),))
    assert get({}, of) == Plan(status=status, headers=())


def test_the_representation_is_left_as_it_was() -> None:
    """Header fields are shared between requests."""
    before = replace(FILE)
    for request in ({"range": "bytes=0-1,5-6"}, {"if-none-match": "*"}, {}):
        get(request)
    assert before == FILE

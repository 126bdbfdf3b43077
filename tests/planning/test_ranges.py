"""Range and If-Range: what is asked for, and whether it is still the same file."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from tests import strategies
from zc_response.planning import http_date
from zc_response.planning.ranges import ByteRange, coalesce, if_range, parse

MODIFIED = strategies.SOME_TIME
LAST_MODIFIED = http_date(MODIFIED)


@pytest.mark.parametrize(
    ("field", "first", "last"),
    [
        ("bytes=0-499", 0, 499),
        ("bytes=500-", 500, 9999),
        ("bytes=-500", 9500, 9999),
        ("bytes=9999-9999", 9999, 9999),
        ("bytes=0-10000", 0, 9999),
        ("bytes=-10001", 0, 9999),
        ("bytes=000-0007", 0, 7),
        ("BYTES=1-2", 1, 2),
        ("bytes=\t1-2 ", 1, 2),
        ("bytes=,,1-2,", 1, 2),
        ("bytes=0-340282366920938463463374607431768211455", 0, 9999),
    ],
)
def test_one_range_of_ten_thousand_bytes(field: str, first: int, last: int) -> None:
    """The forms of section 14.1.2, and what is tolerated around them."""
    assert parse(field, 10_000) == (ByteRange(first, last),)


@pytest.mark.parametrize(
    "field",
    [
        "bytes=10-",
        "bytes=10-11",
        "bytes=-0",
        "bytes=-000",
        "bytes=20-30,40-,-0",
        "bytes=340282366920938463463374607431768211455-",
    ],
)
def test_a_valid_set_may_have_nothing_to_give(field: str) -> None:
    """Out of reach is not malformed."""
    assert parse(field, 10) == ()


@pytest.mark.parametrize(
    "field",
    [
        "",
        "bytes",
        "bytes=",
        "bytes=,",
        "bytes=-",
        "bytes=--1",
        "bytes=1",
        "bytes=1-2-3",
        "bytes=2-1",
        "bytes=0-1,2-1",
        "bytes=0-1;2-3",
        "bytes=0 -1",
        "bytes=+0-1",
        "bytes=0_0-1",
        "bytes=0x0-1",
        "bytes=0.0-1",
        "bytes=\u0660-\u0661",
        "bytes=\xb2-",
        "bytes=0-1\n",
        "bytes=0-1\x00",
        "bytes =0-1",
        " bytes=0-1",
        "bytes:0-1",
        "byte=0-1",
        "items=0-1",
        "bytes=0-1, bytes=3-4",
    ],
)
def test_what_is_no_range_set_is_ignored(field: str) -> None:
    """Whatever int() or split() would make of it."""
    assert parse(field, 10) is None


@pytest.mark.parametrize("field", ["bytes=0-", "bytes=-1", "bytes=5-", "bytes=-0", "x"])
def test_an_empty_file_has_no_ranges(field: str) -> None:
    """A Content-Range could not say which (section 14.4)."""
    assert parse(field, 0) is None


def test_a_field_up_to_the_limits_is_read() -> None:
    """All specs that are let in, in all the characters that are let in."""
    specs = ",".join(["0-0"] * 64)
    assert parse(f"bytes={specs}", 10) == (ByteRange(0, 0),)
    assert parse("bytes=0-0".ljust(1024), 10) == (ByteRange(0, 0),)


def test_a_field_beyond_the_limits_is_ignored() -> None:
    """One more, and the field is not looked at."""
    specs = ",".join(["0-0"] * 65)
    assert parse(f"bytes={specs}", 10) is None
    assert parse("bytes=0-0".ljust(1025), 10) is None
    assert parse(f"bytes={'0' * 40}-1", 10) is None


@pytest.mark.parametrize(
    ("field", "ranges"),
    [
        ("bytes=0-4,5-9", [(0, 9)]),
        ("bytes=5-9,0-4", [(0, 9)]),
        ("bytes=0-4,6-9", [(0, 4), (6, 9)]),
        ("bytes=6-9,0-4", [(6, 9), (0, 4)]),
        ("bytes=0-9,3-4", [(0, 9)]),
        ("bytes=3-4,0-9", [(0, 9)]),
        ("bytes=8-9,0-1,4-5,1-4", [(8, 9), (0, 5)]),
        ("bytes=0-1,8-9,1-4", [(0, 4), (8, 9)]),
        ("bytes=-1,0-0,-2", [(8, 9), (0, 0)]),
        ("bytes=0-0,20-,9-", [(0, 0), (9, 9)]),
    ],
)
def test_ranges_are_joined_in_request_order(
    field: str, ranges: list[tuple[int, int]]
) -> None:
    """Each group stands where its first member stood."""
    assert parse(field, 10) == tuple(ranges)


any_ranges = st.lists(
    st.tuples(strategies.positions, strategies.positions).map(
        lambda ends: ByteRange(min(ends), max(ends))
    )
)


@given(any_ranges)
def test_coalescing_keeps_the_bytes(ranges: list[ByteRange]) -> None:
    """None is lost, none is added."""

    def positions(of: tuple[ByteRange, ...]) -> set[int]:
        return {n for first, last in of for n in range(first, last + 1)}

    assert positions(coalesce(ranges)) == positions(tuple(ranges))


@given(any_ranges)
def test_coalescing_leaves_gaps(ranges: list[ByteRange]) -> None:
    """No two ranges touch, so doing it again changes nothing."""
    once = coalesce(ranges)
    assert coalesce(once) == once
    ends = {last + 1 for _, last in once}
    assert not ends & {first for first, _ in once}


@pytest.mark.parametrize("field", ['"a"', '"c,d"', '""'])
def test_if_range_holds_for_the_same_strong_tag(field: str) -> None:
    """Octet by octet."""
    assert if_range(field, field, MODIFIED)


@pytest.mark.parametrize(
    ("field", "etag"),
    [
        ('"a"', '"b"'),
        ('"a"', '"A"'),
        ('W/"a"', '"a"'),
        ('"a"', 'W/"a"'),
        ('W/"a"', 'W/"a"'),
        ('"a"', None),
        ('"a', '"a"'),
        ('"a", "b"', '"a"'),
        ("a", "a"),
        ("*", '"a"'),
        ("", '"a"'),
    ],
)
def test_if_range_fails_for_any_other_tag(field: str, etag: str | None) -> None:
    """Weak ones, lists and what is malformed included (section 13.1.5)."""
    assert not if_range(field, etag, MODIFIED)


@pytest.mark.parametrize("etag", ['"a"', None, "not a tag"])
def test_if_range_holds_for_the_very_date(etag: str | None) -> None:
    """This is how most clients resume."""
    assert if_range(LAST_MODIFIED, etag, MODIFIED)


@pytest.mark.parametrize(
    ("field", "last_modified"),
    [
        (http_date(MODIFIED + 1), MODIFIED),
        (http_date(MODIFIED - 1), MODIFIED),
        (LAST_MODIFIED, None),
        ("not a date", MODIFIED),
        (f"{LAST_MODIFIED}, {LAST_MODIFIED}", MODIFIED),
    ],
)
def test_if_range_fails_for_any_other_date(
    field: str, last_modified: int | None
) -> None:
    """Later ones included: no other server's clock is right here."""
    assert not if_range(field, '"a"', last_modified)


def test_a_date_is_as_weak_as_the_tag_beside_it() -> None:
    """A weak tag says that the file may have changed twice in that second."""
    assert not if_range(LAST_MODIFIED, 'W/"a"', MODIFIED)

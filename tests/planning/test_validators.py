"""Entity tags and dates: made, written, read and compared."""

from __future__ import annotations

from itertools import combinations
from time import gmtime

import pytest
from hypothesis import example, given, strategies as st

from tests import strategies
from zc_response.planning import (
    EntityTag,
    etag_from_change,
    etag_from_content,
    etag_from_mtime,
    http_date,
    is_placeholder,
    is_young,
    last_modified,
    parse_http_date,
)
from zc_response.planning.validators import entity_tags

# Entity tags

STRONG, WEAK, OTHER = EntityTag('"1"'), EntityTag('"1"', weak=True), EntityTag('"2"')


@pytest.mark.parametrize(
    ("one", "other", "strongly", "weakly"),
    [
        (WEAK, WEAK, False, True),
        (WEAK, EntityTag('"2"', weak=True), False, False),
        (WEAK, STRONG, False, True),
        (STRONG, STRONG, True, True),
        (STRONG, OTHER, False, False),
    ],
)
def test_comparison(
    one: EntityTag, other: EntityTag, strongly: bool, weakly: bool
) -> None:
    """The table of section 8.8.3.2, and the other way round."""
    assert one.strongly_equals(other) == other.strongly_equals(one) == strongly
    assert one.weakly_equals(other) == other.weakly_equals(one) == weakly


@pytest.mark.parametrize(
    ("text", "tag"),
    [
        ('"xyzzy"', EntityTag('"xyzzy"')),
        ('W/"xyzzy"', EntityTag('"xyzzy"', weak=True)),
        ('""', EntityTag('""')),
        ('"a,b;c\\"', EntityTag('"a,b;c\\"')),
        ('"\xe4\xff"', EntityTag('"\xe4\xff"')),
        ('w/"a"', None),
        ('W/ "a"', None),
        ("a", None),
        ('"a', None),
        ('a"', None),
        ('"a b"', None),
        ('"a\x00"', None),
        ('"a\x7f"', None),
        ('"a""b"', None),
        ('"a" ', None),
        ("*", None),
        ("", None),
    ],
)
def test_one_entity_tag(text: str, tag: EntityTag | None) -> None:
    """The grammar of section 8.8.3, no more and no less."""
    assert EntityTag.parse(text) == tag


@pytest.mark.parametrize(
    ("field", "opaque"),
    [
        ('"a"', ['"a"']),
        ('"a","b"', ['"a"', '"b"']),
        ('"a" ,\t"b" ', ['"a"', '"b"']),
        (' ,, "a",, ,"b",', ['"a"', '"b"']),
        ('"a,b", "c"', ['"a,b"', '"c"']),
        ("", []),
        (",", []),
        ('"a", b, "c"', ['"a"']),
        ('"a", "b', ['"a"']),
        ('"a" "b"', []),
        ('"a", "b""c"', ['"a"']),
        ('"a;"b", "c"', []),
        ("*", []),
    ],
)
def test_a_list_ends_at_its_first_fault(field: str, opaque: list[str]) -> None:
    """The tags before it count, those after it do not."""
    assert [tag.opaque for tag in entity_tags(field)] == opaque


@given(st.lists(strategies.entity_tags, max_size=6), strategies.separators)
def test_a_list_of_tags_is_read_back(tags: list[str], separator: str) -> None:
    """Whatever stands in the tags, and however they are separated."""
    assert list(entity_tags(separator.join(tags))) == list(map(EntityTag.parse, tags))


MADE = [
    etag_from_mtime(0x1F, 0x2),
    etag_from_mtime(0x1, 0xF2),
    etag_from_mtime(0x1F2, 0),
    etag_from_mtime(-0x1F, 0x2),
    etag_from_mtime(0x1F, 0x2, suffix="gzip"),
    etag_from_mtime(0x1F, 0x2, suffix="br"),
    etag_from_change(0x1, 0xF, 0x1F, 0x2),
    etag_from_change(0x1F, 0x1, 0xF, 0x2),
    etag_from_change(0x1, 0xF, 0x1F, 0x2, suffix="gzip"),
    etag_from_content("1f2"),
    etag_from_content("1f2", suffix="gzip"),
]


def test_a_tag_is_short_and_plain() -> None:
    """Numbers are hexadecimal, a variant is named at the end."""
    assert etag_from_mtime(0x1F, 0x2) == '"1f-2"'
    assert etag_from_mtime(0x1F, 0x2, suffix="gzip", weak=True) == 'W/"1f-2:gzip"'
    assert etag_from_change(0x1, 0xF, 0x1F, 0x2) == '"1-f-1f-2"'
    assert etag_from_content("1f2", suffix="br") == '"1f2:br"'


def test_other_facts_make_another_tag() -> None:
    """No matter how the numbers run into each other, and how the tag was made."""
    assert all(one != other for one, other in combinations(MADE, 2))


@pytest.mark.parametrize("made", MADE)
def test_a_tag_we_make_is_a_tag(made: str) -> None:
    """It is strong, and reads back."""
    assert EntityTag.parse(made) == EntityTag(made)


@pytest.mark.parametrize(
    "made",
    [
        etag_from_mtime(1, 2, suffix="br", weak=True),
        etag_from_change(1, 2, 3, 4, suffix="br", weak=True),
        etag_from_content("1f2", suffix="br", weak=True),
    ],
)
def test_a_weak_tag_says_so(made: str) -> None:
    """And has the rest in common with the strong one."""
    assert EntityTag.parse(made) == EntityTag(made.removeprefix("W/"), weak=True)
    assert made.startswith("W/")


# Facts


@pytest.mark.parametrize(
    ("age", "young"), [(-5, True), (0, True), (9, True), (10, False), (11, False)]
)
def test_an_mtime_is_young_for_one_grain(age: int, young: bool) -> None:
    """From then on another change gets another mtime."""
    assert is_young(1000 - age, now_ns=1000, grain_ns=10) == young


@pytest.mark.parametrize("seconds", [-1, 0, 1])
def test_the_stamps_of_reproducible_builds_are_no_times(seconds: int) -> None:
    """They are the same for every version of a file."""
    assert is_placeholder(seconds * 10**9)
    assert last_modified(seconds * 10**9, now_ns=10**18) is None


def test_last_modified_is_in_whole_seconds() -> None:
    """The fraction is cut off, never rounded up."""
    assert last_modified(784_111_777_000_000_000, now_ns=10**18) == 784_111_777
    assert last_modified(2_000_000_000, now_ns=10**18) == 2
    assert last_modified(2_999_999_999, now_ns=10**18) == 2


def test_last_modified_is_never_in_the_future() -> None:
    """The time of the response stands in for it (section 8.8.2.1)."""
    assert last_modified(9 * 10**9, now_ns=5_500_000_000) == 5


# Dates


@pytest.mark.parametrize(
    "text",
    [
        "Sun, 06 Nov 1994 08:49:37 GMT",
        "Sunday, 06-Nov-94 08:49:37 GMT",
        "Sun Nov  6 08:49:37 1994",
        "Sun, 6 Nov 1994 08:49:37 GMT",
        "Mon, 06 Nov 1994 08:49:37 GMT",
    ],
)
def test_the_forms_of_a_date(text: str) -> None:
    """The three of section 5.6.7, RFC 822's short day, and a wrong weekday."""
    assert parse_http_date(text) == 784_111_777


@pytest.mark.parametrize(
    "text",
    [
        "",
        "784111777",
        "Sun, 06 Nov 1994 08:49:37",
        "Sun, 06 Nov 1994 08:49:37 UTC",
        "Sun, 06 Nov 1994 08:49:37 +0000",
        "sun, 06 nov 1994 08:49:37 gmt",
        "Sun, 06 Nov 94 08:49:37 GMT",
        "Sun, 06 Nov 1994 08:49:37 GMT ",
        "Sun, 06 Nov 1994 8:49:37 GMT",
        "Sun, 06 Nov 1994 24:00:00 GMT",
        "Sun, 06 Nov 1994 23:60:00 GMT",
        "Sun, 06 Nov 1994 23:00:61 GMT",
        "Sun, 00 Nov 1994 08:49:37 GMT",
        "Sun, 31 Nov 1994 08:49:37 GMT",
        "Sun, 29 Feb 1995 08:49:37 GMT",
        "Sun, 06 Nov 0000 08:49:37 GMT",
        "Sun, 06 Nov \u0661\u0669\u0669\u0664 08:49:37 GMT",
        "So, 06 Nov 1994 08:49:37 GMT",
        "Sun, 06 Okt 1994 08:49:37 GMT",
        "Sun Nov 6 08:49:37 1994",
        "Sunday, 06-Nov-1994 08:49:37 GMT",
    ],
)
def test_what_is_no_date(text: str) -> None:
    """None of these is one, and none raises."""
    assert parse_http_date(text) is None


@given(strategies.noise)
def test_no_text_makes_the_parser_raise(text: str) -> None:
    """Noise is no date."""
    assert parse_http_date(text) is None


@pytest.mark.parametrize(
    ("year", "means"), [("70", 1970), ("99", 1999), ("00", 2000), ("69", 2069)]
)
def test_two_digits_of_a_year(year: str, means: int) -> None:
    """They lie from 1970 to 2069."""
    seconds = parse_http_date(f"Monday, 01-Jan-{year} 00:00:00 GMT")
    assert gmtime(seconds).tm_year == means


def test_a_leap_second_is_the_next_minute() -> None:
    """The grammar has it, the calendar does not."""
    assert parse_http_date("Sat, 31 Dec 2016 23:59:60 GMT") == parse_http_date(
        "Sun, 01 Jan 2017 00:00:00 GMT"
    )


@given(st.integers(-62_135_596_800, 253_402_300_799))
@example(0)
@example(-1)
@example(951_782_400)
def test_a_date_is_read_back(seconds: int) -> None:
    """From the year 1 to the year 9999."""
    assert parse_http_date(http_date(seconds)) == seconds


@given(st.integers(0, 68 * 365 * 86400))
def test_the_old_forms_are_read_back(seconds: int) -> None:
    """Rebuilt from the new one."""
    day, number, month, year, time, _ = http_date(seconds).split()
    asctime = f"{day[:3]} {month} {int(number):2} {time} {year}"
    rfc850 = f"Monday, {number}-{month}-{year[2:]} {time} GMT"
    assert parse_http_date(asctime) == parse_http_date(rfc850) == seconds


@pytest.mark.parametrize(
    ("seconds", "edge"),
    [
        (10**30, "Fri, 31 Dec 9999 23:59:59 GMT"),
        (-(10**30), "Mon, 01 Jan 0001 00:00:00 GMT"),
    ],
)
def test_a_date_beyond_the_calendar_is_its_edge(seconds: int, edge: str) -> None:
    """File systems can hold such times, and a response must not fail for it."""
    assert http_date(seconds) == edge

"""Bugs that others have had, and we shall not.

Framing and parsing only: what concerns files and sockets is tested where they are.
"""

from __future__ import annotations

from itertools import pairwise

import pytest

from tests.planning.counting import steps
from tests.planning.in_memory import body, representation
from zc_response.planning import Plan, Representation, Slice, plan
from zc_response.planning.ranges import parse

TEXT = (("Content-Type", "text/plain"),)


def get(field: str, of: Representation) -> Plan:
    return plan("GET", {"range": field}, of)


# Starlette, October 2025 to May 2026


def test_a_416_names_the_unit() -> None:
    """It once said `*/526`, which is no Content-Range (c011d1fc)."""
    planned = get("bytes=526-", representation(526))
    assert dict(planned.headers)["Content-Range"] == "bytes */526"


def test_a_multipart_has_its_type_in_content_type() -> None:
    """It once stood in Content-Range (90b805fd)."""
    fields = dict(get("bytes=0-100, 200-300", representation(526)).headers)
    assert fields["Content-Type"].startswith("multipart/byteranges; boundary=")
    assert "Content-Range" not in fields


def test_a_multipart_has_crlf() -> None:
    """Its lines once ended with LF alone (9c74ef4c)."""
    planned = get("bytes=0-100, 200-300", representation(526, headers=TEXT))
    literal = b"".join(part for part in planned.segments if isinstance(part, bytes))
    assert literal.count(b"\n") == literal.count(b"\r\n") == 11


def test_a_partial_answer_leaves_the_headers_alone() -> None:
    """A response used twice once kept the first answer's fields (3bddf51c)."""
    shared = representation(526, headers=TEXT)
    get("bytes=0-1", shared)
    get("bytes=0-1,5-6", shared)
    assert plan("GET", {}, shared) == plan("GET", {}, representation(526, headers=TEXT))


def test_a_long_suffix_is_clamped() -> None:
    """It once became a negative offset (014f0e2e)."""
    planned = get("bytes=-1000", representation(526))
    assert planned.segments == (Slice(planned.segments[0].source, 0, 526),)  # type: ignore[union-attr]


@pytest.mark.parametrize("number", [1_000, 10_000, 100_000])
def test_many_ranges_are_not_merged_in_quadratic_time(number: int) -> None:
    """CVE-2025-62727: nor in linear time; they are not looked at."""
    field = "bytes=" + ",".join(f"{n}-{n}" for n in range(0, 2 * number, 2))
    assert steps(lambda: parse(field, 10**6)) < 50


# Too much for too little


def test_overlapping_ranges_are_sent_once() -> None:
    """CVE-2011-3192, the Apache killer."""
    field = "bytes=0-," + ",".join(f"5-{n}" for n in range(60))
    planned = get(field, representation(1000))
    assert len(planned) <= 1000


def test_the_same_byte_over_and_over_is_one_byte() -> None:
    """CVE-2026-34826: Rack limited the bytes, not the parts."""
    planned = get("bytes=" + "0-0," * 60, representation(1000))
    assert (planned.status, body(planned)) == (206, b"\x00")


def test_an_answer_is_never_larger_than_the_file_by_its_ranges() -> None:
    """CVE-2024-26141."""
    field = "bytes=" + ",".join(["0-999"] * 20)
    assert len(get(field, representation(1000))) == 1000


# Numbers too large

HUGE = [2**31 - 1, 2**31, 2**32, 2**63 - 1, 2**63, 2**64 - 1, 2**64, 10**30]


@pytest.mark.parametrize("number", HUGE)
def test_a_huge_suffix_does_not_wrap_around(number: int) -> None:
    """CVE-2017-7529: nginx computed a negative start, and sent its memory."""
    assert parse(f"bytes=-{number}", 10) == ((0, 9),)
    assert parse(f"bytes=-{number},-{number}", 10) == ((0, 9),)


@pytest.mark.parametrize("number", HUGE)
def test_a_huge_end_does_not_overflow(number: int) -> None:
    """CVE-2015-1635: `0-18446744073709551615` stopped Windows."""
    assert parse(f"bytes=0-{number}", 10) == ((0, 9),)
    assert parse(f"bytes=18-{number}", 10) == ()


def test_a_numeral_of_any_length_is_no_error() -> None:
    """int() refuses one of more than 4300 digits with an exception."""
    for digits in (40, 640, 641, 1000, 4301, 100_000):
        assert parse(f"bytes={'9' * digits}-", 10) is None


def test_no_sum_of_ranges_overflows() -> None:
    """Python's integers cannot; what they are converted to later could."""
    size = 2**63 - 1
    planned = get(f"bytes=0-0,5-{2**64}", Representation(source=b"", size=size))
    slices = [part for part in planned.segments if isinstance(part, Slice)]
    assert [part.count for part in slices] == [1, size - 5]


# Lines


@pytest.mark.parametrize(
    "field", ["bytes=0-1\r\nX: y", "bytes=0-1\n", "bytes=0-1\x00", "bytes=0\x0b-1"]
)
def test_no_control_of_a_request_comes_back(field: str) -> None:
    """CVE-2020-7695: a server that lets it in must not get it from us."""
    planned = get(field, representation(10))
    assert planned.status == 200
    assert not any(control in str(planned.headers) for control in "\r\n\0\v")


def test_parts_follow_each_other_without_a_gap() -> None:
    """What Rack, Starlette and others got wrong was arithmetic; this is the sum."""
    planned = get("bytes=7-9,0-0,3-4", representation(10, headers=TEXT))
    kinds = [isinstance(part, bytes) for part in planned.segments]
    assert all(one != other for one, other in pairwise(kinds))
    assert dict(planned.headers)["Content-Length"] == str(len(body(planned)))

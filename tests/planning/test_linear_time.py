"""No field can make the planner work more than in proportion to its length.

Counted, not clocked: the number of bytecodes run for twice the length must not be more
than about twice the number. What C does inside one bytecode stays invisible to that,
so the same shapes are also tried at a megabyte, which a regular expression with
quadratic backtracking would not finish within the suite's timeout by far.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import pytest

from tests.planning.counting import steps
from zc_response.planning import (
    Representation,
    content_disposition,
    parse_http_date,
    plan,
    vary_on_encoding,
)
from zc_response.planning.ranges import MAX_LENGTH, MAX_SPECS, parse
from zc_response.planning.validators import entity_tags
from zc_response.planning.variants import parse_accept_encoding

FILE: Final = Representation(
    source=b"", size=10**15, etag='"x"', last_modified=1_445_412_480
)

Shape = Callable[[int], str]


def repeated(unit: str, before: str = "", after: str = "") -> Shape:
    """Return the shape of a text that repeats a unit up to a length."""
    return lambda length: before + unit * (length // len(unit)) + after


def ascending(length: int) -> str:
    """Return ranges that never touch, in order."""
    return "bytes=" + ",".join(f"{n * 9}-{n * 9}" for n in range(length // 10))


def descending(length: int) -> str:
    """Return ranges that never touch, in the other order."""
    return "bytes=" + ",".join(f"{n * 9}-{n * 9}" for n in range(length // 10, 0, -1))


SHAPES: Final[Mapping[str, tuple[str, Shape]]] = {
    "many ranges": ("range", ascending),
    "many ranges backwards": ("range", descending),
    "the same range": ("range", repeated("0-0,", "bytes=")),
    "nested ranges": ("range", repeated("0-,", "bytes=")),
    "suffixes": ("range", repeated("-1,", "bytes=")),
    "digits": ("range", repeated("1", "bytes=", "-")),
    "zeros": ("range", repeated("0", "bytes=", "-")),
    "dashes": ("range", repeated("-", "bytes=")),
    "commas": ("range", repeated(",", "bytes=")),
    "blanks": ("range", repeated(" ", "bytes=", "x")),
    "blanks and commas": ("range", repeated(" ,", "bytes=", "x")),
    "equals signs": ("range", repeated("=", "bytes")),
    "a long unit": ("range", repeated("x", after="=0-1")),
    "quotes": ("if-none-match", repeated('"')),
    "an open quote": ("if-none-match", repeated("x", '"')),
    "empty tags": ("if-none-match", repeated('"",')),
    "tags": ("if-none-match", repeated('"y", ')),
    "weak tags": ("if-none-match", repeated('W/"y",')),
    "tag commas": ("if-none-match", repeated(",", after="x")),
    "tag blanks": ("if-none-match", repeated(" ", after="x")),
    "blanks after a tag": ("if-none-match", repeated(" ", '"y"', "x")),
    "weakness": ("if-none-match", repeated("W/")),
    "strong tags": ("if-match", repeated('"y",')),
    "stars": ("if-match", repeated("*,")),
    "a long date": ("if-modified-since", repeated("0", "Wed, 21 Oct 2015 07:28:")),
    "many dates": ("if-modified-since", repeated("Wed, 21 Oct 2015 07:28:00 GMT")),
    "a long old date": ("if-unmodified-since", repeated(" ", "Wed Oct 21")),
    "a long condition": ("if-range", repeated('"')),
    "a long date condition": ("if-range", repeated("9")),
}


def request(name: str, value: str) -> dict[str, str]:
    """Return a request with a field, and a Range for it to be about."""
    return {"range": "bytes=0-0", name: value}


def assert_linear(call: Callable[[str], object], shape: Shape, length: int) -> None:
    """Compare the steps for a length with those for twice the length."""
    once, twice = shape(length), shape(2 * length)
    assert steps(lambda: call(twice)) <= 2.3 * steps(lambda: call(once))


def test_steps_tell_linear_from_quadratic() -> None:
    """The yardstick measures what it should."""

    def linear(text: str) -> None:
        for _ in text:
            pass

    def quadratic(text: str) -> None:
        for _ in text:
            linear(text)

    assert_linear(linear, repeated("x"), 100)
    with pytest.raises(AssertionError):
        assert_linear(quadratic, repeated("x"), 100)


@pytest.mark.parametrize("length", [MAX_LENGTH // 4, MAX_LENGTH // 2 - 16, 4096])
@pytest.mark.parametrize(("name", "shape"), SHAPES.values(), ids=SHAPES)
def test_a_field_is_planned_in_linear_time(
    name: str, shape: Shape, length: int
) -> None:
    """Below the limits of a Range, up to them, and up to 8 KiB."""
    assert_linear(lambda value: plan("GET", request(name, value), FILE), shape, length)


@pytest.mark.parametrize(("name", "shape"), SHAPES.values(), ids=SHAPES)
def test_a_megabyte_is_planned_at_all(name: str, shape: Shape) -> None:
    """No regular expression here has two ways to match the same text."""
    assert plan("GET", request(name, shape(2**20)), FILE).status in (200, 206, 304, 412)


def inline(name: str) -> str:
    """Return the disposition of a name."""
    return content_disposition("inline", name)


weights = parse_accept_encoding.__wrapped__  # not from the cache

OTHERS: Final[Mapping[str, tuple[Callable[[str], object], Shape]]] = {
    "codings": (weights, repeated("x,")),
    "weighted codings": (weights, repeated("br;q=0.1,")),
    "a long weight": (weights, repeated("0", "br;q=0.")),
    "blanks in a weight": (weights, repeated(" ", "br;")),
    "semicolons": (weights, repeated(";", "br")),
    "names in Vary": (vary_on_encoding, repeated("Accept, ")),
    "a list of tags": (lambda text: list(entity_tags(text)), repeated('W/"y" ,')),
    "a date of nothing but digits": (parse_http_date, repeated("1")),
    "a plain name": (inline, repeated("x")),
    "a quoted name": (inline, repeated('"')),
    "a name of controls": (inline, repeated("\n", after="x")),
    "a foreign name": (inline, repeated("\N{SNOWMAN}\udcff")),
}


@pytest.mark.parametrize(("call", "shape"), OTHERS.values(), ids=OTHERS)
def test_what_is_not_planned_is_linear_too(
    call: Callable[[str], object], shape: Shape
) -> None:
    """The functions that integrations call beside the planner."""
    assert_linear(call, shape, 4096)
    call(shape(2**20))


def test_a_long_range_costs_nothing() -> None:
    """Beyond the limits the field is not even split."""
    too_long = steps(lambda: parse("bytes=" + "0-0," * 100_000, 10))
    too_many = steps(lambda: parse("bytes=0-0" + "," * MAX_SPECS, 10))
    assert max(too_long, too_many) < 50


def test_the_longest_range_costs_little() -> None:
    """All specs that are let in, in the order that is worst for sorting."""
    specs = ",".join(f"{n}-{n}" for n in range(2 * MAX_SPECS, 0, -2))
    assert len(specs) < MAX_LENGTH
    assert steps(lambda: parse(f"bytes={specs}", 10**6)) < 200 * MAX_SPECS

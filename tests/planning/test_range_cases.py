"""528 range and conditional requests, as 18 servers' own tests would have them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest

from tests import range_cases
from tests.planning.in_memory import CONTENT, respond
from tests.range_cases import Answer, Case
from zc_response.planning import (
    SUFFIXES,
    Representation,
    choose_coding,
    last_modified,
    ranges,
    vary_on_encoding,
)

PAGE: Final = Path(__file__).parents[2] / "docs" / "ranges.md"
CASES: Final = {case.id: case for case in range_cases.cases()}

every_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def represent(case: Case) -> Representation:
    """Return the case's file, with the fields that a view may give it."""
    return Representation(
        source=CONTENT[: case.size],
        size=case.size,
        headers=(
            ("Content-Type", "text/plain"),
            ("Content-Language", "en"),
            ("Content-Location", "/file.txt"),
        ),
        etag=case.etag,
        last_modified=case.last_modified,
    )


# What the source configured its server with, done to our representation.

Configure = Callable[[Case, Representation], Representation]


def with_content_range(case: Case, plain: Representation) -> Representation:
    """Let the view set a Content-Range that makes no sense."""
    return replace(plain, headers=(*plain.headers, ("Content-Range", "stub")))


def without_times(case: Case, plain: Representation) -> Representation:
    """Let the file's mtime be one that stands for no time."""
    return replace(plain, etag=None, last_modified=last_modified(0, now_ns=10**18))


def with_variants(case: Case, plain: Representation) -> Representation:
    """Let there be a variant for every content coding."""
    accepted = dict(case.fields).get("Accept-Encoding")
    coding = choose_coding(accepted, SUFFIXES)
    headers = (*plain.headers, ("Vary", vary_on_encoding(None)))
    if coding:
        headers = (*headers, ("Content-Encoding", coding))
    return replace(plain, headers=headers)


def as_it_is(case: Case, plain: Representation) -> Representation:
    """Change nothing: the setting is our default, or what we have no setting for."""
    return plain


CONFIGURE: Final[Mapping[str | None, Configure]] = {
    None: as_it_is,
    "RMAX 128, RMAX_UNSORTED 10": as_it_is,
    "acceptRanges: false": as_it_is,  # most_parts
    "app sets Content-Range: stub": with_content_range,
    "complete length unknown": as_it_is,
    "file shorter than 6549": as_it_is,
    "if_modified_since before": as_it_is,
    "max_ranges 0": as_it_is,  # most_parts
    "max_ranges 2": as_it_is,  # most_parts
    "mtime = 0 or 1": without_times,
    "only if the handler answers POST with the file": as_it_is,
    "precompressed configured, no Accept-Encoding": with_variants,
    "precompressed configured, variant missing": with_variants,
    "precompressed gzip configured": with_variants,
    "sidecar range.txt.gz": with_variants,
}


def answer(case: Case) -> Answer:
    """Return the planner's answer to a case."""
    configured = CONFIGURE[case.server_config](case, represent(case))
    if case.cluster == "precond-on-404":
        configured = replace(configured, status=404)
    max_parts = range_cases.most_parts(case)
    return respond(case.method, case.fields, configured, max_parts=max_parts)


def run(case: Case, wanted: Mapping[str, Any] | None = None) -> None:
    """Check a case on the level at which its source does."""
    if case.level == "parser":
        ((_, field),) = case.fields
        range_cases.check_parsed(case, ranges.parse(field, case.size), wanted)
    else:
        range_cases.check(case, answer(case), wanted)


@every_case
def test_case(case: Case) -> None:
    """We answer as the source does, or as we decided."""
    run(case)


def test_no_case_is_missing() -> None:
    """The data is whole, and every case has a name of its own."""
    assert len(range_cases.cases()) == len(CASES) == 528


def test_no_case_is_decided_twice() -> None:
    """A case has one reason to differ."""
    decisions = range_cases.DECIDED_OTHERWISE
    listed = [
        case for each in decisions for cases in each.outcomes for case in cases.split()
    ]
    assert sorted(listed) == sorted(range_cases.OURS)


@pytest.mark.parametrize("name", range_cases.OURS)
def test_a_difference_is_one(name: str) -> None:
    """What is listed as decided otherwise does not agree with its source."""
    with pytest.raises(AssertionError):
        run(CASES[name], wanted=CASES[name].expect)


def test_the_page_shows_every_difference() -> None:
    """docs/ranges.md has the table as it is in the code."""
    assert f"\n{range_cases.differences()}\n" in PAGE.read_text()


@pytest.mark.parametrize(
    "change",
    [
        {"colour": "red"},
        {"request": {"method": "GET", "headers": [], "body": "x"}},
        {"file": {"size": 1, "etag": None, "last_modified": None, "mode": 7}},
        {"expect": {"statuses": [200]}},
    ],
)
def test_an_unknown_key_is_an_error(change: dict[str, Any]) -> None:
    """Nothing in the data is skipped in silence."""
    raw = {
        "id": "x",
        "source": "x",
        "cluster": "x",
        "level": "http",
        "request": {"method": "GET", "headers": []},
        "file": {"size": 1, "etag": None, "last_modified": None},
        "expect": {"status": 200},
    }
    assert range_cases.read(raw).expect == {"status": 200}
    with pytest.raises(ValueError, match="unknown keys"):
        range_cases.read({**raw, **change})


def test_an_unknown_token_is_an_error() -> None:
    """A field is sent as it was meant, or not at all."""
    with pytest.raises(KeyError, match="moon"):
        range_cases.resolve("{moon}", '"x"', 0)

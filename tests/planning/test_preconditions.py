"""Conditions: each by itself, and one before the other."""

from __future__ import annotations

import pytest

from tests.strategies import SOME_TIME
from zc_response.planning import http_date
from zc_response.planning.preconditions import (
    evaluate,
    if_match,
    if_modified_since,
    if_none_match,
    if_unmodified_since,
)

BEFORE, AT, AFTER = (http_date(SOME_TIME + seconds) for seconds in (-1, 0, 1))


@pytest.mark.parametrize(
    ("field", "etag", "holds"),
    [
        ("*", '"a"', True),
        ("*", None, True),
        ('"a"', '"a"', True),
        ('"b", "a"', '"a"', True),
        ('"b"', '"a"', False),
        ('"a"', None, False),
        ('W/"a"', '"a"', False),
        ('"a"', 'W/"a"', False),
        ('W/"a"', 'W/"a"', False),
        ("", '"a"', False),
        ("a", "a", False),
        ("*, *", '"a"', False),
        ('b, "a"', '"a"', False),
    ],
)
def test_if_match(field: str, etag: str | None, holds: bool) -> None:
    """Strong comparison; what is malformed matches nothing (section 13.1.1)."""
    assert if_match(field, etag) == holds


@pytest.mark.parametrize(
    ("field", "etag", "holds"),
    [
        ("*", '"a"', False),
        ("*", None, False),
        ('"a"', '"a"', False),
        ('W/"a"', '"a"', False),
        ('"a"', 'W/"a"', False),
        ('"b", W/"a"', 'W/"a"', False),
        ('"b"', '"a"', True),
        ('"A"', '"a"', True),
        ('"a"', None, True),
        ("", '"a"', True),
        ("a", "a", True),
        ('b, "a"', '"a"', True),
    ],
)
def test_if_none_match(field: str, etag: str | None, holds: bool) -> None:
    """Weak comparison; what is malformed matches nothing (section 13.1.2)."""
    assert if_none_match(field, etag) == holds


@pytest.mark.parametrize(
    ("field", "since", "until"),
    [
        (BEFORE, True, False),
        (AT, False, True),
        (AFTER, False, True),
        ("yesterday", True, True),
        (f"{AT}, {AT}", True, True),
    ],
)
def test_conditions_on_the_date(field: str, since: bool, until: bool) -> None:
    """What is no date is ignored (sections 13.1.3 and 13.1.4)."""
    assert if_modified_since(field, SOME_TIME) == since
    assert if_unmodified_since(field, SOME_TIME) == until


def test_without_a_modification_date_there_is_no_condition_on_it() -> None:
    """Both are ignored."""
    assert if_modified_since(AFTER, None)
    assert if_unmodified_since(BEFORE, None)


ORDER = [
    ({}, None),
    ({"if-match": '"b"', "if-none-match": '"a"'}, 412),
    ({"if-match": '"a"', "if-none-match": '"a"'}, 304),
    ({"if-match": '"a"', "if-unmodified-since": BEFORE}, None),
    ({"if-match": '"b"', "if-unmodified-since": AFTER}, 412),
    ({"if-unmodified-since": BEFORE, "if-none-match": '"a"'}, 412),
    ({"if-unmodified-since": AT, "if-modified-since": AT}, 304),
    ({"if-none-match": '"b"', "if-modified-since": AFTER}, None),
    ({"if-none-match": '"a"', "if-modified-since": BEFORE}, 304),
    ({"if-modified-since": BEFORE}, None),
]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(("request_fields", "status"), ORDER)
def test_the_order_of_evaluation(
    method: str, request_fields: dict[str, str], status: int | None
) -> None:
    """As section 13.2.2 has it: a tag overrules the date beside it."""
    assert evaluate(method, request_fields, '"a"', SOME_TIME) == status


@pytest.mark.parametrize(
    ("request_fields", "status"),
    [
        ({"if-none-match": '"a"'}, 412),
        ({"if-none-match": "*"}, 412),
        ({"if-match": '"b"'}, 412),
        ({"if-modified-since": AT}, None),
    ],
)
def test_a_method_that_changes_something(
    request_fields: dict[str, str], status: int | None
) -> None:
    """It is refused where GET is told that nothing has changed."""
    assert evaluate("PUT", request_fields, '"a"', SOME_TIME) == status

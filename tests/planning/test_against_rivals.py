"""The planner against the libraries it stands in for, on what they understand.

Where they differ by design, a comment names the section, and the reference decides.
"""

from __future__ import annotations

from datetime import datetime, timezone
from email.utils import formatdate

import pytest
from hypothesis import assume, given, settings, strategies as st
from starlette.responses import FileResponse, RangeNotSatisfiable
from werkzeug import http as werkzeug

from tests import strategies
from tests.planning import reference
from zc_response.planning import EntityTag, http_date, parse_http_date, ranges
from zc_response.planning.validators import entity_tags

field_and_size = given(field=strategies.range_fields(), size=st.integers(1, 60))


def exclusive(parsed: tuple[ranges.ByteRange, ...]) -> list[tuple[int, int]]:
    """Return ranges as Starlette has them: sorted, their ends not included."""
    return sorted((first, last + 1) for first, last in parsed)


def has_range_out_of_reach(field: str, size: int) -> bool:
    specs = field.removeprefix("bytes=").split(",")
    return any(reference.positions(spec.strip(), size) == set() for spec in specs)


@settings(max_examples=500)
@field_and_size
def test_starlette_reads_the_same_ranges(field: str, size: int) -> None:
    """Apart from their order, and from a set with one range out of reach (14.1.1)."""
    parsed = ranges.parse(field, size)
    assert parsed is not None
    if has_range_out_of_reach(field, size):
        with pytest.raises(RangeNotSatisfiable):
            FileResponse._parse_range_header(field, size)
        assert list(parsed) == reference.byte_ranges(field, size)
    else:
        assert exclusive(parsed) == FileResponse._parse_range_header(field, size)


@settings(max_examples=500)
@field_and_size
def test_werkzeug_reads_the_same_bytes(field: str, size: int) -> None:
    """As long as ranges ascend, lists have no gaps, and no suffix is 0 (14.1.2)."""
    theirs = werkzeug.parse_range_header(field)
    assume(theirs is not None)
    assert theirs is not None
    wanted = {
        position
        for begin, end in theirs.ranges
        for position in range(size)[slice(begin, end)]
    }
    ours = ranges.parse(field, size)
    assert ours is not None
    assert {n for first, last in ours for n in range(first, last + 1)} == wanted


@given(st.lists(strategies.entity_tags, min_size=1, max_size=5))
def test_werkzeug_reads_the_same_entity_tags(tags: list[str]) -> None:
    """Strong ones and weak ones; the empty one Werkzeug takes for none."""
    assume(not any(tag.endswith('""') for tag in tags))
    theirs = werkzeug.parse_etags(", ".join(tags))
    ours = set(entity_tags(", ".join(tags)))
    strong = {EntityTag(f'"{tag}"') for tag in theirs.as_set()}
    weak = {
        EntityTag(f'"{tag}"', weak=True) for tag in theirs.as_set(include_weak=True)
    }
    assert {tag for tag in ours if not tag.weak} == strong
    assert {tag for tag in ours if tag.weak} <= weak


@given(st.integers(0, 253_402_300_799))
def test_a_date_is_written_as_email_utils_writes_it(seconds: int) -> None:
    """To the year 9999."""
    assert http_date(seconds) == formatdate(seconds, usegmt=True)


@given(st.integers(0, 253_402_300_799), st.sampled_from(["%d %b %Y", "%d-%b-%y"]))
def test_a_date_is_read_as_werkzeug_reads_it(seconds: int, form: str) -> None:
    """In the forms with a time zone; of two digits, the years that both agree on."""
    moment = datetime.fromtimestamp(seconds, timezone.utc)
    assume("%Y" in form or 1970 <= moment.year < 2069)
    day = moment.strftime("%a" if "%Y" in form else "%A")
    text = moment.strftime(f"{day}, {form} %H:%M:%S GMT")
    assert werkzeug.parse_date(text) == moment
    assert parse_http_date(text) == seconds

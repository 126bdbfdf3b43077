"""The planner against a reference that is slow and obvious."""

from __future__ import annotations

from hypothesis import example, given, settings, strategies as st

from tests import strategies
from tests.planning import reference
from zc_response.planning import http_date, ranges
from zc_response.planning.preconditions import evaluate


@settings(max_examples=1000)
@given(field=strategies.range_fields(strategies.odd_specs), size=strategies.sizes)
@example(field="bytes=-0", size=1)
@example(field="bytes=9-9", size=10)
@example(field="bytes=10-", size=10)
def test_ranges_are_those_of_the_reference(field: str, size: int) -> None:
    """Sets of positions and sorted pairs come to the same ranges, in the same order."""
    parsed = ranges.parse(field, size)
    assert (None if parsed is None else list(parsed)) == reference.byte_ranges(
        field, size
    )


@settings(max_examples=1000)
@given(field=st.text("bBytes=0123456789-, \t", max_size=30), size=strategies.sizes)
def test_noise_is_read_as_the_reference_reads_it(field: str, size: int) -> None:
    """Valid or not, both agree."""
    parsed = ranges.parse(field, size)
    assert (None if parsed is None else list(parsed)) == reference.byte_ranges(
        field, size
    )


tag_lists = st.one_of(
    st.just("*"), st.lists(strategies.entity_tags, min_size=1, max_size=3)
)


@settings(max_examples=1000)
@given(
    method=strategies.methods,
    conditions=st.fixed_dictionaries(
        {},
        optional={
            "if-match": tag_lists,
            "if-none-match": tag_lists,
            "if-modified-since": strategies.times,
            "if-unmodified-since": strategies.times,
        },
    ),
    etag=st.one_of(st.none(), strategies.entity_tags),
    last_modified=st.one_of(st.none(), strategies.times),
)
def test_preconditions_are_those_of_the_reference(
    method: str,
    conditions: dict[str, object],
    etag: str | None,
    last_modified: int | None,
) -> None:
    """The steps of section 13.2.2, from the fields and from their meaning."""
    request = {name: written(value) for name, value in conditions.items()}
    answer = evaluate(method, request, etag, last_modified) or 200
    assert answer == reference.precondition(method, conditions, etag, last_modified)


def written(value: object) -> str:
    """Return a condition as its field has it."""
    if isinstance(value, int):
        return http_date(value)
    return ", ".join(value) if isinstance(value, list) else str(value)

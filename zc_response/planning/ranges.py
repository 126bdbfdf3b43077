"""Byte ranges: what a Range field asks for (RFC 9110 sections 13.1.5, 14.1, 14.2).

Knows the field, a size and the validators; the answer's form is the planner's. What
is no valid range-set is ignored, never refused: section 14.2 leaves the choice, and
the whole file is an answer every client understands.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, NamedTuple

from zc_response.planning.validators import EntityTag, parse_http_date

# A longer field is ignored before it is looked at. 16 ranges (Policy.max_parts) of a
# terabyte file take 500 characters; Apache stops at 200 ranges, lighttpd at 128.
MAX_LENGTH: Final = 1024
MAX_SPECS: Final = 64

# int-range or suffix-range. Digits are ASCII's (int() takes any script's), and no more
# of them than 128 bits need.
_NUMERAL: Final = "[0-9]{1,39}"
_RANGE_SPEC: Final = re.compile(f"({_NUMERAL})-({_NUMERAL})?|-({_NUMERAL})")


class ByteRange(NamedTuple):
    """Positions of the first and the last byte, both included."""

    first: int
    last: int

    @property
    def length(self) -> int:
        """The number of bytes."""
        return self.last - self.first + 1


def parse(field: str, size: int) -> tuple[ByteRange, ...] | None:
    """Return the ranges that a Range field selects, coalesced, in request order.

    None if the field is to be ignored: another unit, invalid, too long, or of an empty
    file, which no Content-Range can describe (section 14.4). An empty tuple if it is
    valid but selects nothing.
    """
    specs = _range_set(field)
    if not specs or not size:
        return None
    ranges = []
    for spec in specs:
        match = _RANGE_SPEC.fullmatch(spec)
        if match is None:
            return None
        first, last = _positions(match, size)
        if last < first:  # one invalid spec spoils the set (section 14.1.1)
            return None
        if first < size:
            ranges.append(ByteRange(first, min(last, size - 1)))
    return coalesce(ranges)


def _range_set(field: str) -> list[str] | None:
    if len(field) > MAX_LENGTH or field.count(",") >= MAX_SPECS:
        return None
    unit, _, specs = field.partition("=")
    if unit.lower() != "bytes":
        return None
    # Elements of a list may be empty (section 5.6.1.2).
    return [stripped for spec in specs.split(",") if (stripped := spec.strip(" \t"))]


def _positions(match: re.Match[str], size: int) -> tuple[int, int]:
    """Return first-pos and last-pos, which may both lie past the end."""
    first, last, suffix_length = match.groups()
    if suffix_length:
        return max(size - int(suffix_length), 0), size
    return int(first), int(last) if last else max(int(first), size)


def coalesce(ranges: Iterable[ByteRange]) -> tuple[ByteRange, ...]:
    """Join ranges that overlap or touch, each group in the place of its first member.

    Sorted by position, a range can only touch the group before it. Each group keeps
    the least place of its members; sorted by that, they are in request order again.
    (Section 15.3.7.2 allows the one and recommends the other.)
    """
    groups: list[tuple[int, ByteRange]] = []
    for (first, last), place in sorted((r, place) for place, r in enumerate(ranges)):
        if groups and first <= groups[-1][1].last + 1:
            before, group = groups.pop()
            place = min(place, before)
            first, last = group.first, max(group.last, last)
        groups.append((place, ByteRange(first, last)))
    return tuple(group for _, group in sorted(groups))


def if_range(field: str, etag: str | None, last_modified: int | None) -> bool:
    """Tell whether the condition is true: the client's part is of this representation.

    An entity-tag has to be strong and the same. So has a date (section 13.1.5), but
    whether a date is a strong validator, nobody can see from it: it is one unless two
    changes fell into its second. Where they may have, the file's entity-tag is weak,
    and then no date counts either.
    """
    tag, current = EntityTag.parse(field), EntityTag.parse(etag or "")
    if tag is not None:
        return current is not None and tag.strongly_equals(current)
    if last_modified is None or (current is not None and current.weak):
        return False
    return parse_http_date(field) == last_modified

"""RFC 9110 on ranges and preconditions, once more: slow, and straight from the text.

Nothing here is shared with the planner. A file is the set of its positions, a field is
read character by character, and dates are numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

Ranges = list[tuple[int, int]]


def byte_ranges(field: str, size: int) -> Ranges | None:
    """Return the ranges that a Range field asks for, None if it is to be ignored."""
    if field[:6].lower() != "bytes=" or size == 0:
        return None
    elements = [element.strip(" \t") for element in field[6:].split(",")]
    elements = [element for element in elements if element != ""]
    asked = [positions(element, size) for element in elements]
    wanted = [positions for positions in asked if positions is not None]
    if not wanted or len(wanted) < len(asked):
        return None
    runs = runs_of(set().union(*wanted))
    return sorted(runs, key=lambda run: first_asked(run, wanted))


def positions(spec: str, size: int) -> set[int] | None:
    """Return the positions of the file that a range-spec names, None if it is none."""
    first, dash, last = spec.partition("-")
    if not dash or not is_digits(first + last) or first + last == "":
        return None
    if first == "":
        return set(range(size)[-min(int(last), size) :]) if int(last) else set()
    if last != "" and int(last) < int(first):
        return None
    stop = size if last == "" else min(int(last) + 1, size)
    return set(range(int(first), stop)) if int(first) < size else set()


def is_digits(text: str) -> bool:
    """Tell whether there is nothing but ASCII digits."""
    return all(character in "0123456789" for character in text)


def runs_of(wanted: set[int]) -> Ranges:
    """Return the stretches without a gap, as first and last position."""
    firsts = sorted(each for each in wanted if each - 1 not in wanted)
    lasts = sorted(each for each in wanted if each + 1 not in wanted)
    return list(zip(firsts, lasts, strict=True))


def first_asked(run: tuple[int, int], wanted: Sequence[set[int]]) -> int:
    """Return which of the specs was the first to ask for a byte of this run."""
    return min(
        place
        for place, positions in enumerate(wanted)
        if any(run[0] <= each <= run[1] for each in positions)
    )


def precondition(
    method: str,
    conditions: Mapping[str, object],
    tag: str | None,
    modified: int | None,
) -> int:
    """Return 200, 304 or 412, by the steps of section 13.2.2.

    `conditions` maps a field's name to the list of its entity-tags, to `"*"`, or to
    the seconds of its date.
    """
    get = method in ("GET", "HEAD")
    # 1. When If-Match is present, evaluate it
    if "if-match" in conditions:
        if not any_match(conditions["if-match"], tag, strongly=True):
            return 412
    # 2. When If-Match is not present and If-Unmodified-Since is
    elif (since := conditions.get("if-unmodified-since")) is not None:
        assert isinstance(since, int)
        if modified is not None and modified > since:
            return 412
    # 3. When If-None-Match is present
    if "if-none-match" in conditions:
        if any_match(conditions["if-none-match"], tag, strongly=False):
            return 304 if get else 412
    # 4. When the method is GET or HEAD, If-None-Match is not present, and
    # If-Modified-Since is
    elif get and (since := conditions.get("if-modified-since")) is not None:
        assert isinstance(since, int)
        if modified is not None and modified <= since:
            return 304
    return 200


def any_match(listed: object, tag: str | None, *, strongly: bool) -> bool:
    """Compare entity-tags as the table in section 8.8.3.2 does."""
    if listed == "*":
        return True
    assert isinstance(listed, list)
    if strongly:
        return tag is not None and not tag.startswith("W/") and tag in listed
    return tag is not None and opaque(tag) in map(opaque, listed)


def opaque(tag: str) -> str:
    """Return the opaque-tag of an entity-tag."""
    return tag.removeprefix("W/")

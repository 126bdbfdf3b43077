"""Validators: entity tags and HTTP dates (RFC 9110 sections 5.6.7 and 8.8).

How a validator is made from a file's facts, written into a field, read back and
compared. This module knows numbers and text: no file, and no clock but the `now_ns`
it is given.

Nothing here raises over what a client sent. Every pattern has one way to match, so
that a failing match costs no more steps than the text has characters.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date
from functools import lru_cache
from typing import Final, NamedTuple

# opaque-tag = DQUOTE *etagc DQUOTE (section 8.8.3): etagc is every visible character
# but DQUOTE, so commas too, and obs-text.
_OPAQUE_TAG: Final = r'"[^"\x00-\x20\x7f]*"'
_ENTITY_TAG: Final = re.compile(rf"(W/)?({_OPAQUE_TAG})")
_LIST_ELEMENT: Final = re.compile(rf"[ \t,]*(W/)?({_OPAQUE_TAG})[ \t]*(?=,|\Z)")


class EntityTag(NamedTuple):
    """An entity-tag: its opaque-tag, quotes included, and whether it is weak."""

    opaque: str
    weak: bool = False

    @classmethod
    def parse(cls, text: str) -> EntityTag | None:
        """Return the entity-tag that `text` is, None if it is none."""
        match = _ENTITY_TAG.fullmatch(text)
        return cls(match[2], match[1] is not None) if match else None

    def strongly_equals(self, other: EntityTag) -> bool:
        """Compare as section 8.8.3.2 says: both must be strong."""
        return self.opaque == other.opaque and not (self.weak or other.weak)

    def weakly_equals(self, other: EntityTag) -> bool:
        """Compare as section 8.8.3.2 says: either may be weak."""
        return self.opaque == other.opaque


def entity_tags(field: str) -> Iterator[EntityTag]:
    """Yield the entity-tags of a list, as in If-Match and If-None-Match.

    A malformed list ends at its first fault. What stands before that was meant; what
    comes after could as well be the inside of a tag that lost a quote.
    """
    position = 0
    while match := _LIST_ELEMENT.match(field, position):
        yield EntityTag(match[2], match[1] is not None)
        position = match.end()


# Making entity tags. Numbers are hexadecimal, joined by "-"; a suffix (the content
# coding of a variant) follows ":". So no two sets of facts share a tag.


def etag_from_mtime(
    mtime_ns: int, size: int, *, suffix: str = "", weak: bool = False
) -> str:
    """Return the tag that every machine with the same file agrees on."""
    return _etag(f"{mtime_ns:x}-{size:x}", suffix, weak)


def etag_from_change(
    inode: int,
    ctime_ns: int,
    mtime_ns: int,
    size: int,
    *,
    suffix: str = "",
    weak: bool = False,
) -> str:
    """Return a tag that no two contents share, but that is this machine's own.

    Unlike mtime, nobody can set ctime back.
    """
    return _etag(f"{inode:x}-{ctime_ns:x}-{mtime_ns:x}-{size:x}", suffix, weak)


def etag_from_content(digest: str, *, suffix: str = "", weak: bool = False) -> str:
    """Return the tag of a content, from its digest in hexadecimal."""
    return _etag(digest, suffix, weak)


def _etag(opaque: str, suffix: str, weak: bool) -> str:
    return f'{"W/" if weak else ""}"{opaque}{":" if suffix else ""}{suffix}"'


# What a file's mtime is worth as a validator.

_SECOND: Final = 1_000_000_000


def is_young(mtime_ns: int, now_ns: int, grain_ns: int) -> bool:
    """Tell whether another change could still get the same mtime.

    It can within one grain of the clock that stamps files. Until that has passed a
    tag made from the mtime is weak (section 8.8.1); an mtime ahead of `now_ns` says
    nothing about the last change, and counts as young.
    """
    return now_ns - mtime_ns < grain_ns


def is_placeholder(mtime_ns: int) -> bool:
    """Tell whether an mtime is one that stands for no time: 0 or 1 second, or less.

    Reproducible builds (Nix, OSTree, Bazel) stamp every file of every version so.
    Such an mtime makes neither an entity-tag nor a date.
    """
    return mtime_ns < 2 * _SECOND


def last_modified(mtime_ns: int, now_ns: int) -> int | None:
    """Return the Last-Modified of a file in seconds, None if it has none.

    A date in the future must not be sent; the time of the response stands in for it
    (section 8.8.2.1).
    """
    return None if is_placeholder(mtime_ns) else min(mtime_ns, now_ns) // _SECOND


# HTTP-date (section 5.6.7). strftime and strptime follow the locale; HTTP does not.

_DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS: Final = (
    "Jan", "Feb", "Mar", "Apr", "May", "Jun",
    "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
)  # fmt: skip

_DAY: Final = f"(?:{'|'.join(_DAYS)})"
_LONG_DAY: Final = "(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day"
_MONTH: Final = f"(?P<month>{'|'.join(_MONTHS)})"
_TIME: Final = (  # a second of 60 is a leap second
    "(?P<hour>[01][0-9]|2[0-3]):(?P<minute>[0-5][0-9]):(?P<second>[0-5][0-9]|60)"
)
_DATE_FORMS: Final = tuple(
    re.compile(form)
    for form in (
        # IMF-fixdate; RFC 822, where it comes from, allowed one digit for the day
        rf"{_DAY}, (?P<day>[0-9]{{1,2}}) {_MONTH} (?P<year>[0-9]{{4}}) {_TIME} GMT",
        # rfc850-date
        rf"{_LONG_DAY}, (?P<day>[0-9]{{2}})-{_MONTH}-(?P<year>[0-9]{{2}}) {_TIME} GMT",
        # asctime-date
        rf"{_DAY} {_MONTH} (?P<day>[ 0-9][0-9]) {_TIME} (?P<year>[0-9]{{4}})",
    )
)

_EPOCH: Final = date(1970, 1, 1).toordinal()
_YEAR_1: Final = (date.min.toordinal() - _EPOCH) * 86400
_YEAR_9999: Final = (date.max.toordinal() + 1 - _EPOCH) * 86400 - 1


@lru_cache(maxsize=1024)
def http_date(seconds: int) -> str:
    """Return an IMF-fixdate. One outside the years 1 to 9999 is moved to their edge."""
    days, time = divmod(min(max(seconds, _YEAR_1), _YEAR_9999), 86400)
    day = date.fromordinal(_EPOCH + days)
    return (
        f"{_DAYS[day.weekday()]}, {day.day:02} {_MONTHS[day.month - 1]} {day.year:04} "
        f"{time // 3600:02}:{time // 60 % 60:02}:{time % 60:02} GMT"
    )


def parse_http_date(text: str) -> int | None:
    """Return an HTTP-date in seconds, None if it is none.

    All three forms are read. Which weekday it names is not checked.
    """
    for form in _DATE_FORMS:
        if match := form.fullmatch(text):
            return _seconds(match)
    return None


def _seconds(match: re.Match[str]) -> int | None:
    month = _MONTHS.index(match["month"]) + 1
    try:
        day = date(_year(match["year"]), month, int(match["day"]))
    except ValueError:  # the year 0, the 31st of February
        return None
    time = int(match["hour"]) * 3600 + int(match["minute"]) * 60 + int(match["second"])
    return (day.toordinal() - _EPOCH) * 86400 + time


def _year(digits: str) -> int:
    """Return a year; one of two digits lies from 1970 to 2069.

    Section 5.6.7 puts the century by a clock: no more than 50 years ahead. That agrees
    in 2019, and later but for dates 45 to 50 years ahead, which no file bears.
    """
    year = int(digits)
    if len(digits) == 4:
        return year
    return year + (1900 if year >= 70 else 2000)

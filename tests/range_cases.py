"""What 18 servers' own tests say about Range and conditional requests.

`data/range_cases.json` holds the cases as facts: the request, the file, and what the
source asserts. This module makes records of them, and a checker that does not care how
an answer was obtained. Whatever in the data it does not know raises: no case and no
assertion is passed over in silence.

Where a decision of ours differs from a source, the case is in `DECIDED_OTHERWISE`, and
our outcome is what is checked. `docs/ranges.md` shows that table to users.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

from zc_response.planning import http_date
from zc_response.planning.ranges import ByteRange

DATA: Final = Path(__file__).with_name("data") / "range_cases.json"

# What is asked of Starlette's responses alone: precompressed variants (of the others by
# tests/derived/test_beside.py), and a representation whose status or Content-Range the
# view has given.
_STARLETTES_OWN: Final = (
    "precompressed configured, no Accept-Encoding",
    "precompressed configured, variant missing",
    "precompressed gzip configured",
    "sidecar range.txt.gz",
    "app sets Content-Range: stub",
)
_MAX_PARTS: Final = {"acceptRanges: false": 0, "max_ranges 0": 0, "max_ranges 2": 2}

Fields = tuple[tuple[str, str], ...]
Expectations = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Case:
    """One request for one file, and what its source asserts about the answer.

    What a source left open (`null`) has a value here: a server has to answer with some
    size and some validators.
    """

    id: str
    source: str
    cluster: str
    level: str
    method: str
    fields: Fields
    size: int
    etag: str
    last_modified: int
    server_config: str | None
    expect: Expectations


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A response however obtained, and the whole content of the file it is about."""

    status: int
    headers: Fields
    body: bytes
    content: bytes

    def get(self, name: str) -> str | None:
        """Return a field's value. A field that should be alone must be."""
        values = [value for key, value in self.headers if key.lower() == name.lower()]
        assert len(values) < 2, f"{name} is repeated: {values}"
        return values[0] if values else None

    @property
    def is_multipart(self) -> bool:
        """Whether the content is a multipart/byteranges."""
        return (self.get("Content-Type") or "").startswith("multipart/byteranges")


# Reading the data: null and tokens become values.

ANY_SIZE: Final = 5000  # above 2000 (aiohttp-003), below 6549 (httpd-076)
STRONG: Final = '"5627-1388"'
LAST_MODIFIED: Final = 1_445_412_480  # Wed, 21 Oct 2015 07:28:00 GMT

ETAGS: Final = {None: STRONG, "strong": STRONG, "weak": f"W/{STRONG}"}
DATES: Final = {
    None: LAST_MODIFIED,
    "T": LAST_MODIFIED,
    "Mon, 28 Sep 1970 06:00:00 GMT": 23_349_600,
    "2014-06-25T17:12:18Z": 1_403_716_338,
    "2014-06-25T17:12:18.000000123Z": 1_403_716_338,
}
SECONDS: Final = {"s": 1, "m": 60}
TOKEN: Final = re.compile(r"\{([^}]*)\}")
SHIFTED: Final = re.compile(r"lm([-+][0-9]+)([sm])")


@cache
def cases() -> tuple[Case, ...]:
    """Return all cases."""
    return tuple(map(read, json.loads(DATA.read_text())["cases"]))


def cases_without_starlettes_own(*not_ours: str) -> tuple[Case, ...]:
    """Return what Flask and Django can be asked, but for the cases of these ids."""
    return tuple(
        case
        for case in cases()
        if case.server_config not in _STARLETTES_OWN
        and case.cluster != "precond-on-404"
        and case.id not in not_ours
    )


def most_parts(case: Case) -> int:
    """Return how many ranges may be served, as the source was configured."""
    return _MAX_PARTS.get(case.server_config or "", 16)


def understood(answer: Answer) -> tuple[ByteRange, ...] | None:
    """Return what a parser must have made of a Range field to lead to this answer."""
    if answer.status in (200, 416):
        return None if answer.status == 200 else ()
    found = parts(answer)
    for part in found:
        assert part.data == answer.content[part.first : part.last + 1]
    return tuple(ByteRange(part.first, part.last) for part in found)


def read(raw: Mapping[str, Any]) -> Case:
    """Return a case from the data."""
    _allow(
        raw,
        "id source_project source level request file expect cluster sources_disagree"
        " note rfc_9110 server_config",
    )
    _allow(raw["request"], "method headers")
    _allow(raw["file"], "size etag last_modified")
    _allow(raw["expect"], " ".join((*CHECKS, "parser_result")))
    file = raw["file"]
    etag = ETAGS.get(file["etag"]) or file["etag"]
    last_modified = DATES[file["last_modified"]]
    return Case(
        id=raw["id"],
        source=raw["source"],
        cluster=raw["cluster"],
        level=raw["level"],
        method=raw["request"]["method"],
        fields=tuple(
            (name, resolve(value, etag, last_modified))
            for name, value in raw["request"]["headers"]
        ),
        size=ANY_SIZE if file["size"] is None else file["size"],
        etag=etag,
        last_modified=last_modified,
        server_config=raw.get("server_config"),
        expect=raw["expect"],
    )


def _allow(record: Mapping[str, Any], keys: str) -> None:
    unknown = record.keys() - set(keys.split())
    if unknown:
        raise ValueError(f"unknown keys {sorted(unknown)} in {record}")


def resolve(value: str, etag: str, last_modified: int) -> str:
    """Return a field value as sent, without the white space around it (section 5.5)."""
    if value == "list incl. {etag}":  # a description, not a value
        value = '"another", {etag}, "a third"'
    return TOKEN.sub(lambda token: _token(token[1], etag, last_modified), value).strip()


def _token(token: str, etag: str, last_modified: int) -> str:
    plain = {
        "etag": etag,
        "etag-without-quotes": etag.strip('"'),
        "etag-without-closing-quote": etag[:-1],
        "lm": http_date(last_modified),
        "old": http_date(last_modified - 86400),
    }
    if shift := SHIFTED.fullmatch(token):
        return http_date(last_modified + int(shift[1]) * SECONDS[shift[2]])
    return plain[token]


# Checking an answer: one function for each thing that a source can assert.


def check(case: Case, answer: Answer, wanted: Expectations | None = None) -> None:
    """Hold an answer against what is expected, and against HTTP's own rules."""
    for key, value in (wanted or expected(case)).items():
        CHECKS[key](answer, value)
    check_framing(case.method, answer)


def check_framing(method: str, answer: Answer) -> None:
    """Hold an answer against rules that no source needs to state."""
    length = answer.get("Content-Length")
    if method == "HEAD" or answer.status == 304:
        assert answer.body == b""
    else:
        assert length == str(len(answer.body))
    single = answer.status == 206 and not answer.is_multipart
    has_range = answer.get("Content-Range") is not None
    assert has_range == (single or answer.status == 416)
    if answer.status == 200 and method != "HEAD":
        assert answer.body == answer.content


def check_parsed(
    case: Case,
    parsed: tuple[ByteRange, ...] | None,
    wanted: Expectations | None = None,
) -> None:
    """Hold what a parser made of the Range field against what is expected."""
    (result,) = (wanted or expected(case)).values()
    if isinstance(result, list):
        ranges = [_inside(first, last, case.size) for first, last in result]
        assert parsed == tuple(ranges)
    elif count := re.match(r"([0-9]+) ranges\b", result):
        assert parsed is not None
        assert len(parsed) == int(count[1])
    else:
        assert parsed in PARSED[result]


def _inside(first: int, last: int | None, size: int) -> ByteRange:
    """Return a range of this file: a source may count backwards, or leave it open."""
    return ByteRange(first % size, size - 1 if last is None else last)


IGNORED: Final = (None,)
UNSATISFIABLE: Final = ((),)
PARSED: Final[Mapping[str, Sequence[object]]] = {
    "ignored": IGNORED,
    "malformed": IGNORED,
    "None": IGNORED,
    "416": UNSATISFIABLE,
    "NULL (h2o then answers 416)": UNSATISFIABLE,
    "unsatisfiable": UNSATISFIABLE,
    "unsatisfiable for size 50": UNSATISFIABLE,
    "invalid-or-none": (None, ()),
}


class Part(NamedTuple):
    """A stretch of the file, as an answer gives it."""

    first: int
    last: int
    data: bytes


def parts(answer: Answer) -> list[Part]:
    """Return the stretches of a 200 or 206, whichever way they came."""
    if answer.is_multipart:
        return _multipart(answer)
    if answer.status == 200:
        return [Part(0, len(answer.content) - 1, answer.body)]
    return [_part(answer.get("Content-Range"), answer)._replace(data=answer.body)]


def _multipart(answer: Answer) -> list[Part]:
    """Take a multipart apart by its Content-Ranges alone, so that every byte counts."""
    boundary = re.search(r"boundary=(.*)", answer.get("Content-Type") or "")
    assert boundary is not None
    delimiter = f"\r\n--{boundary[1]}".encode()
    found, rest = [], answer.body
    if not rest.startswith(b"\r\n"):
        rest = b"\r\n" + rest
    while not rest.startswith(delimiter + b"--"):
        assert rest.startswith(delimiter + b"\r\n")
        header, _, rest = rest[len(delimiter) + 2 :].partition(b"\r\n\r\n")
        part = _part(_field(header.decode(), "Content-Range"), answer)
        length = part.last - part.first + 1
        found.append(part._replace(data=rest[:length]))
        rest = rest[length:]
    assert rest in (delimiter + b"--", delimiter + b"--\r\n")
    return found


def _field(header: str, name: str) -> str | None:
    lines = [line.partition(": ") for line in header.split("\r\n")]
    return {name.lower(): value for name, _, value in lines}.get(name.lower())


def _part(content_range: str | None, answer: Answer) -> Part:
    match = re.fullmatch(r"bytes ([0-9]+)-([0-9]+)/([0-9]+)", content_range or "")
    assert match, f"not a Content-Range: {content_range}"
    first, last, size = map(int, match.groups())
    assert first <= last < size == len(answer.content)
    return Part(first, last, b"")


def check_status(answer: Answer, status: int) -> None:
    assert answer.status == status


def check_status_any_of(answer: Answer, statuses: Sequence[int]) -> None:
    assert answer.status in statuses


def check_content_range(answer: Answer, value: str) -> None:
    size = len(answer.content)
    wanted = value.replace("{size}", str(size)).replace("{size-1}", str(size - 1))
    assert answer.get("Content-Range") == wanted


def check_content_length(answer: Answer, length: int) -> None:
    assert answer.get("Content-Length") == str(length)


def check_content_type_prefix(answer: Answer, prefix: str) -> None:
    assert (answer.get("Content-Type") or "").startswith(prefix)


def check_headers_present(answer: Answer, names: Sequence[str]) -> None:
    assert [name for name in names if answer.get(name) is None] == []


def check_headers_absent(answer: Answer, names: Sequence[str]) -> None:
    assert [name for name in names if answer.get(name) is not None] == []


def check_body_empty(answer: Answer, empty: bool) -> None:
    assert (answer.body == b"") == empty


def check_is_multipart(answer: Answer, multipart: bool) -> None:
    assert answer.is_multipart == multipart


def check_body_slices(answer: Answer, slices: Sequence[Sequence[int]]) -> None:
    wanted = [Part(a, b, answer.content[a : b + 1]) for a, b in slices]
    assert parts(answer) == wanted


def check_must_cover_slices(answer: Answer, slices: Sequence[Sequence[int]]) -> None:
    found = parts(answer)
    for part in found:
        assert part.data == answer.content[part.first : part.last + 1]
    for first, last in slices:
        assert any(part.first <= first and last <= part.last for part in found)


CHECKS: Final[Mapping[str, Callable[[Answer, Any], None]]] = {
    "status": check_status,
    "status_any_of": check_status_any_of,
    "content_range": check_content_range,
    "content_length": check_content_length,
    "content_type_prefix": check_content_type_prefix,
    "headers_present": check_headers_present,
    "headers_absent": check_headers_absent,
    "body_empty": check_body_empty,
    "multipart": check_is_multipart,
    "body_slices": check_body_slices,
    "must_cover_slices": check_must_cover_slices,
}

# Where we decided otherwise.

Outcome = Mapping[str, Expectations]
"""What we answer, by the level of the case."""


class Decision(NamedTuple):
    """A rule of ours, where RFC 9110 has it from, and the cases that differ."""

    rule: str
    section: str
    reason: str
    outcomes: Mapping[str, Outcome]
    """Ids of cases, separated by blanks, and what we answer them with."""


def partial(*slices: Sequence[int]) -> Outcome:
    """Return the outcome of ranges that are served."""
    http = {"status": 206, "body_slices": slices, "multipart": len(slices) > 1}
    return {"http": http, "parser": {"parser_result": list(slices)}}


WHOLE: Final[Outcome] = {
    "http": {"status": 200, "headers_absent": ["Content-Range"]},
    "parser": {"parser_result": "ignored"},
}
REFUSED: Final[Outcome] = {
    "http": {"status": 412, "content_length": 0, "headers_absent": ["ETag"]}
}
NOT_MODIFIED: Final[Outcome] = {
    "http": {
        "status": 304,
        "headers_present": ["ETag"],
        "headers_absent": ["Last-Modified", "Content-Length"],
    }
}

DECIDED_OTHERWISE: Final = (
    Decision(
        rule="A malformed Range is ignored.",
        section="14.2",
        reason="Ignore or reject, it says: every client understands the whole file.",
        outcomes={
            "nginx-008 nginx-009 nginx-011 go-024 go-025 go-026 go-029 lighttpd-007"
            " lighttpd-008 h2o-013 starlette-012 werkzeug-005 aiohttp-011 aiohttp-012"
            " tornado-010 towerhttp-005 actix-004 varnish-007 sws-011 sws-022": WHOLE
        },
    ),
    Decision(
        rule="A range that ends before it begins is malformed.",
        section="14.1.1",
        reason="It is invalid, not out of reach.",
        outcomes={
            "h2o-008 starlette-013 aiohttp-009 aiohttp-010 tornado-011 sws-021": WHOLE
        },
    ),
    Decision(
        rule="One malformed range spoils the set.",
        section="14.1.1",
        reason="Part of a wrong list is not what was asked for.",
        outcomes={
            "h2o-011 h2o-015 h2o-016 h2o-030 starlette-016 rangeparser-020"
            " rangeparser-026 rangeparser-027": WHOLE
        },
    ),
    Decision(
        rule="White space inside a range, or before the `=`, is malformed.",
        section="14.1.1",
        reason="The grammar has none.",
        outcomes={"go-107 varnish-003 varnish-004 varnish-005": WHOLE},
    ),
    Decision(
        rule="White space around the elements of the list is not.",
        section="5.6.1.2",
        reason="Nor before the first: section 14.1.2 has an example.",
        outcomes={"h2o-022": partial([1, 3])},
    ),
    Decision(
        rule="A unit other than `bytes`, or none, is ignored.",
        section="14.2",
        reason="It must be.",
        outcomes={"h2o-014 h2o-032 starlette-011 aiohttp-008 actix-003": WHOLE},
    ),
    Decision(
        rule="Range is ignored with HEAD.",
        section="14.2",
        reason="It must be, with any method but GET.",
        outcomes={
            "go-045 go-049 go-057 starlette-003 starlette-007 starlette-009"
            " starlette-010": WHOLE
        },
    ),
    Decision(
        rule="Ranges that overlap or touch become one.",
        section="15.3.7.2",
        reason="No byte goes twice, and no part header for nothing.",
        outcomes={
            "nginx-006 nginx-016": partial([0, 19], [990, 999]),
            "go-096": partial([7, 10]),
            "go-106": partial([500, 999]),
            "h2o-006": partial([80, 99]),
            "h2o-024": partial([1, 99]),
            "rangeparser-028": partial([40, 90], [999, 999]),
        },
    ),
    Decision(
        rule="Several ranges are answered with all of them, in a multipart.",
        section="15.3.7.2",
        reason="They are satisfiable. Content-Range stands in the parts only.",
        outcomes={
            "send-011": partial([1, 1], [3, 8]),
            "towerhttp-006": partial([0, 0], [2, 2]),
            "towerhttp-007": partial([0, 3]),
            "sws-018": partial([0, 9], [50, 59]),
            "starlette_old-001": partial([0, 100], [200, 300]),
        },
    ),
    Decision(
        rule="Ranges out of reach are dropped from a set that has others.",
        section="14.1.1",
        reason="A set is satisfiable if one range is.",
        outcomes={"go-094": partial([0, 5])},
    ),
    Decision(
        rule="A suffix longer than the file is the whole file.",
        section="14.1.2",
        reason="The entire representation is used.",
        outcomes={"webob-001": partial([0, 49])},
    ),
    Decision(
        rule="An empty file has no ranges.",
        section="14.4",
        reason="No valid Content-Range could name one; a 200 has all there is.",
        outcomes={"towerhttp-001 sws-013 sws-014": WHOLE},
    ),
    Decision(
        rule="The length is always known.",
        section="14.1.2",
        reason="The source has a stream; we have a file.",
        outcomes={"werkzeug-006": partial([0, 10])},
    ),
    Decision(
        rule="If-Range with a date holds for that very date.",
        section="13.1.5",
        reason="An exact match: a later date is that of another state of the file.",
        outcomes={"h2o-045 aiohttp-017": WHOLE},
    ),
    Decision(
        rule="If-Range with a weak entity-tag never holds.",
        section="13.1.5",
        reason="A strong comparison: the parts have to fit byte by byte.",
        outcomes={"send-013": WHOLE},
    ),
    Decision(
        rule="If-Match with a weak entity-tag never holds.",
        section="13.1.1",
        reason="A strong comparison.",
        outcomes={"send-021": REFUSED},
    ),
    Decision(
        rule="A 304 with an ETag has no Last-Modified.",
        section="15.4.5",
        reason="Metadata that guides no cache should not be sent.",
        outcomes={"aiohttp-023 aiohttp-031": NOT_MODIFIED},
    ),
    Decision(
        rule="A 412 is empty.",
        section="15.5.13",
        reason="It needs no page; an application may put one around it.",
        outcomes={"werkzeug-008": REFUSED},
    ),
)

OURS: Final[Mapping[str, Outcome]] = {
    case: outcome
    for decision in DECIDED_OTHERWISE
    for cases, outcome in decision.outcomes.items()
    for case in cases.split()
}


def expected(case: Case) -> Expectations:
    """Return what is expected of us: what the source asserts, or what we decided."""
    return OURS[case.id][case.level] if case.id in OURS else case.expect


def differences() -> str:
    """Return the decisions as the table in docs/ranges.md."""
    rows = [
        f"| {decision.rule} | {decision.section} | {decision.reason} |"
        f" {', '.join(' '.join(decision.outcomes).split())} |\n"
        for decision in DECIDED_OTHERWISE
    ]
    return (
        "| We decided | RFC 9110 | Why | Cases that differ |\n|---|---|---|---|\n"
    ) + "".join(rows)

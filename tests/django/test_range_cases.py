"""The 528 cases of tests/range_cases.py, asked of `FileResponse`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pytest
from django.test import RequestFactory

from tests import range_cases
from tests.range_cases import Answer, Case
from zc_response import Policy
from zc_response.integrations.django import FileResponse
from zc_response.planning.ranges import ByteRange

# What the server settles: the date.
NOT_OURS: Final = {"rfc-023"}
# What Starlette's response has and Django's has not: precompressed variants, and a
# representation whose status or Content-Range the view has given.
ELSEWHERE: Final = (
    "precompressed configured, no Accept-Encoding",
    "precompressed configured, variant missing",
    "precompressed gzip configured",
    "sidecar range.txt.gz",
    "app sets Content-Range: stub",
)
CASES: Final = [
    case
    for case in range_cases.cases()
    if case.server_config not in ELSEWHERE
    and case.cluster != "precond-on-404"
    and case.id not in NOT_OURS
]
CONTENT: Final = bytes(i * 7 % 251 for i in range(max(case.size for case in CASES)))
PARTS: Final = {"acceptRanges: false": 0, "max_ranges 0": 0, "max_ranges 2": 2}


def response(case: Case, path: Path) -> Any:
    """The case's file, with its size and validators, as the source was configured."""
    path.write_bytes(CONTENT[: case.size])
    unvalidated = case.server_config == "mtime = 0 or 1"
    mtime = 0 if unvalidated else case.last_modified
    os.utime(path, (mtime, mtime))
    parts = 1000 if case.level == "parser" else PARTS.get(case.server_config or "", 16)
    kind = type("Configured", (FileResponse,), {"policy": Policy(max_parts=parts)})
    made: Any = kind(path.open("rb"), content_type="text/plain")
    del made["Content-Disposition"]
    made["Content-Language"] = "en"
    made["Content-Location"] = "/file.txt"
    if not unvalidated:
        made["ETag"] = case.etag
    return made


def understood(answer: Answer) -> tuple[ByteRange, ...] | None:
    """What a parser must have made of a Range field to lead to this answer."""
    if answer.status in (200, 416):
        return None if answer.status == 200 else ()
    found = range_cases.parts(answer)
    for part in found:
        assert part.data == answer.content[part.first : part.last + 1]
    return tuple(ByteRange(part.first, part.last) for part in found)


def joined(case: Case) -> dict[str, str]:
    """The request's header fields, repeated ones as servers join them."""
    fields: dict[str, str] = {}
    pairs = case.fields.items() if isinstance(case.fields, Mapping) else case.fields
    for name, value in pairs:
        fields[name] = f"{fields[name]}, {value}" if name in fields else value
    return fields


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_case(case: Case, tmp_path: Path) -> None:
    asked = RequestFactory().generic(case.method, "/", headers=joined(case))
    made = response(case, tmp_path / "file.txt")
    made.answer(asked)
    answer = Answer(
        status=made.status_code,
        headers=tuple(made.items()),
        body=made.getvalue(),
        content=CONTENT[: case.size],
    )
    made.close()

    if case.level == "parser":
        range_cases.check_parsed(case, understood(answer))
    else:
        range_cases.check(case, answer)

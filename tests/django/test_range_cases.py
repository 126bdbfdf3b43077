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

# What the server settles: the date.
NOT_OURS: Final = {"rfc-023"}
CASES: Final = range_cases.cases_without_starlettes_own(*NOT_OURS)
CONTENT: Final = bytes(i * 7 % 251 for i in range(max(case.size for case in CASES)))


def response(case: Case, path: Path) -> Any:
    """The case's file, with its size and validators, as the source was configured."""
    path.write_bytes(CONTENT[: case.size])
    unvalidated = case.server_config == "mtime = 0 or 1"
    mtime = 0 if unvalidated else case.last_modified
    os.utime(path, (mtime, mtime))
    parts = 1000 if case.level == "parser" else range_cases.most_parts(case)
    kind = type("Configured", (FileResponse,), {"policy": Policy(max_parts=parts)})
    made: Any = kind(path.open("rb"), content_type="text/plain")
    del made["Content-Disposition"]
    made["Content-Language"] = "en"
    made["Content-Location"] = "/file.txt"
    if not unvalidated:
        made["ETag"] = case.etag
    return made


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
        range_cases.check_parsed(case, range_cases.understood(answer))
    else:
        range_cases.check(case, answer)

"""The 528 cases of tests/range_cases.py, asked of `send_file`."""

from __future__ import annotations

import os
from typing import Final

import pytest
from flask import Flask, Response

from tests import range_cases
from tests.flask.conftest import Reading
from tests.range_cases import Answer, Case
from zc_response import Policy
from zc_response.integrations.flask import ZeroCopy, send_file

# What the test client and Flask's own pages settle: no Date, and a 416 has a page.
NOT_OURS: Final = {"rfc-023", "varnish-009"}
CASES: Final = {
    case.id: case for case in range_cases.cases_without_starlettes_own(*NOT_OURS)
}
CONTENT: Final = bytes(i * 7 % 251 for i in range(max(c.size for c in CASES.values())))


@pytest.fixture(scope="module")
def clients(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Reading]:
    """A client for each number of parts that are allowed."""
    directory = tmp_path_factory.mktemp("cases")

    def view(name: str) -> Response:
        case = CASES[name]
        path = directory / f"{case.id}.txt"
        path.write_bytes(CONTENT[: case.size])
        unvalidated = case.server_config == "mtime = 0 or 1"
        mtime = 0 if unvalidated else case.last_modified
        os.utime(path, (mtime, mtime))
        response = send_file(path, etag=not unvalidated and tag(case))
        response.headers["Content-Language"] = "en"
        response.headers["Content-Location"] = "/file.txt"
        return response

    def client(parts: int) -> Reading:
        app = Flask(__name__)
        ZeroCopy(app, Policy(max_parts=parts))
        methods = ["GET", "HEAD", "POST", "PUT"]
        app.add_url_rule("/<name>", view_func=view, methods=methods)
        return Reading(app)

    return {parts: client(parts) for parts in (0, 2, 16, 1000)}


def tag(case: Case) -> str:
    return case.etag.strip('"')


@pytest.mark.parametrize(
    "case",
    [case for case in CASES.values() if not case.etag.startswith("W/")],
    ids=lambda case: case.id,
)
def test_case(case: Case, clients: dict[int, Reading]) -> None:
    parts = range_cases.most_parts(case)
    client = clients[1000 if case.level == "parser" else parts]
    response = client.open(f"/{case.id}", method=case.method, headers=case.fields)
    answer = Answer(
        status=response.status_code,
        headers=tuple(response.headers.items()),
        body=response.data,
        content=CONTENT[: case.size],
    )

    if case.level == "parser":
        range_cases.check_parsed(case, range_cases.understood(answer))
    else:
        range_cases.check(case, answer)

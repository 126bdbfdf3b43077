"""The 528 cases of tests/range_cases.py, asked of a live server.

The parser's cases too: which ranges were understood can be told from the response.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests import range_cases
from tests.live import HOOKED, Client, serve
from tests.range_cases import Answer, Case
from zc_response import Policy
from zc_response.integrations.starlette import FileResponse

CASES: Final = {case.id: case for case in range_cases.cases()}
CONTENT: Final = bytes(i * 7 % 251 for i in range(max(c.size for c in CASES.values())))

BASE: Final = {"content-language": "en", "content-location": "/file.txt"}


class Response16(FileResponse):
    """The response as users have it."""


class ResponseWithMany(FileResponse):
    """For what a parser understood when it was asked for very many ranges."""

    policy = Policy(max_parts=1000)


class ResponseWith2(FileResponse):
    policy = Policy(max_parts=2)


class ResponseWithout(FileResponse):
    policy = Policy(max_parts=0)


class ResponseWithVariants(FileResponse):
    policy = Policy(precompressed="always")


RESPONSES: Final[Mapping[str | None, type[FileResponse]]] = {
    "acceptRanges: false": ResponseWithout,
    "max_ranges 0": ResponseWithout,
    "max_ranges 2": ResponseWith2,
    "precompressed configured, no Accept-Encoding": ResponseWithVariants,
    "precompressed configured, variant missing": ResponseWithVariants,
    "precompressed gzip configured": ResponseWithVariants,
    "sidecar range.txt.gz": ResponseWithVariants,
}


def response(case: Case, directory: Path) -> Response:
    """The case's file, with its size and validators, configured as the source was."""
    path = directory / f"{case.id}.txt"
    path.write_bytes(CONTENT[: case.size])
    headers = dict(BASE, etag=case.etag)
    mtime = case.last_modified
    if case.server_config == "mtime = 0 or 1":
        mtime = 0
        del headers["etag"]
    if case.server_config == "app sets Content-Range: stub":
        headers["content-range"] = "stub"
    kind = RESPONSES.get(case.server_config, Response16)
    if case.level == "parser":
        kind = ResponseWithMany
    if kind is ResponseWithVariants:
        path.with_name(path.name + ".gz").write_bytes(CONTENT[: case.size])
    for each in directory.glob(f"{path.name}*"):
        os.utime(each, (mtime, mtime))
    status = 404 if case.cluster == "precond-on-404" else 200
    return kind(path, status, headers, media_type="text/plain")


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    directory = tmp_path_factory.mktemp("cases")

    async def view(request: Request) -> Response:
        return response(CASES[request.path_params["case"]], directory)

    methods = ["GET", "HEAD", "POST", "PUT"]
    app = Starlette(routes=[Route("/{case}", view, methods=methods)])
    with serve(app, http=HOOKED["httptools"]) as server, server.client() as client:
        client.get(f"/{next(iter(CASES))}")  # the connection is the fixture's
        yield client


def ask(case: Case, client: Client) -> Answer:
    answer = client.send(f"/{case.id}", case.fields, method=case.method).receive()
    assert answer.reusable
    return Answer(
        status=answer.status,
        headers=tuple(answer.fields),
        body=answer.body,
        content=CONTENT[: case.size],
    )


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_case(case: Case, client: Client) -> None:
    answer = ask(case, client)

    if case.level == "parser":
        range_cases.check_parsed(case, range_cases.understood(answer))
    else:
        range_cases.check(case, answer)

"""Whatever a client sends in its header fields, the answer is framed and sensible."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Route

from tests.live import HOOKED, Client, serve
from zc_response.integrations.starlette import FileResponse

CONTENT = bytes(range(256)) * 20

# h11 refuses to send anything else, and so does every proxy.
values = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=60)
numbers = st.integers(0, 6000) | st.integers(0, 10**30)
specs = st.one_of(
    st.builds("{}-{}".format, numbers, numbers),
    st.builds("{}-".format, numbers),
    st.builds("-{}".format, numbers),
    values,
)
ranges = st.builds("bytes={}".format, st.lists(specs, max_size=30).map(",".join))
tags = st.sampled_from(['"mine"', 'W/"mine"', '"other"', "*", '"a,b", "mine"', '"'])
fields = st.fixed_dictionaries(
    {},
    optional={
        "range": ranges | values,
        "if-range": tags | values,
        "if-match": tags | values,
        "if-none-match": tags | values,
        "if-modified-since": values,
        "if-unmodified-since": values,
        "accept-encoding": values,
    },
)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    path: Path = tmp_path_factory.mktemp("fuzz") / "file"
    path.write_bytes(CONTENT)

    async def view(_request: Request) -> FileResponse:
        return FileResponse(path, headers={"etag": '"mine"'})

    app = Starlette(routes=[Route("/", view, methods=["GET", "HEAD"])])
    with serve(app, http=HOOKED["httptools"]) as server, server.client() as client:
        client.get()  # the connection is the fixture's
        yield client


@given(headers=fields, method=st.sampled_from(["GET", "HEAD"]))
@settings(
    max_examples=1500,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_any_header_gets_an_answer_on_the_same_connection(
    client: Client, headers: dict[str, str], method: str
) -> None:
    answer = client.send("/", headers, method=method).receive()

    assert answer.status in (200, 206, 304, 412, 416)
    assert answer.complete
    assert answer.reusable
    if method == "HEAD":
        assert answer.body == b""
        assert answer.status not in (206, 416)
    elif answer.status == 200:
        assert answer.body == CONTENT
    elif answer.status == 206 and "content-range" in answer.headers:
        span = answer.headers["content-range"].removeprefix("bytes ").partition("/")[0]
        first, last = map(int, span.split("-"))
        assert answer.body == CONTENT[first : last + 1]

"""`FileResponse`: Django's own as far as a view can tell, and ranges besides."""

from __future__ import annotations

import asyncio
import gzip
import inspect
import io
import os
import tempfile
from pathlib import Path
from typing import Any

import django.http
import pytest
from asgiref.sync import ThreadSensitiveContext
from django.http import HttpRequest
from django.test import AsyncClient, RequestFactory, SimpleTestCase

from tests.django.conftest import CONTENT, DATE, Get
from tests.range_cases import Answer, parts
from zc_response import MemoryFile, Policy
from zc_response.integrations.django import FileResponse

OURS_ALONE = {"ETag", "Last-Modified", "Accept-Ranges"}


def answer_to(request: HttpRequest, response: Any) -> Any:
    """What Django does when the view has returned."""
    assert request is not None
    assert not hasattr(response, "render")
    return response


def get(response: Any, **headers: str) -> Any:
    """The response as the answer to a GET request."""
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return answer_to(RequestFactory().get("/", headers=fields), response)


# As Django's -------------------------------------------------------------------------


def test_the_signature_is_djangos() -> None:
    """What we have beside theirs comes by keyword only."""

    def described(function: Any) -> list[tuple[Any, ...]]:
        found = inspect.signature(function).parameters.values()
        return [(p.name, p.kind, p.default) for p in found if p.name != "snapshot"]

    stock, ours = django.http.FileResponse.__init__, FileResponse.__init__
    assert described(ours) == described(stock)
    snapshot = inspect.signature(ours).parameters["snapshot"]
    assert snapshot.kind is inspect.Parameter.KEYWORD_ONLY
    assert issubclass(FileResponse, django.http.FileResponse)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"as_attachment": True},
        {"as_attachment": True, "filename": "naïve 文件.txt"},
        {"filename": 'a "quoted" name.html'},
        {"filename": "film.tar.gz"},
        {"content_type": "x/y"},
        {"headers": {"Content-Type": "x/y", "X-Own": "value"}},
        {"status": 201, "reason": "Made"},
    ],
    ids=str,
)
def test_the_header_fields_are_djangos(file: Path, options: dict[str, Any]) -> None:
    theirs = django.http.FileResponse(file.open("rb"), **options)
    ours = get(FileResponse(file.open("rb"), **options))

    kept = {name: ours[name] for name in ours.headers if name not in OURS_ALONE}
    assert kept == dict(theirs.headers)
    assert (ours.status_code, ours.reason_phrase) == (
        theirs.status_code,
        theirs.reason_phrase,
    )
    assert ours.getvalue() == theirs.getvalue() == CONTENT
    ours.close()
    theirs.close()


def test_until_it_is_answered_it_is_as_django_made_it(file: Path) -> None:
    """In a unit test of a view, or when a view looks at it."""
    opened = file.open("rb")
    response = FileResponse(opened)

    assert response.file_to_stream is opened
    assert b"".join(response.streaming_content) == CONTENT
    response.close()
    assert opened.closed


def test_a_view_may_replace_the_content(file: Path) -> None:
    response = FileResponse(file.open("rb"))
    response.streaming_content = [b"other"]

    assert get(response, range="bytes=0-1").status_code == 200
    assert response.file_to_stream is None
    assert response.getvalue() == b"other"
    response.close()


def test_content_that_was_replaced_is_not_taken_for_the_file(get: Get) -> None:
    """By the test client, to close it: and whoever does so in between."""
    assert get(range="bytes=0-9").file_to_stream is None


def test_closing_twice_closes_nothing_of_others(file: Path) -> None:
    opened = file.open("rb")
    response = get(FileResponse(opened), range="bytes=1-2")
    again = get(FileResponse(file.open("rb")), range="bytes=1-2")

    response.close()
    response.close()

    assert opened.closed
    assert again.getvalue() == CONTENT[1:3]  # of the share that is its own
    again.close()


def test_a_response_that_is_dropped_closes_its_file(file: Path) -> None:
    opened = file.open("rb")
    response = get(FileResponse(opened), range="bytes=0-9")
    del response

    assert opened.closed


@pytest.mark.parametrize(
    "headers", [{"if_none_match": "*"}, {"range": "bytes=9999999-"}]
)
def test_a_file_that_is_not_sent_is_closed_at_once(
    file: Path, headers: dict[str, str]
) -> None:
    opened = file.open("rb")
    response = get(FileResponse(opened), **headers)

    assert opened.closed
    assert response.getvalue() == b""
    response.close()


def test_assert_contains_works(get: Get, file: Path) -> None:
    file.write_bytes(b"a text with words")
    answer = get()

    answer.streaming_content = [answer.body]
    SimpleTestCase().assertContains(answer, "with words")


async def ask(client: AsyncClient, target: str, **headers: str) -> tuple[Any, bytes]:
    async with ThreadSensitiveContext():
        answer = await client.get(target, headers=headers)
        return answer, b"".join(answer.streaming_content)


@pytest.mark.parametrize("view", ["ours", "ours_async", "served"])
def test_the_async_client_gets_it_as_it_gets_djangos(
    async_client: AsyncClient, file: Path, view: str
) -> None:
    whole, content = asyncio.run(ask(async_client, f"/{view}/{file.name}"))
    part, middle = asyncio.run(
        ask(async_client, f"/{view}/{file.name}", range="bytes=10-19")
    )

    assert (whole.status_code, content) == (200, CONTENT)
    assert (part.status_code, middle) == (206, CONTENT[10:20])
    assert not whole.is_async


# Ranges and preconditions ------------------------------------------------------------


def test_a_range_is_answered(get: Get) -> None:
    answer = get(range="bytes=1000-1999")

    assert (answer.status_code, answer.reason_phrase) == (206, "Partial Content")
    assert answer.body == CONTENT[1000:2000]
    assert answer["Content-Range"] == f"bytes 1000-1999/{len(CONTENT)}"
    assert answer["Content-Length"] == "1000"


def test_several_ranges_are_answered(get: Get) -> None:
    answer = get(range="bytes=0-9,500-509,-10")
    found = parts(
        Answer(
            status=206,
            headers=tuple(answer.headers.items()),
            body=answer.body,
            content=CONTENT,
        )
    )

    assert [part.data for part in found] == [
        CONTENT[:10],
        CONTENT[500:510],
        CONTENT[-10:],
    ]


def test_what_cannot_be_satisfied_is_416(get: Get) -> None:
    answer = get(range=f"bytes={len(CONTENT)}-")

    assert (answer.status_code, answer.body) == (416, b"")
    assert answer["Content-Range"] == f"bytes */{len(CONTENT)}"


def test_the_validators_make_304_and_412(get: Get) -> None:
    whole = get()

    assert whole["Last-Modified"] == DATE
    assert get(if_none_match=whole["ETag"]).status_code == 304
    assert get(if_modified_since=DATE).status_code == 304
    assert get(if_match='"other"').status_code == 412
    assert get(range="bytes=0-9", if_range='"other"').status_code == 200
    assert get(range="bytes=0-9", if_range=whole["ETag"]).status_code == 206


def test_head_has_the_header_fields_of_get(get: Get) -> None:
    whole, head = get(), get(method="head")

    assert (head.status_code, head.body) == (200, b"")
    assert dict(head.headers) == dict(whole.headers)


def test_post_has_the_whole_file(get: Get) -> None:
    answer = get(method="post", range="bytes=0-9")
    assert (answer.status_code, answer.body) == (200, CONTENT)


def test_the_etag_of_the_view_counts(file: Path) -> None:
    def made() -> FileResponse:
        response = FileResponse(file.open("rb"))
        response["ETag"] = '"mine"'
        return response

    assert get(made(), if_none_match='"mine"').status_code == 304


@pytest.mark.parametrize(
    ("field", "value", "status"),
    [
        ("Content-Length", "100", 200),
        ("Content-Range", "bytes 0-9/100", 200),
        ("X-Own", "value", 206),
    ],
)
def test_what_the_view_has_framed_itself_stays(
    file: Path, field: str, value: str, status: int
) -> None:
    response = FileResponse(file.open("rb"))
    response[field] = value

    assert get(response, range="bytes=0-9").status_code == status
    assert response[field] == value
    response.close()


def test_another_status_is_sent_whole(file: Path) -> None:
    response = get(FileResponse(file.open("rb"), status=404), range="bytes=0-9")

    assert (response.status_code, response.getvalue()) == (404, CONTENT)
    response.close()


def test_a_subclass_may_have_a_policy(file: Path) -> None:
    class Without(FileResponse):
        policy = Policy(max_parts=0)

    response = get(Without(file.open("rb")), range="bytes=0-9")
    assert response.status_code == 200
    response.close()


def test_a_file_that_was_replaced_is_the_one_that_was_opened(file: Path) -> None:
    opened = file.open("rb")
    other = file.with_name("other")
    other.write_bytes(b"new")
    os.replace(other, file)

    response = get(FileResponse(opened), range="bytes=0-9")

    assert response["Content-Range"] == f"bytes 0-9/{len(CONTENT)}"
    assert response.getvalue() == CONTENT[:10]
    response.close()


# Files of other kinds ----------------------------------------------------------------


def test_a_file_that_does_not_stand_at_its_beginning_is_sent_from_there(
    file: Path,
) -> None:
    opened = file.open("rb")
    opened.seek(1000)
    response = get(FileResponse(opened), range="bytes=0-9")

    assert (response.status_code, response.getvalue()) == (200, CONTENT[1000:])
    assert response["Content-Length"] == str(len(CONTENT) - 1000)
    response.close()


def test_what_was_written_to_it_is_sent() -> None:
    with tempfile.NamedTemporaryFile() as written:
        written.write(b"0123456789")
        written.seek(0)
        written.file.seek(0)
        response = get(FileResponse(written), range="bytes=5-")

        assert (response.status_code, response.getvalue()) == (206, b"56789")
        response.close()


def test_a_stored_file_is_a_file(get: Get, file: Path) -> None:
    answer = get("stored", range="bytes=0-9")

    assert (answer.status_code, answer.body) == (206, CONTENT[:10])
    disposition = f'attachment; filename="{file.name}"'
    assert get("stored")["Content-Disposition"] == disposition


def test_what_is_in_memory_is_read(get: Get) -> None:
    answer = get("memory", range="bytes=0-9")
    assert (answer.status_code, answer.body) == (200, CONTENT)


def test_a_descriptor_of_other_bytes_is_never_sent(get: Get, file: Path) -> None:
    """What a storage gives that unpacks, or reads from far away."""
    packed = gzip.compress(b"unpacked")
    file.write_bytes(packed)
    answer = get("unzipped", range="bytes=0-3")

    assert (answer.status_code, answer.body) == (200, b"unpacked")


def test_an_iterator_is_no_file() -> None:
    response = get(FileResponse(iter([b"a", b"b"])), range="bytes=0-0")

    assert (response.status_code, response.getvalue()) == (200, b"ab")
    response.close()


def test_under_asgi_it_is_read_piece_by_piece(file: Path) -> None:
    """By Django's own handler, which would else read it to its end first."""

    async def read(response: Any) -> list[int]:
        async with ThreadSensitiveContext():
            return [len(part) async for part in response]

    for content in (file.open("rb"), io.BytesIO(CONTENT)):
        response = FileResponse(content)
        response.block_size = 65536
        assert asyncio.run(read(response)) == [65536] * 16
        response.close()


# What is not the file itself ----------------------------------------------------------


def test_a_memory_file_is_sent_and_stays_the_callers() -> None:
    with MemoryFile(CONTENT, name="report.pdf", coding="br") as memory:
        for _ in range(2):
            whole = get(FileResponse(memory))
            assert whole.getvalue() == CONTENT
            assert whole["Content-Type"] == "application/pdf"
            assert whole["Content-Encoding"] == "br"
            assert whole["Content-Disposition"] == 'inline; filename="report.pdf"'
            whole.close()
        part = get(FileResponse(memory), range="bytes=7-9")
        assert (part.status_code, part.getvalue()) == (206, CONTENT[7:10])
        part.close()
        known = get(FileResponse(memory), if_none_match=memory.etag)
        assert known.status_code == 304
        known.close()
        assert not memory.closed


def test_what_the_view_says_of_a_memory_file_counts() -> None:
    with MemoryFile(CONTENT, "text/plain") as memory:
        answer = get(FileResponse(memory, content_type="x/y", filename="a.bin"))
        assert answer["Content-Type"] == "x/y"
        assert answer["Content-Disposition"] == 'inline; filename="a.bin"'
        answer.close()


def overwrite(file: Path) -> None:
    with file.open("r+b") as writer:
        writer.write(CONTENT[::-1])


def test_a_snapshot_is_the_file_as_it_was(file: Path) -> None:
    """Its name and its validators are the file's, which need not stay open."""
    plain = get(FileResponse(file.open("rb")))
    opened = file.open("rb")
    answer = get(FileResponse(opened, snapshot=True))
    overwrite(file)

    assert opened.closed
    assert answer.getvalue() == CONTENT
    names = ("ETag", "Last-Modified", "Content-Disposition", "Content-Type")
    assert [answer[name] for name in names] == [plain[name] for name in names]
    answer.close()
    plain.close()


class WithoutRoom(FileResponse):
    policy = Policy(snapshot_bytes=10)


def test_where_there_is_no_room_for_it_the_answer_is_503(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    opened = file.open("rb")
    answer = get(WithoutRoom(opened, snapshot=True))

    assert opened.closed
    assert (answer.status_code, answer["Retry-After"]) == (503, "1")
    assert answer.getvalue() == b""
    assert "no room" in caplog.text


def test_there_is_no_snapshot_of_what_is_no_file() -> None:
    with pytest.raises(ValueError, match="no snapshot"):
        FileResponse(io.BytesIO(CONTENT), snapshot=True)

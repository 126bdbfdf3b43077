"""`ZeroCopyMiddleware`: the same for what any view returns."""

from __future__ import annotations

import asyncio
import gzip
from pathlib import Path
from typing import Any

import django.http
import django_downloadview
import pytest
import rest_framework.views
from asgiref.sync import ThreadSensitiveContext, iscoroutinefunction
from django.http import HttpResponse, StreamingHttpResponse
from django.test import AsyncClient, RequestFactory, override_settings

from tests.django.conftest import CONTENT, Get
from tests.django.project import OURS
from zc_response import Policy
from zc_response.integrations.django import FileResponse, ZeroCopyMiddleware
from zc_response.threads import close_all


def ask(view: Any, **headers: str) -> Any:
    """What the middleware makes of the answer of a view."""
    request = RequestFactory().get("/", headers=headers)
    return ZeroCopyMiddleware(lambda _: view(request))(request)


@pytest.mark.parametrize("view", ["stock", "lines", "stored", "ours", "served"])
def test_a_view_that_knows_nothing_of_it_answers_ranges(get: Get, view: str) -> None:
    part, whole = get(view, OURS, range="bytes=10-19"), get(view, OURS)

    assert (part.status_code, part.body) == (206, CONTENT[10:20])
    assert (whole.status_code, whole.body) == (200, CONTENT)
    assert get(view, OURS, if_none_match=whole["ETag"]).status_code == 304


def test_without_it_stock_is_stock(get: Get) -> None:
    assert get("stock", range="bytes=10-19").status_code == 200


def test_a_stock_response_becomes_one_of_ours(file: Path) -> None:
    response = django.http.FileResponse(file.open("rb"))
    assert ask(lambda _: response) is response
    assert type(response) is FileResponse
    response.close()


def test_a_stock_response_is_compressed_if_that_is_wanted(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = b"a page\n" * 1000
    (root / "page.html").write_bytes(page)
    monkeypatch.setattr(FileResponse, "policy", Policy(compress_bytes=1 << 20))

    def get() -> Any:
        view = (root / "page.html").open("rb")
        answer = ask(lambda _: django.http.FileResponse(view), accept_encoding="gzip")
        answer.body = answer.getvalue()
        answer.close()
        return answer

    first = get()
    close_all()  # what is under way has been made
    second = get()

    assert (first.body, first["Vary"]) == (page, "Accept-Encoding")
    assert second["Content-Encoding"] == "gzip"
    assert gzip.decompress(second.body) == page


def test_a_subclass_remains_what_it_was(file: Path) -> None:
    class Own(django.http.FileResponse):  # type: ignore[misc]
        """Somebody's own."""

    response = ask(lambda _: Own(file.open("rb")), range="bytes=0-9")

    assert isinstance(response, Own)
    assert (type(response).__name__, response.status_code) == ("Own", 206)
    response.close()


def test_downloadview_is_one_of_these_views(file: Path) -> None:
    class View(django_downloadview.PathDownloadView):  # type: ignore[misc]
        path = str(file)
        attachment = True

    response = ask(View.as_view(), range="bytes=1000-1999")

    assert (response.status_code, response.getvalue()) == (206, CONTENT[1000:2000])
    assert response["Content-Disposition"] == f'attachment; filename="{file.name}"'
    response.close()


def test_rest_framework_is_one_of_these_views(file: Path) -> None:
    class View(rest_framework.views.APIView):  # type: ignore[misc]
        authentication_classes = ()
        permission_classes = ()

        def get(self, request: Any) -> Any:
            return django.http.FileResponse(file.open("rb"))

    response = ask(View.as_view(), range="bytes=0-9")

    assert (response.status_code, response.getvalue()) == (206, CONTENT[:10])
    response.close()


@pytest.mark.parametrize(
    "made",
    [
        lambda: HttpResponse(b"content"),
        lambda: StreamingHttpResponse([b"con", b"tent"]),
        lambda: django.http.FileResponse(iter([b"content"])),
    ],
)
def test_what_is_no_file_is_left_alone(made: Any) -> None:
    response = made()
    kind = type(response)

    assert ask(lambda _: response, range="bytes=0-1") is response
    assert (type(response), response.status_code) == (kind, 200)
    assert b"".join(response) == b"content"


def test_a_file_that_was_begun_is_left_alone(file: Path) -> None:
    response = StreamingHttpResponse(django.core.files.File(file.open("rb")))
    begun = next(response.streaming_content)

    assert ask(lambda _: response, range="bytes=0-1").status_code == 200
    assert begun + b"".join(response) == CONTENT
    response.close()


@pytest.mark.parametrize("view", ["stock", "lines", "ours_async"])
def test_it_is_async_among_async_middleware(
    async_client: AsyncClient, file: Path, view: str
) -> None:
    async def get() -> tuple[Any, bytes]:
        async with ThreadSensitiveContext():
            headers = {"range": "bytes=10-19"}
            answer = await async_client.get(f"/{view}/{file.name}", headers=headers)
            return answer, b"".join(answer.streaming_content)

    async def view_of(_: Any) -> HttpResponse:
        return HttpResponse()

    with override_settings(MIDDLEWARE=[OURS]):
        answer, content = asyncio.run(get())

    assert iscoroutinefunction(ZeroCopyMiddleware(view_of))
    assert (answer.status_code, content) == (206, CONTENT[10:20])

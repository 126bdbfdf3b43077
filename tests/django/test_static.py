"""`serve`: as Django's own, but confined, and with ranges."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import django.contrib.staticfiles.views
import django.views.static
import pytest
from django.core.exceptions import PermissionDenied, SuspiciousFileOperation
from django.http import Http404
from django.test import RequestFactory, override_settings

from tests.django.conftest import CONTENT, DATE
from zc_response.errors import OutOfDescriptorsError
from zc_response.integrations.django import StaticFilesHandler, serve
from zc_response.sources import OpenFiles


def ask(path: str, root: Path | None, options: Any = None, **headers: str) -> Any:
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    request = RequestFactory().get("/", headers=fields)
    return serve(request, path, document_root=root, **(options or {}))


@pytest.mark.parametrize("name", ["page.html", "page.css.gz", "film.bin", "none"])
def test_the_header_fields_are_djangos(root: Path, name: str) -> None:
    file = root / name
    file.write_bytes(CONTENT)
    os.utime(file, (1_445_412_480, 1_445_412_480))
    request = RequestFactory().get("/")
    theirs = django.views.static.serve(request, name, document_root=root)
    ours = ask(name, root)

    added = {"ETag", "Accept-Ranges"}
    kept = {name: ours[name] for name in ours.headers if name not in added}
    assert kept == dict(theirs.headers)
    assert ours["Last-Modified"] == DATE
    assert ours.getvalue() == theirs.getvalue() == CONTENT
    ours.close()
    theirs.close()


def test_a_file_is_answered_in_parts_and_not_twice(file: Path, root: Path) -> None:
    part = ask(file.name, root, range="bytes=-10")

    assert (part.status_code, part.getvalue()) == (206, CONTENT[-10:])
    assert ask(file.name, root, if_modified_since=DATE).status_code == 304
    part.close()


@pytest.mark.parametrize("path", ["none", "film.bin/more", "a\0b", "film.bin\udcff"])
def test_what_is_not_there_is_404(file: Path, root: Path, path: str) -> None:
    with pytest.raises(Http404):
        ask(path, root)


@pytest.mark.parametrize("path", ["../secret", "sub/../../secret", "/../secret"])
def test_a_path_that_leads_out_is_suspicious(root: Path, path: str) -> None:
    """As in Django, which answers 400; one that begins with a slash cannot lead out."""
    (root.parent / "secret").write_bytes(b"secret")
    expected = Http404 if path.startswith("/") else SuspiciousFileOperation
    with pytest.raises(expected):
        ask(path, root)


def test_a_link_that_leads_out_is_404(root: Path) -> None:
    (root.parent / "secret").write_bytes(b"secret")
    (root / "link").symlink_to(root.parent / "secret")
    (root / "folder").symlink_to(root.parent)

    for path in ("link", "folder/secret"):
        with pytest.raises(Http404):
            ask(path, root)
        followed = ask(path, root, {"follow_symlink": True})
        assert followed.getvalue() == b"secret"
        followed.close()


def test_a_link_that_stays_inside_is_followed(file: Path, root: Path) -> None:
    (root / "link").symlink_to(file)
    answer = ask("link", root)
    assert answer.getvalue() == CONTENT
    answer.close()


def test_a_directory_has_an_index_only_if_asked_for(file: Path, root: Path) -> None:
    with pytest.raises(Http404, match="not allowed"):
        ask("", root)
    index = ask("", root, {"show_indexes": True})
    assert file.name in index.content.decode()


def test_no_index_leads_out_by_a_link(root: Path) -> None:
    (root / "folder").symlink_to(root.parent)
    with pytest.raises(Http404):
        ask("folder", root, {"show_indexes": True})


def test_a_fifo_is_404(root: Path) -> None:
    os.mkfifo(root / "fifo")
    with pytest.raises(Http404):
        ask("fifo", root)


@pytest.mark.parametrize(
    ("error", "outcome"),
    [(PermissionError(13, "denied"), PermissionDenied), (OSError(5, "i/o"), OSError)],
)
def test_what_may_not_be_read_is_denied(
    file: Path,
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: OSError,
    outcome: type[Exception],
) -> None:
    """root may read everything, so it is told by hand."""

    def refuse(*_args: object) -> int:
        raise error

    monkeypatch.setattr("zc_response.kernel.files.open_beneath", refuse)
    with pytest.raises(outcome):
        ask(file.name, root)


def test_without_descriptors_it_says_when_to_come_again(
    file: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_args: object) -> object:
        raise OutOfDescriptorsError(24, "too many", str(file))

    monkeypatch.setattr(OpenFiles, "open", refuse)
    answer = ask(file.name, root)
    assert (answer.status_code, answer["Retry-After"]) == (503, "1")


# In place of the staticfiles ---------------------------------------------------------


def test_without_a_root_the_finders_find_it(file: Path, root: Path) -> None:
    with override_settings(
        STATICFILES_DIRS=[str(root)],
        STATICFILES_FINDERS=["django.contrib.staticfiles.finders.FileSystemFinder"],
    ):
        django.contrib.staticfiles.finders.get_finder.cache_clear()
        with pytest.raises(Http404):
            ask(file.name, None)
        answer = ask(file.name, None, {"insecure": True}, range="bytes=0-9")
        with override_settings(DEBUG=True):
            ask(file.name, None).close()
            for path in ("none", "folder/", ""):
                with pytest.raises(Http404):
                    ask(path, None)
        seen: list[str] = []
        handler = StaticFilesHandler(None)
        environ = RequestFactory().get(f"/static/{file.name}").environ
        body = handler(environ, lambda status, _headers: seen.append(status))
        content = b"".join(body)
        body.close()
    django.contrib.staticfiles.finders.get_finder.cache_clear()

    assert (answer.status_code, answer.getvalue()) == (206, CONTENT[:10])
    answer.close()
    assert (seen, content) == (["200 OK"], CONTENT)

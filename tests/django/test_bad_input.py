"""What is no good: Django's own exceptions, where a Django developer looks for them."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import SuspiciousFileOperation
from django.core.files import File
from django.core.files.base import ContentFile
from django.core.files.storage import FileSystemStorage, Storage
from django.db.models import FileField
from django.db.models.fields.files import FieldFile
from django.http import FileResponse as Stock
from django.test import Client, override_settings

from tests.django.conftest import CONTENT, Get
from tests.django.project import OURS
from zc_response.integrations.django import FileResponse


def closed(file: Path) -> Any:
    with file.open("rb") as opened:
        return opened


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (closed, "closed file"),
        (lambda file: File(closed(file)), "closed file"),
        (lambda _file: io.StringIO("text"), "mode 'rb'"),
    ],
)
def test_what_cannot_be_read_is_a_value_error(
    file: Path, kind: Callable[[Path], Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        FileResponse(kind(file))


@pytest.mark.parametrize("proxy", [lambda opened: opened, File])
def test_a_text_file_is_a_value_error(file: Path, proxy: Callable[[Any], Any]) -> None:
    """Django would read its empty end for ever."""
    with file.open() as opened:
        with pytest.raises(ValueError, match="text mode"):
            FileResponse(proxy(opened))


def test_a_thing_that_is_no_file_is_a_type_error() -> None:
    for thing in (None, 5):
        with pytest.raises(TypeError):
            FileResponse(thing)


def test_a_thing_that_can_only_be_read_is_read() -> None:
    class Thing:
        def __init__(self) -> None:
            self.parts = [b"a", b"b"]

        def read(self, _size: int) -> bytes:
            return self.parts.pop(0) if self.parts else b""

    response = FileResponse(Thing())
    assert response.getvalue() == b"ab"
    assert "Content-Length" not in response


@pytest.mark.parametrize("middleware", [[], [OURS]])
def test_a_file_that_cannot_be_read_to_its_end_is_an_error_of_the_reader(
    middleware: list[str],
) -> None:
    class Broken(io.BytesIO):
        def read(self, _size: int | None = -1) -> bytes:
            raise OSError(5, "the storage is gone")

    kind = Stock if middleware else FileResponse
    response = kind(Broken(b"abc"))
    with pytest.raises(OSError, match="gone"):
        response.getvalue()


@pytest.mark.parametrize(
    ("name", "disposition"),
    [
        ('a "b".txt', r'inline; filename="a \"b\".txt"'),
        ("a\r\nSet-Cookie: b.txt", 'inline; filename="aSet-Cookie: b.txt"'),
        ("a\udcff.txt", "inline; filename*=utf-8''a%EF%BF%BD.txt"),
        ("\n", 'inline; filename="_"'),
    ],
)
@pytest.mark.parametrize("given", [True, False])
def test_a_strange_name_is_one_line(
    root: Path, name: str, disposition: str, given: bool
) -> None:
    path = root / ("plain" if given else name)
    path.write_bytes(CONTENT)
    response = FileResponse(path.open("rb"), filename=name if given else "")

    assert response["Content-Disposition"] == disposition
    response.close()


def test_a_strange_name_of_what_is_in_memory_too() -> None:
    content = ContentFile(b"content", name="a\nb.txt")
    response = FileResponse(content)
    assert response["Content-Disposition"] == 'inline; filename="ab.txt"'
    response.close()


# Storages ----------------------------------------------------------------------------


class Model:
    """What a field needs of a model."""


def field_file(name: str | None, storage: Any) -> FieldFile:
    return FieldFile(Model(), FileField(name="file", storage=storage), name)


class Remote(Storage):  # type: ignore[misc]
    """Files that are far away, and names that are here."""

    def _open(self, name: str, mode: str = "rb") -> File:
        return File(io.BytesIO(b"far away"), name=name)


class Gone(Storage):  # type: ignore[misc]
    def _open(self, name: str, mode: str = "rb") -> File:
        raise ConnectionError("the storage does not answer")


class Reversed(FileSystemStorage):  # type: ignore[misc]
    """A storage that has files here, and gives something else."""

    def _open(self, name: str, mode: str = "rb") -> File:
        with super()._open(name, mode) as opened:
            return ContentFile(opened.read()[::-1], name=name)


@pytest.mark.parametrize(
    ("storage", "content"),
    [(FileSystemStorage, CONTENT), (Reversed, CONTENT[::-1])],
)
def test_a_field_file_is_what_its_storage_gives(
    file: Path, storage: type[Storage], content: bytes
) -> None:
    response = FileResponse(field_file(file.name, storage()))

    assert response.getvalue() == content
    assert response["Content-Length"] == str(len(content))
    assert response["Content-Disposition"] == f'inline; filename="{file.name}"'
    response.close()


def test_a_field_file_on_a_disk_is_sent_by_its_path(file: Path) -> None:
    stored = field_file(file.name, FileSystemStorage())
    response = FileResponse(stored)

    assert stored.closed  # it was never opened by Python
    assert response.getvalue() == CONTENT
    response.close()


def test_a_field_file_that_is_open_is_sent_from_where_it_stands(file: Path) -> None:
    stored = field_file(file.name, FileSystemStorage())
    stored.open()
    stored.seek(5)
    response = FileResponse(stored)

    assert response.getvalue() == CONTENT[5:]
    response.close()
    assert stored.closed


def test_a_remote_file_is_read_and_not_the_local_one_of_its_name(file: Path) -> None:
    response = FileResponse(field_file(str(file), Remote()))

    assert response.getvalue() == b"far away"
    assert f'filename="{file.name}"' in response["Content-Disposition"]
    response.close()


@pytest.mark.parametrize(
    ("name", "storage", "error"),
    [
        ("none", FileSystemStorage, FileNotFoundError),
        ("../secret", FileSystemStorage, SuspiciousFileOperation),
        ("/etc/passwd", FileSystemStorage, SuspiciousFileOperation),
        ("film.bin", Gone, ConnectionError),
        (None, FileSystemStorage, ValueError),
    ],
)
def test_what_a_storage_raises_is_what_the_view_gets(
    file: Path, name: str | None, storage: type[Storage], error: type[Exception]
) -> None:
    with pytest.raises(error):
        FileResponse(field_file(name, storage()))


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("/served/none", 404),
        ("/served/../../etc/passwd", 400),
        ("/served/sub%2f..%2f..%2fsecret", 400),
        ("/stored/..%2fsecret", 400),
        ("/served/film.bin%00", 404),
        ("/served/film.bin", 200),
    ],
)
def test_what_a_client_asks_for_is_answered(
    file: Path, target: str, status: int
) -> None:
    with override_settings(MIDDLEWARE=[OURS]):
        answer = Client().get(target)
    assert answer.status_code == status
    answer.close()


RANGES = [
    "bytes",
    "bytes=",
    "bytes=a-b",
    "bytes=5-1",
    "lines=1-2",
    "bytes=" + "9" * 999,
]


@pytest.mark.parametrize("field", RANGES, ids=lambda field: field[:12])
def test_a_range_that_makes_no_sense_is_ignored(get: Get, field: str) -> None:
    answer = get(range=field)
    assert (answer.status_code, answer.body) == (200, CONTENT)

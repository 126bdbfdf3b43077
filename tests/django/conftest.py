"""The project's files, and Django's own test clients."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.test import AsyncClient, Client, override_settings
from django.test.utils import setup_test_environment, teardown_test_environment

from tests.django import project

CONTENT = bytes(range(256)) * 4096  # 1 MiB
MODIFIED = 1_445_412_480
DATE = "Wed, 21 Oct 2015 07:28:00 GMT"

Get = Callable[..., Any]


@pytest.fixture(scope="session", autouse=True)
def test_environment() -> Iterator[None]:
    setup_test_environment()
    yield
    teardown_test_environment()


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    media = tmp_path / "media"
    media.mkdir()
    with override_settings(MEDIA_ROOT=str(media)):
        yield media


@pytest.fixture
def file(root: Path) -> Path:
    path = root / "film.bin"
    path.write_bytes(CONTENT)
    os.utime(path, (MODIFIED, MODIFIED))
    return path


@pytest.fixture
def get(file: Path) -> Get:
    """Ask a view for the file, by Django's test client, and read the answer."""

    def ask(
        view: str = "ours", *middleware: str, method: str = "get", **headers: str
    ) -> Any:
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        with override_settings(MIDDLEWARE=list(middleware)):
            answer = getattr(Client(), method)(f"/{view}/{file.name}", headers=fields)
        answer.body = answer.getvalue() if answer.streaming else answer.content
        answer.close()
        return answer

    return ask


@pytest.fixture
def async_client() -> AsyncClient:
    assert project.urlpatterns
    return AsyncClient()

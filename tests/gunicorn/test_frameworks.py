"""Frameworks that use `wsgi.file_wrapper` gain by the hooks alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.gunicorn.conftest import CONTENT, WORKERS
from tests.gunicorn.running import Gunicorn, gunicorn
from tests.live import Answer, Fields

FRAMEWORKS = ["whitenoise", "bottle", "falcon", "pyramid", "django"]
WITH_RANGES = [name for name in FRAMEWORKS if name not in ("pyramid", "django")]


@pytest.fixture(scope="module", params=WORKERS)
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gunicorn]:
    work = tmp_path_factory.mktemp("gunicorn")
    app = "tests.gunicorn.frameworks:app"
    with gunicorn(work, app, worker=request.param, threads=2) as server:
        yield server


def ask(
    server: Gunicorn, framework: str, file: Path, headers: Fields | None = None
) -> Answer:
    with server.client() as client:
        return client.get(f"/{framework}/{file.name}", headers)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_its_files_leave_by_sendfile(server: Gunicorn, framework: str) -> None:
    file = server.file(CONTENT, ".bin")

    answer = ask(server, framework, file)

    assert (answer.status, answer.complete) == (200, True), server.log
    assert answer.body == CONTENT
    report = server.report(file)
    assert (report["strategy"], report["outcome"]) == ("sendfile", "complete")
    assert report["guard"] == "lease"


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_head_has_the_length_and_no_body(server: Gunicorn, framework: str) -> None:
    file = server.file(CONTENT, ".bin")
    with server.client() as client:
        answer = client.head(f"/{framework}/{file.name}")

    assert (answer.status, answer.length, answer.body) == (200, len(CONTENT), b"")
    assert server.reports(file) == []


@pytest.mark.parametrize("framework", WITH_RANGES)
def test_its_ranges_are_what_it_says(server: Gunicorn, framework: str) -> None:
    """They are wrapped by the framework, and read."""
    file = server.file(CONTENT, ".bin")

    answer = ask(server, framework, file, {"range": "bytes=1000000-1999999"})

    assert (answer.status, answer.complete) == (206, True)
    assert answer.body == CONTENT[1_000_000:2_000_000]


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("size", [0, 10])
def test_small_and_empty_files_are_whole(
    server: Gunicorn, framework: str, size: int
) -> None:
    file = server.file(CONTENT[:size], ".bin")

    answer = ask(server, framework, file)

    assert (answer.status, answer.complete) == (200, True)
    assert answer.body == CONTENT[:size]

"""The Flask example: gunicorn runs it by its own configuration file."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.gunicorn.running import CHECKOUT, Gunicorn, gunicorn
from tests.live import Client, eventually

CONTENT = bytes(range(256)) * 4096


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gunicorn]:
    work = tmp_path_factory.mktemp("flask")
    (work / "files").mkdir()
    (work / "files" / "film.bin").write_bytes(CONTENT)
    config = CHECKOUT / "example_apps" / "flask_app" / "gunicorn.conf.py"
    environ = {"FILES": str(work / "files"), "PYTHONUNBUFFERED": "1"}
    with gunicorn(work, file=config, environ=environ) as server:
        yield server


@pytest.fixture
def client(server: Gunicorn) -> Iterator[Client]:
    with server.client() as client:
        yield client


def test_the_page_names_the_files(client: Client) -> None:
    page = client.get("/").body.decode()

    assert '<a href="/download/film.bin">film.bin</a>' in page
    assert f"{len(CONTENT)} bytes" in page


def test_the_style_sheet_is_served(client: Client) -> None:
    page = client.get("/").body.decode()
    answer = client.get("/static/page.css")

    assert "/static/page.css" in page
    assert (answer.status, answer.headers["content-type"]) == (
        200,
        "text/css; charset=utf-8",
    )
    assert answer.headers["accept-ranges"] == "bytes"


def test_a_download_is_the_file_and_the_connection_is_kept(client: Client) -> None:
    for _ in range(2):
        answer = client.get("/download/film.bin")

        assert (answer.body, answer.reusable) == (CONTENT, True)
        assert answer.headers["content-disposition"] == "attachment; filename=film.bin"


def test_a_download_can_be_resumed(client: Client) -> None:
    etag = client.get("/download/film.bin", {"range": "bytes=0-9"}).headers["etag"]
    answer = client.get(
        "/download/film.bin", {"range": "bytes=500000-", "if-range": etag}
    )

    assert (answer.status, answer.body) == (206, CONTENT[500_000:])


@pytest.mark.parametrize("name", ["none", "..%2fapp.py", "%2fetc%2fpasswd", ".."])
def test_nothing_else_is_served(client: Client, name: str) -> None:
    assert client.get(f"/download/{name}").status == 404


def test_the_access_log_has_the_bytes(server: Gunicorn, client: Client) -> None:
    client.get("/download/film.bin?once")

    line = f'"GET /download/film.bin?once HTTP/1.1" 200 {len(CONTENT)}'
    eventually(lambda: line in server.log, f"{line} in\n{server.log}")

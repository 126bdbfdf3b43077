"""StaticFiles: Starlette's own answers, by zero copy, and no way out of the root."""

from __future__ import annotations

import gzip
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles as StockStaticFiles
from starlette.testclient import TestClient

from tests.live import HOOKED, STACKS, serve
from zc_response import Policy, Report
from zc_response.integrations.starlette import StaticFiles
from zc_response.policy import default_policy
from zc_response.sources import open_files

CONTENT = b"0123456789" * 1000


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A directory to serve, with links, beside secrets."""
    root = tmp_path / "static"
    (root / "dir").mkdir(parents=True)
    (root / "file.txt").write_bytes(CONTENT)
    (root / "dir" / "index.html").write_text("<h1>index</h1>")
    (root / "404.html").write_text("<h1>lost</h1>")
    (root / "inside").symlink_to(root / "file.txt")
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "static_secret").write_text("secret")
    (root / "out").symlink_to("../secret")
    (root / "up").symlink_to("..")
    return root


def mounted(static: StockStaticFiles) -> TestClient:
    return TestClient(Starlette(routes=[Mount("/static", static)]))


@pytest.fixture
def client(root: Path) -> Iterator[TestClient]:
    with mounted(StaticFiles(directory=root)) as client:
        yield client


def test_its_signature_is_starlettes() -> None:
    ours = inspect.signature(StaticFiles).parameters
    stock = inspect.signature(StockStaticFiles).parameters

    assert list(ours.values()) == list(stock.values())


@pytest.mark.parametrize("path", ["file.txt", "dir/index.html", "inside"])
def test_it_serves_what_lies_below(client: TestClient, root: Path, path: str) -> None:
    answer = client.get(f"/static/{path}")

    assert answer.status_code == 200
    assert answer.content == (root / path).read_bytes()


@pytest.mark.parametrize(
    "path",
    [
        "none",
        "dir",
        "out",
        "up/secret",
        "../secret",
        "%2e%2e/secret",
        "..%2fsecret",
        "../static_secret",
        "%2fetc%2fpasswd",
        "/etc/passwd",
        "a%00b",
        "file.txt%00.html",
        "a" * 5000,
        "%ff%fe",
    ],
)
def test_everything_else_is_404(client: TestClient, path: str) -> None:
    """The same answer whether it exists elsewhere or nowhere."""
    answer = client.get(f"/static/{path}")

    assert answer.status_code == 404
    assert b"secret" not in answer.content


def test_a_link_put_there_after_the_lookup_leads_nowhere(
    root: Path,
) -> None:
    class Swapping(StaticFiles):
        def file_response(self, *args: Any, **kwargs: Any) -> Response:
            (root / "file.txt").unlink()
            (root / "file.txt").symlink_to("../secret")
            return super().file_response(*args, **kwargs)

    with mounted(Swapping(directory=root)) as client:
        answer = client.get("/static/file.txt")

    assert answer.status_code in (403, 404)
    assert b"secret" not in answer.content
    assert (root / "file.txt").read_text() == "secret"


def test_a_link_put_there_after_a_visit_leads_nowhere(
    client: TestClient, root: Path
) -> None:
    assert client.get("/static/file.txt").content == CONTENT
    (root / "file.txt").unlink()
    (root / "file.txt").symlink_to("../secret")

    answer = client.get("/static/file.txt")
    assert answer.status_code == 404
    assert b"secret" not in answer.content


def test_follow_symlink_follows_them_out(root: Path) -> None:
    with mounted(StaticFiles(directory=root, follow_symlink=True)) as client:
        assert client.get("/static/out").text == "secret"


def test_html_mode_serves_index_and_its_own_404(root: Path) -> None:
    with mounted(StaticFiles(directory=root, html=True)) as client:
        assert client.get("/static/dir/").text == "<h1>index</h1>"
        redirect = client.get("/static/dir", follow_redirects=False)
        assert redirect.status_code == 307
        assert redirect.headers["location"].endswith("/static/dir/")
        lost = client.get("/static/none")
        assert (lost.status_code, lost.text) == (404, "<h1>lost</h1>")


def test_files_of_packages_are_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a_package" / "statics").mkdir(parents=True)
    (tmp_path / "a_package" / "__init__.py").touch()
    (tmp_path / "a_package" / "statics" / "style.css").write_text("body {}")
    monkeypatch.syspath_prepend(tmp_path)
    with mounted(StaticFiles(packages=["a_package"])) as client:
        answer = client.get("/static/style.css")
    sys.modules.pop("a_package", None)

    assert answer.text == "body {}"
    assert answer.headers["content-type"].startswith("text/css")


def test_methods_other_than_get_and_head_are_405(client: TestClient) -> None:
    assert client.post("/static/file.txt").status_code == 405
    assert client.head("/static/file.txt").status_code == 200


def test_a_second_visit_is_answered_304(client: TestClient) -> None:
    first = client.get("/static/file.txt")
    answer = client.get(
        "/static/file.txt", headers={"if-none-match": first.headers["etag"]}
    )

    assert (answer.status_code, answer.content) == (304, b"")


def test_ranges_of_static_files_are_served(client: TestClient) -> None:
    answer = client.get("/static/file.txt", headers={"range": "bytes=-4"})

    assert (answer.status_code, answer.content) == (206, CONTENT[-4:])


def test_a_variant_beside_a_static_file_is_served(
    client: TestClient, root: Path
) -> None:
    (root / "file.txt.gz").write_bytes(gzip.compress(CONTENT))

    answer = client.get("/static/file.txt", headers={"accept-encoding": "gzip"})

    assert answer.headers["content-encoding"] == "gzip"
    assert answer.headers["vary"] == "Accept-Encoding"
    assert answer.content == CONTENT


def test_a_variant_that_links_out_of_the_root_is_not(
    client: TestClient, root: Path
) -> None:
    (root / "file.txt.gz").symlink_to("../secret")

    answer = client.get("/static/file.txt", headers={"accept-encoding": "gzip"})

    assert "content-encoding" not in answer.headers
    assert answer.content == CONTENT


def test_a_subclass_may_add_fields_as_with_starlettes(root: Path) -> None:
    class Cached(StaticFiles):
        def file_response(self, *args: Any, **kwargs: Any) -> Response:
            response = super().file_response(*args, **kwargs)
            response.headers["cache-control"] = "max-age=60"
            return response

    with mounted(Cached(directory=root)) as client:
        answer = client.get("/static/file.txt")

    assert answer.headers["cache-control"] == "max-age=60"


@pytest.mark.parametrize("stack", STACKS, ids="-".join)
def test_on_a_live_server_static_files_leave_by_sendfile(
    root: Path, reports: list[Report], stack: tuple[str, str]
) -> None:
    class ByReference(StaticFiles):
        policy = Policy(small_bytes=0)

    app = Starlette(routes=[Mount("/static", ByReference(directory=root, html=True))])
    http, loop = stack
    with serve(app, http=HOOKED[http], loop=loop) as server:
        with server.client() as client:
            assert client.get("/static/file.txt").body == CONTENT
            assert client.get("/static/none").body == b"<h1>lost</h1>"

    assert [(r.strategy, r.status) for r in reports] == [
        ("sendfile", 200),
        ("sendfile", 404),
    ]


@pytest.mark.parametrize("stack", STACKS, ids="-".join)
def test_on_a_live_server_small_static_files_leave_with_their_head(
    root: Path, reports: list[Report], stack: tuple[str, str]
) -> None:
    app = Starlette(routes=[Mount("/static", StaticFiles(directory=root, html=True))])
    http, loop = stack
    with serve(app, http=HOOKED[http], loop=loop) as server:
        with server.client() as client:
            assert client.get("/static/file.txt").body == CONTENT
            assert client.get("/static/dir/").body == b"<h1>index</h1>"

    assert [(r.strategy, r.reason) for r in reports] == [("copy", "small")] * 2


def test_a_file_beside_is_not_served_because_a_view_has_it_open(root: Path) -> None:
    with mounted(StaticFiles(directory=root, follow_symlink=True)) as client:
        assert client.get("/static/file.txt").content == CONTENT
        with open_files(default_policy()).open(f"{root}/../secret"):
            assert client.get("/static/..%2Fsecret").status_code == 404

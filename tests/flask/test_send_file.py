"""`send_file` and `send_from_directory`: Flask's own, as far as a user can tell."""

from __future__ import annotations

import inspect
import io
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flask
import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.flask.conftest import CONTENT, Reading
from tests.range_cases import Answer, parts
from zc_response import Policy, Report
from zc_response.integrations.flask import ZeroCopy, send_file, send_from_directory

Make = Callable[[Callable[[], Any]], FlaskClient]


# As Flask's --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (send_file, flask.send_file),
        (send_from_directory, flask.send_from_directory),
    ],
)
def test_the_signatures_are_flasks(ours: Any, theirs: Any) -> None:
    """What we have beside theirs comes by keyword only."""

    def described(function: Any) -> list[tuple[Any, ...]]:
        found = inspect.signature(function).parameters.values()
        return [(p.name, p.kind, p.default) for p in found if p.name != "snapshot"]

    assert described(ours) == described(theirs)
    more = inspect.signature(ours).parameters.get("snapshot")
    assert more is None or more.kind is more.KEYWORD_ONLY


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"mimetype": "x/y"},
        {"as_attachment": True},
        {"as_attachment": True, "download_name": "naïve 文件.txt"},
        {"download_name": "other.html"},
        {"max_age": 60},
        {"max_age": lambda path: 7 if path.endswith("file.txt") else 8},
        {"last_modified": 1_445_412_480},
        {"etag": "mine"},
        {"etag": False},
    ],
    ids=str,
)
def test_the_header_fields_are_flasks(
    client: Make, file: Path, options: dict[str, Any]
) -> None:
    """But for the entity-tag, which is made of the open file."""
    ours = client(lambda: send_file(file, **options)).get("/")
    theirs = client(lambda: flask.send_file(file, **options)).get("/")

    assert (ours.status_code, ours.data) == (theirs.status_code, theirs.data)
    ignored = {"Date"} | ({"ETag"} if "etag" not in options else set())
    assert {k: v for k, v in ours.headers.items() if k not in ignored} == {
        **{k: v for k, v in theirs.headers.items() if k not in ignored},
        "Accept-Ranges": "bytes",
    }
    assert ("ETag" in ours.headers) == ("ETag" in theirs.headers)


def test_a_relative_path_is_below_the_applications(tmp_path: Path) -> None:
    (tmp_path / "file.txt").write_bytes(CONTENT)
    app = Flask(__name__, root_path=str(tmp_path))
    with app.test_request_context("/"):
        response = send_file("file.txt")
        assert b"".join(response.response) == CONTENT  # type: ignore[arg-type]
        response.close()


def test_what_cannot_be_opened_is_an_error_of_the_view(file: Path) -> None:
    """As in Flask, and a directory too."""
    with Flask(__name__).test_request_context("/"):
        with pytest.raises(FileNotFoundError):
            send_file(file.with_name("none"))
        with pytest.raises(OSError, match="directory"):
            send_file(file.parent)


def test_head_has_the_header_fields_of_get(client: Make, file: Path) -> None:
    asking = client(lambda: send_file(file))
    get, head = asking.get("/"), asking.head("/")

    assert (head.status_code, head.data) == (200, b"")
    assert dict(head.headers) == dict(get.headers)


def test_the_view_may_change_the_response(client: Make, file: Path) -> None:
    def view() -> flask.Response:
        response = send_file(file)
        response.headers["X-Own"] = "value"
        response.set_cookie("a", "b")
        response.status_code = 404
        return response

    answer = client(view).get("/")

    assert (answer.status_code, answer.data) == (404, CONTENT)
    assert answer.headers["X-Own"] == "value"
    assert "a=b" in answer.headers["Set-Cookie"]


# File objects ------------------------------------------------------------------------


@pytest.mark.parametrize("headers", [{}, {"Range": "bytes=0-9"}, {"If-Match": "*"}])
def test_an_open_file_is_closed_at_the_end(
    client: Make, file: Path, headers: dict[str, str]
) -> None:
    """As Flask does, whatever the answer."""
    opened: list[io.BufferedReader] = []

    def view() -> flask.Response:
        opened.append(file.open("rb"))
        return send_file(opened[-1], mimetype="text/plain")

    with client(view).get("/", headers=headers) as answer:
        assert answer.data in (CONTENT, CONTENT[:10])
    assert [each.closed for each in opened] == [True]


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("HEAD", {}, 200),
        ("GET", {"If-Modified-Since": "Fri, 01 Jan 2100 00:00:00 GMT"}, 304),
        ("GET", {"If-Match": '"other"'}, 412),
        ("GET", {"Range": "bytes=999999-"}, 416),
    ],
)
def test_an_open_file_is_closed_though_nothing_is_sent(
    client: Make, file: Path, method: str, headers: dict[str, str], status: int
) -> None:
    opened: list[io.BufferedReader] = []

    def view() -> flask.Response:
        opened.append(file.open("rb"))
        return send_file(opened[-1], mimetype="text/plain")

    with client(view).open("/", method=method, headers=headers) as answer:
        assert answer.status_code == status
    assert [each.closed for each in opened] == [True]


def test_ranges_of_an_open_file_are_answered(client: Make, file: Path) -> None:
    answer = client(lambda: send_file(file.open("rb"), mimetype="text/plain")).get(
        "/", headers={"Range": "bytes=5-9"}
    )

    assert (answer.status_code, answer.data) == (206, CONTENT[5:10])
    answer.close()


def test_a_file_in_memory_is_sent_as_flask_does(client: Make) -> None:
    with client(lambda: send_file(io.BytesIO(CONTENT), mimetype="x/y")).get(
        "/", headers={"Range": "bytes=5-9"}
    ) as answer:
        assert (answer.status_code, answer.data) == (206, CONTENT[5:10])


def test_a_temporary_file_is_gone_when_it_was_sent(client: Make) -> None:
    names: list[str] = []

    def view() -> flask.Response:
        made = tempfile.NamedTemporaryFile()  # noqa: SIM115
        made.write(CONTENT)
        made.seek(0)
        names.append(made.name)
        return send_file(made, mimetype="x/y")

    with client(view).get("/") as answer:
        assert answer.data == CONTENT
    assert not os.path.exists(names[0])


def test_a_file_that_does_not_stand_at_its_beginning_is_sent_from_there(
    client: Make, file: Path
) -> None:
    def view() -> flask.Response:
        opened = file.open("rb")
        opened.seek(9000)
        return send_file(opened, mimetype="x/y")

    with client(view).get("/") as answer:
        assert answer.data == CONTENT[9000:]


# Conditions and ranges ---------------------------------------------------------------


def test_several_ranges_are_answered(client: Make, file: Path) -> None:
    """Flask's own answers 416."""
    answer = client(lambda: send_file(file)).get(
        "/", headers={"Range": "bytes=0-4,9000-9009"}
    )

    assert answer.status_code == 206
    parsed = Answer(
        status=206,
        headers=tuple(answer.headers.items()),
        body=answer.data,
        content=CONTENT,
    )
    assert [part.data for part in parts(parsed)] == [CONTENT[:5], CONTENT[9000:9010]]


def test_a_range_out_of_reach_is_416_with_the_size(client: Make, file: Path) -> None:
    answer = client(lambda: send_file(file)).get("/", headers={"Range": "bytes=99999-"})

    assert answer.status_code == 416
    assert answer.headers["Content-Range"] == f"bytes */{len(CONTENT)}"


def test_a_second_visit_is_answered_304(client: Make, file: Path) -> None:
    asking = client(lambda: send_file(file))
    first = asking.get("/")

    for condition in (
        {"If-None-Match": first.headers["ETag"]},
        {"If-Modified-Since": first.headers["Last-Modified"]},
    ):
        answer = asking.get("/", headers=condition)
        assert (answer.status_code, answer.data) == (304, b"")
        assert answer.headers["ETag"] == first.headers["ETag"]


def test_a_download_resumes_only_if_the_file_is_the_same(
    client: Make, file: Path
) -> None:
    asking = client(lambda: send_file(file))
    etag = asking.get("/").headers["ETag"]
    headers = {"Range": "bytes=5000-", "If-Range": etag}

    assert asking.get("/", headers=headers).data == CONTENT[5000:]
    file.write_bytes(b"changed")
    assert asking.get("/", headers=headers).data == b"changed"


def test_conditions_can_be_switched_off(client: Make, file: Path) -> None:
    answer = client(lambda: send_file(file, conditional=False)).get(
        "/", headers={"Range": "bytes=0-4", "If-None-Match": "*"}
    )

    assert (answer.status_code, answer.data) == (200, CONTENT)


def test_post_gets_the_file_whatever_it_asks(client: Make, file: Path) -> None:
    answer = client(lambda: send_file(file)).post("/", headers={"Range": "bytes=0-4"})

    assert (answer.status_code, answer.data) == (200, CONTENT)


# Directories -------------------------------------------------------------------------


@pytest.mark.parametrize("directory", ["", "/", "/.", "/../{name}", "//", "/sub/.."])
def test_a_directory_may_be_spelt_in_any_way(
    client: Make, file: Path, directory: str
) -> None:
    (file.parent / "sub").mkdir()
    spelt = str(file.parent) + directory.format(name=file.parent.name)

    answer = client(lambda: send_from_directory(spelt, "file.txt")).get("/")

    assert (answer.status_code, answer.data) == (200, CONTENT)


@pytest.mark.parametrize("directory", ["files", "./files", "../app/files", "files/"])
def test_a_relative_directory_is_below_the_applications(
    tmp_path: Path, directory: str
) -> None:
    folder = tmp_path / "app" / "files"
    folder.mkdir(parents=True)
    (folder / "file.txt").write_bytes(CONTENT)
    app = Flask(__name__, root_path=str(tmp_path / "app"))
    app.add_url_rule("/", view_func=lambda: send_from_directory(directory, "file.txt"))

    assert Reading(app).get("/").data == CONTENT


@pytest.mark.parametrize(
    "path",
    ["../secret", "sub/../../secret", "/etc/passwd", "..\\secret", "link", ".", "",
     "sub", "none", "fifo", "a\0b", "\udcff"],
)  # fmt: skip
def test_nothing_but_a_file_within_it_is_sent(
    client: Make, tmp_path: Path, path: str
) -> None:
    folder = tmp_path / "folder"
    (folder / "sub").mkdir(parents=True)
    (folder / "file.txt").write_bytes(CONTENT)
    (tmp_path / "secret").write_text("secret")
    (folder / "link").symlink_to("../secret")
    os.mkfifo(folder / "fifo")

    answer = client(lambda: send_from_directory(folder, path)).get("/")

    assert answer.status_code == 404
    assert b"secret" not in answer.data


def test_a_path_within_it_may_be_below_a_folder(client: Make, tmp_path: Path) -> None:
    (tmp_path / "a b").mkdir()
    (tmp_path / "a b" / "ü.txt").write_bytes(CONTENT)

    answer = client(lambda: send_from_directory(tmp_path, "a b/ü.txt")).get("/")

    assert answer.data == CONTENT


def test_options_of_a_directory_are_those_of_a_file(client: Make, file: Path) -> None:
    answer = client(
        lambda: send_from_directory(
            file.parent, file.name, as_attachment=True, max_age=5, etag=False
        )
    ).get("/")

    assert answer.headers["Content-Disposition"] == "attachment; filename=file.txt"
    assert "max-age=5" in answer.headers["Cache-Control"]
    assert "ETag" not in answer.headers


def test_an_unknown_option_is_an_error(file: Path) -> None:
    with Flask(__name__).test_request_context("/"), pytest.raises(TypeError):
        send_from_directory(file.parent, file.name, maxage=5)


# The extension -----------------------------------------------------------------------


def static_app(folder: Path, **options: Any) -> Flask:
    (folder / "static").mkdir()
    (folder / "static" / "page.css").write_bytes(CONTENT)
    return Flask(__name__, root_path=str(folder), **options)


def test_the_extension_covers_the_static_route(tmp_path: Path) -> None:
    app = static_app(tmp_path)
    ZeroCopy(app)

    answer = Reading(app).get("/static/page.css", headers={"Range": "bytes=0-4,10-14"})

    assert answer.status_code == 206
    assert answer.headers["Content-Type"].startswith("multipart/byteranges")


def test_the_static_route_keeps_flasks_max_age(tmp_path: Path) -> None:
    app = static_app(tmp_path)
    app.config["SEND_FILE_MAX_AGE_DEFAULT"] = 77
    extension = ZeroCopy()
    extension.init_app(app)

    answer = Reading(app).get("/static/page.css")

    assert "max-age=77" in answer.headers["Cache-Control"]
    assert Reading(app).get("/static/none").status_code == 404
    assert app.extensions["zc_response"] is extension


def test_the_policy_is_the_extensions(file: Path) -> None:
    app = Flask(__name__)
    ZeroCopy(app, Policy(max_parts=0))
    app.add_url_rule("/", view_func=lambda: send_file(file))

    answer = Reading(app).get("/", headers={"Range": "bytes=0-4"})

    assert (answer.status_code, answer.data) == (200, CONTENT)


def test_x_sendfile_goes_on_to_work(file: Path) -> None:
    app = Flask(__name__)
    app.config["USE_X_SENDFILE"] = True
    app.add_url_rule("/", view_func=lambda: send_file(file))
    app.add_url_rule("/d", "d", lambda: send_from_directory(file.parent, file.name))

    for path in ("/", "/d"):
        answer = Reading(app).get(path)
        assert answer.headers["X-Sendfile"] == str(file)
        assert answer.data == b""


def test_a_copied_body_has_one_report(
    client: Make, file: Path, reports: list[Report]
) -> None:
    client(lambda: send_file(file)).get("/")

    assert [(r.outcome, r.strategy, r.sent) for r in reports] == [
        ("complete", "copy", len(CONTENT))
    ]


def test_a_file_that_changes_while_it_is_copied_is_not_sent_as_if_whole(
    client: Make, tmp_path: Path, reports: list[Report]
) -> None:
    path = tmp_path / "large"
    path.write_bytes(b"x" * 1_000_000)

    def view() -> flask.Response:
        response = send_file(path, mimetype="x/y")
        os.close(os.open(path, os.O_RDONLY | os.O_TRUNC))
        return response

    with pytest.raises(Exception, match="large"):
        client(view).get("/")

"""Header fields are kept between responses, as long as there is no time in them."""

from __future__ import annotations

import os
from pathlib import Path

from flask import Flask, Response

from zc_response.integrations.flask import send_file


def fields(file: Path, kind: type[Response] = Response, **options: object) -> list[str]:
    app = Flask(__name__)
    app.response_class = kind
    with app.test_request_context():
        response = send_file(file, **options)  # type: ignore[arg-type]
        found = [f"{name}: {value}" for name, value in response.headers]
        response.close()
    return found


def test_the_second_response_has_the_fields_of_the_first(tmp_path: Path) -> None:
    file = tmp_path / "x.txt"
    file.write_bytes(b"x")
    assert fields(file) == fields(file)


def test_files_of_one_name_have_their_own_length(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.txt").write_bytes(name.encode() * (ord(name) - 95))
    assert "Content-Length: 2" in fields(tmp_path / "a/x.txt")
    assert "Content-Length: 3" in fields(tmp_path / "b/x.txt")


def test_options_and_classes_have_fields_of_their_own(tmp_path: Path) -> None:
    class Own(Response):
        default_mimetype = "text/own"

    file = tmp_path / "x.txt"
    file.write_bytes(b"x")
    plain = fields(file)
    assert fields(file, as_attachment=True) != plain
    assert any(field.startswith("Expires:") for field in fields(file, max_age=60))
    assert "Content-Type: text/plain; charset=utf-8" in fields(file, Own)


def test_a_response_that_is_changed_afterwards_goes_out_as_changed(
    tmp_path: Path,
) -> None:
    file = tmp_path / "x.txt"
    file.write_bytes(b"content")
    os.utime(file, (1e9, 1e9))
    app = Flask(__name__)

    @app.get("/<change>")
    def view(change: str) -> Response:
        response = send_file(file)
        if change == "field":
            response.headers["X-Own"] = "1"
        elif change == "status":
            response.status_code = 201
        elif change == "body":
            response.direct_passthrough = False
            response.set_data(response.get_data().upper())
        return response

    client = app.test_client()
    for _ in range(2):  # the second time from what was kept
        plain, field, status, body = (
            client.get(f"/{change}", buffered=True)
            for change in ("none", "field", "status", "body")
        )
        assert (plain.status_code, plain.data) == (200, b"content")
        assert "X-Own" not in plain.headers
        assert field.headers["X-Own"] == "1"
        assert status.status_code == 201
        assert body.data == b"CONTENT"


def test_a_file_that_has_changed_has_fields_of_its_own(tmp_path: Path) -> None:
    file = tmp_path / "x.txt"
    file.write_bytes(b"x")
    os.utime(file, (1e9, 1e9))
    before = fields(file)
    file.write_bytes(b"longer")
    os.utime(file, (1e9, 1e9))
    assert fields(file) != before
    assert "Content-Length: 6" in fields(file)

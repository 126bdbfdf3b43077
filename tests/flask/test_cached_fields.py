"""Header fields are kept between responses, as long as there is no time in them."""

from __future__ import annotations

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

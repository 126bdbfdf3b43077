"""ZeroCopyMiddleware where it can do nothing: everything is as without it."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from wsgiref import util, validate

import pytest

from zc_response import Policy
from zc_response.wsgi import EXCHANGE, Environ, StartResponse, ZeroCopyMiddleware

Seen = list[Environ]


def ask(app: Any, **more: Any) -> tuple[str, bytes]:
    """Status and body of one request, as a plain server would make it."""
    environ: Environ = {**more}
    util.setup_testing_defaults(environ)
    environ.setdefault("QUERY_STRING", "")
    said: list[str] = []

    def start_response(
        status: str, headers: list[tuple[str, str]], exc_info: Any = None
    ) -> Any:
        said.append(status)
        return io.BytesIO().write

    body = app(environ, start_response)
    try:
        return said[0] if said else "", b"".join(body)
    finally:
        close = getattr(body, "close", None)
        if close is not None:
            close()


def wrapping(path: Path) -> Any:
    """An application that sends a file in the server's wrapper."""

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        body: Iterable[bytes] = environ["wsgi.file_wrapper"](path.open("rb"))
        return body

    return app


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(b"content")
    return path


def test_on_an_unknown_server_the_servers_wrapper_stays(file: Path) -> None:
    app = ZeroCopyMiddleware(wrapping(file))

    answer = ask(app, **{"wsgi.file_wrapper": util.FileWrapper})

    assert answer == ("200 OK", b"content")


def test_it_breaks_no_rule_of_wsgi(file: Path) -> None:
    app = validate.validator(ZeroCopyMiddleware(validate.validator(wrapping(file))))

    assert ask(app, **{"wsgi.file_wrapper": util.FileWrapper})[1] == b"content"


def test_the_body_is_the_applications_very_own() -> None:
    body = [b"body"]

    def app(_environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [])
        return body

    returned = ZeroCopyMiddleware(app)({}, lambda *_: None)

    assert returned is body


@pytest.mark.parametrize("key", ["gunicorn.socket", "werkzeug.socket"])
def test_a_key_that_looks_like_a_servers_does_not_fool_it(file: Path, key: str) -> None:
    """A test client may copy a whole environ."""
    wrapper = {"wsgi.file_wrapper": util.FileWrapper}

    answer = ask(ZeroCopyMiddleware(wrapping(file)), **{key: object()}, **wrapper)

    assert answer == ("200 OK", b"content")


def test_only_the_outermost_does_anything() -> None:
    seen: Seen = []

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        seen.append(environ)
        start_response("200 OK", [])
        return []

    exchange = object()
    ask(ZeroCopyMiddleware(app), **{EXCHANGE: exchange})

    assert seen[0][EXCHANGE] is exchange


def test_an_error_of_the_application_is_the_servers() -> None:
    def app(_environ: Environ, _start_response: StartResponse) -> Iterable[bytes]:
        raise LookupError("the application's")

    with pytest.raises(LookupError, match="the application's"):
        ask(ZeroCopyMiddleware(app))


def test_it_has_the_policy_it_is_given() -> None:
    policy = Policy(integrity="strict")
    app = ZeroCopyMiddleware(lambda _environ, _start: [], policy)

    assert app.policy is policy

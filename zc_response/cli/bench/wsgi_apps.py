"""The WSGI applications under test: one Flask view for a file, in several ways.

As in `apps.py`, a server calls one of the factories, and an environment variable names
the directory of the files.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import flask
from flask import Flask, Response

from zc_response.cli.bench.files import DIRECTORY_VARIABLE, LARGEST_IN_MEMORY


def stock() -> Flask:
    """Flask's own send_file."""
    return _application(flask.send_file)


def response() -> Flask:
    """The send_file of zc_response."""
    from zc_response.integrations.flask import send_file

    return _application(send_file)


def in_memory() -> Flask:
    """The bytes themselves, read once: what the view costs without any file."""
    contents = {
        str(path): path.read_bytes()
        for path in Path(os.environ[DIRECTORY_VARIABLE]).iterdir()
        if path.stat().st_size <= LARGEST_IN_MEMORY
    }
    return _application(
        lambda path: Response(contents[path], mimetype="application/octet-stream")
    )


def _application(respond: Callable[[str], Response]) -> Flask:
    directory = os.environ[DIRECTORY_VARIABLE]
    app = Flask(__name__, static_folder=None)

    @app.get("/<name>")
    def view(name: str) -> Response:
        return respond(f"{directory}/{name}")

    return app

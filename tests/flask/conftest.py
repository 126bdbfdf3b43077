"""A Flask application with files, and ways to ask it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

CONTENT = b"0123456789" * 1000


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file.txt"
    path.write_bytes(CONTENT)
    return path


@pytest.fixture
def client() -> Callable[[Callable[[], Any]], FlaskClient]:
    """Flask's test client for an application with one view."""

    def for_view(view: Callable[[], Any]) -> FlaskClient:
        app = Flask(__name__)
        app.add_url_rule("/", "view", view, methods=["GET", "HEAD", "POST"])
        return Reading(app)

    return for_view


class Reading(FlaskClient):
    """Flask's test client, which reads each answer to its end."""

    def open(self, *args: Any, **kwargs: Any) -> Any:
        return super().open(*args, buffered=True, **kwargs)

"""uWSGI itself: its file wrapper sends files from their beginning, so it gets none."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live import PATIENCE, Answer, Client, eventually

pytest.importorskip("pyuwsgi", reason="there is no wheel of pyuwsgi for this Python")

CHECKOUT = Path(__file__).parents[2]
CONTENT = bytes(range(256)) * 4096
APPLICATION = """
import flask
from zc_response.integrations.flask import ZeroCopy, send_file

app = flask.Flask(__name__)
ZeroCopy(app)
app.add_url_rule("/", view_func=lambda: send_file({file!r}))
app.add_url_rule("/flask", "flask", lambda: flask.send_file({file!r}))
"""


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    work = tmp_path_factory.mktemp("uwsgi")
    (work / "file").write_bytes(CONTENT)
    (work / "app.py").write_text(APPLICATION.format(file=str(work / "file")))
    options = ["--http-socket", "127.0.0.1:0", "--wsgi-file", str(work / "app.py")]
    options += ["--callable", "app", "--need-app", "--die-on-term"]
    for path in (CHECKOUT, *filter(None, sys.path)):
        options += ["--pythonpath", str(path)]
    with (work / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", "import pyuwsgi; pyuwsgi.run()", *options],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=work,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        )
    said = (work / "log").read_text
    try:
        eventually(lambda: "spawned uWSGI worker" in said(), "uWSGI's start")
        found = re.search(r"127\.0\.0\.1:(\d+) \(port auto-assigned\)", said())
        assert found, said()
        yield int(found[1])
    finally:
        process.terminate()
        process.wait(PATIENCE)


def ask(port: int, path: str = "/", **headers: str) -> Answer:
    with Client(port) as client:
        return client.get(path, headers)


@pytest.mark.parametrize("path", ["/", "/flask"])
def test_the_whole_file(port: int, path: str) -> None:
    answer = ask(port, path)

    assert (answer.status, answer.complete, answer.body) == (200, True, CONTENT)


def test_a_range_is_that_range(port: int) -> None:
    answer = ask(port, range="bytes=100000-199999")

    assert (answer.status, answer.body) == (206, CONTENT[100_000:200_000])


def test_several_ranges(port: int) -> None:
    answer = ask(port, range="bytes=0-9999,20000-29999")

    assert (answer.status, answer.length) == (206, len(answer.body))
    assert CONTENT[20_000:30_000] in answer.body


def test_head_and_304(port: int) -> None:
    with Client(port) as client:
        head = client.head()
    assert (head.status, head.length, head.body) == (200, len(CONTENT), b"")
    answer = ask(port, **{"if-none-match": head.headers["etag"]})
    assert (answer.status, answer.body) == (304, b"")

"""Applications for servers of their own processes, with one file that they share.

It is made when the module is imported: under gunicorn's `preload_app`, before the
workers are forked.
"""

from __future__ import annotations

import os

from flask import Flask, Response as FlaskResponse
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Route

import tests.gunicorn.apps  # noqa: F401  # it writes reports down
from tests.memory.conftest import CONTENT
from zc_response import MemoryFile
from zc_response.integrations.flask import ZeroCopy, send_file
from zc_response.integrations.starlette import FileResponse

FILE = MemoryFile(CONTENT, name="shared.bin")


def identity() -> dict[str, str]:
    """Who answers, and with which file."""
    inode = os.fstat(FILE.fileno()).st_ino
    return {"X-Pid": str(os.getpid()), "X-Inode": str(inode)}


flask_app = Flask(__name__)
ZeroCopy(flask_app)


@flask_app.route("/")
def with_flask() -> FlaskResponse:
    response = send_file(FILE)
    response.headers.update(identity())
    return response


async def _with_starlette(_request: Request) -> FileResponse:
    return FileResponse(FILE, headers=identity())


starlette_app = Starlette(routes=[Route("/", _with_starlette)])

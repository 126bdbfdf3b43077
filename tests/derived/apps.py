"""Applications that compress on the fly, in servers of their own processes."""

from __future__ import annotations

from flask import Flask, Response as FlaskResponse
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Route

from tests.gunicorn.apps import FILES  # it writes reports down, too
from zc_response.integrations.flask import ZeroCopy, send_file
from zc_response.integrations.starlette import FileResponse

flask_app = Flask(__name__)
ZeroCopy(flask_app)


@flask_app.route("/<name>")
def with_flask(name: str) -> FlaskResponse:
    return send_file(FILES / name)


async def _with_starlette(request: Request) -> FileResponse:
    return FileResponse(FILES / request.path_params["name"])


starlette_app = Starlette(routes=[Route("/{name}", _with_starlette)])

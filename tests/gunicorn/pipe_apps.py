"""Applications that stream what shell scripts write, by the name of the script."""

from __future__ import annotations

from typing import Any

from flask import Flask, Response as FlaskResponse
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Route

import tests.gunicorn.apps  # noqa: F401  has reports written down
from tests.gunicorn.scripts import SCRIPTS, command
from zc_response.integrations.flask import send_pipe
from zc_response.integrations.starlette import PipeResponse
from zc_response.wsgi import Environ, StartResponse

flask_app = Flask(__name__)


@flask_app.get("/<name>")
def view(name: str) -> FlaskResponse:
    return send_pipe(command(name), content_length=SCRIPTS[name][1])


def wrapped(environ: Environ, start_response: StartResponse) -> Any:
    """The same body in a generator, behind which nobody may look."""
    yield from flask_app(environ, start_response)


async def _send(request: Request) -> PipeResponse:
    name = request.path_params["name"]
    size = SCRIPTS[name][1]
    headers = {} if size is None else {"content-length": str(size)}
    return PipeResponse(command(name), headers=headers)


starlette_app = Starlette(routes=[Route("/{name}", _send)])

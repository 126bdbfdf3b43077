"""Applications that stream what shell scripts write, by the name of the script."""

from __future__ import annotations

from typing import Any

from flask import Flask, Response as FlaskResponse
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Route

import tests.gunicorn.apps  # noqa: F401  has reports written down
from zc_response.integrations.flask import send_pipe
from zc_response.integrations.starlette import PipeResponse
from zc_response.wsgi import Environ, StartResponse

SIZE = 3_000_000

SCRIPTS: dict[str, tuple[str, int | None]] = {
    "chunked": (f"head -c {SIZE} /dev/zero", None),
    "known": (f"head -c {SIZE} /dev/zero", SIZE),
    "slow": ("printf one; sleep 0.2; printf two", None),
    "failing": ("head -c 300000 /dev/zero; exit 3", None),
    "failing-known": ("head -c 300000 /dev/zero; exit 3", 300_000),
    "too-long": ("head -c 300001 /dev/zero", 300_000),
    "too-short": ("head -c 299999 /dev/zero", 300_000),
    "silent": ("echo hello; exec sleep 600", None),
    "endless": ("exec cat /dev/zero", None),
}
"""Each with the length that is promised of it, if any."""

flask_app = Flask(__name__)


@flask_app.get("/<name>")
def view(name: str) -> FlaskResponse:
    script, size = SCRIPTS[name]
    return send_pipe(["sh", "-c", f": {name}; {script}"], content_length=size)


def wrapped(environ: Environ, start_response: StartResponse) -> Any:
    """The same body in a generator, behind which nobody may look."""
    yield from flask_app(environ, start_response)


async def _send(request: Request) -> PipeResponse:
    script, size = SCRIPTS[request.path_params["name"]]
    headers = {} if size is None else {"content-length": str(size)}
    return PipeResponse(["sh", "-c", script], headers=headers)


starlette_app = Starlette(routes=[Route("/{name}", _send)])

"""The applications that every server is tried with, as their users have them.

`plain` and `wrapped` are Starlette's, the latter in our middleware; `wsgi` is Flask's,
`django_asgi` and `django_wsgi` are Django's. The first part of a path says in what way
the file is sent that the second names.
"""

from __future__ import annotations

import json
import os
from functools import cache
from pathlib import Path
from typing import Any

from flask import Flask, Response as FlaskResponse
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Route

import tests.gunicorn.apps  # noqa: F401  # it writes reports down
from zc_response import MemoryFile
from zc_response.asgi import App, Receive, Scope, Send, ZeroCopyMiddleware
from zc_response.integrations import flask
from zc_response.integrations.starlette import FileResponse, PipeResponse
from zc_response.wsgi import Environ

FILES = Path(os.environ.get("TEST_FILES", "."))
OURS = "zc_response"
"""With this begins the key by which our own hook is known in `extensions`."""


@cache
def memory_file(name: str) -> MemoryFile:
    """The content of a file, in sealed memory."""
    return MemoryFile((FILES / name).read_bytes())


# Starlette ---------------------------------------------------------------------------


async def _file(request: Request) -> FileResponse:
    return FileResponse(FILES / request.path_params["name"])


async def _pipe(request: Request) -> PipeResponse:
    return PipeResponse(["cat", str(FILES / request.path_params["name"])])


async def _sized_pipe(request: Request) -> PipeResponse:
    path = FILES / request.path_params["name"]
    headers = {"content-length": str(path.stat().st_size)}
    return PipeResponse(["cat", str(path)], headers=headers)


async def _memory(request: Request) -> FileResponse:
    return FileResponse(memory_file(request.path_params["name"]))


_starlette = Starlette(
    routes=[
        Route("/file/{name}", _file),
        Route("/pipe/{name}", _pipe),
        Route("/sized/{name}", _sized_pipe),
        Route("/memory/{name}", _memory),
    ]
)


def telling(app: App) -> App:
    """`app`, and at `/offers` what the server offers by itself."""

    async def tell(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != "/offers":
            await app(scope, receive, send)
            return
        offers = scope.get("extensions") or {}
        is_ours = any(name.startswith(OURS) for name in offers)
        body = json.dumps([] if is_ours else sorted(offers)).encode()
        fields = [(b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": fields})
        await send({"type": "http.response.body", "body": body})

    return tell


plain = telling(_starlette)
wrapped = telling(ZeroCopyMiddleware(_starlette))


# Flask -------------------------------------------------------------------------------

wsgi = Flask(__name__)
flask.ZeroCopy(wsgi)


@wsgi.get("/file/<name>")
def _flask_file(name: str) -> FlaskResponse:
    return flask.send_file(FILES / name)


@wsgi.get("/pipe/<name>")
def _flask_pipe(name: str) -> FlaskResponse:
    return flask.send_pipe(["cat", str(FILES / name)])


@wsgi.get("/sized/<name>")
def _flask_sized_pipe(name: str) -> FlaskResponse:
    path = FILES / name
    size = path.stat().st_size
    return flask.send_pipe(["cat", str(path)], content_length=size)


@wsgi.get("/memory/<name>")
def _flask_memory(name: str) -> FlaskResponse:
    return flask.send_file(memory_file(name))


@wsgi.get("/offers")
def _flask_offers() -> Any:
    from flask import request

    environ: Environ = request.environ
    return [key for key in ("wsgi.file_wrapper",) if key in environ]

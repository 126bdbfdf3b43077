"""The same site with each framework: what one says of its files, the others say too.

/NAME            a view that sends a file; what it is asked for (?etag="x") it sets
                 as header fields, and `status` as the status
/memory          a view that sends a file in memory
/snapshot        a view that sends a snapshot of page.html
/static/NAME     a file of the directory
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import flask
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpRequest
from django.test import override_settings
from django.urls import path as route
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route

from tests.django import project
from tests.flask.test_servers import development_server
from tests.live import HOOKED, Answer, Client, Fields, serve
from zc_response import MemoryFile, Policy
from zc_response.integrations import django, starlette
from zc_response.integrations.flask import ZeroCopy, send_file
from zc_response.wsgi import ZeroCopyMiddleware

Site = Callable[[Path, MemoryFile, Policy], contextlib.AbstractContextManager[int]]
"""A server of the files in a directory, and of one in memory; its port."""


@contextlib.contextmanager
def with_starlette(root: Path, memory: MemoryFile, settings: Policy) -> Iterator[int]:
    class FileResponse(starlette.FileResponse):
        policy = settings

    class StaticFiles(starlette.StaticFiles):
        policy = settings

    async def view(request: Request) -> Response:
        name, fields = request.path_params["name"], dict(request.query_params)
        if name == "snapshot":
            return FileResponse(root / "page.html", snapshot=True)
        status = int(fields.pop("status", 200))
        return FileResponse(
            memory if name == "memory" else root / name, status, headers=fields
        )

    routes = [Mount("/static", StaticFiles(directory=root)), Route("/{name}", view)]
    with serve(Starlette(routes=routes), http=HOOKED["httptools"]) as server:
        yield server.port


@contextlib.contextmanager
def with_flask(root: Path, memory: MemoryFile, settings: Policy) -> Iterator[int]:
    app = flask.Flask(__name__, static_folder=str(root), static_url_path="/static")
    ZeroCopy(app, settings)

    @app.route("/<name>")
    def view(name: str) -> flask.Response:
        if name == "snapshot":
            return send_file(root / "page.html", snapshot=True)
        response = send_file(memory if name == "memory" else root / name)
        add(flask.request.args, response)
        return response

    with development_server(app) as port:
        yield port


@contextlib.contextmanager
def _django_site(root: Path, memory: MemoryFile, settings: Policy) -> Iterator[None]:
    class FileResponse(django.FileResponse):
        policy = settings

    def view(request: HttpRequest, name: str) -> Any:
        if name == "snapshot":
            return FileResponse((root / "page.html").open("rb"), snapshot=True)
        file = memory if name == "memory" else (root / name).open("rb")
        response = FileResponse(file)
        add(request.GET.dict(), response)
        return response

    urls = (
        route("static/<path:path>", django.serve, {"document_root": root}),
        route("<name>", view),
    )
    before, django.FileResponse.policy = django.FileResponse.policy, settings
    with override_settings(ROOT_URLCONF=urls):
        yield
    django.FileResponse.policy = before


@contextlib.contextmanager
def with_django_wsgi(root: Path, memory: MemoryFile, settings: Policy) -> Iterator[int]:
    app = ZeroCopyMiddleware(WSGIHandler(), settings)
    with _django_site(root, memory, settings), development_server(app) as port:
        yield port


@contextlib.contextmanager
def with_django_asgi(root: Path, memory: MemoryFile, settings: Policy) -> Iterator[int]:
    site = _django_site(root, memory, settings)
    with site, serve(project.asgi(), http=HOOKED["httptools"]) as server:
        yield server.port


def add(fields: Mapping[str, str], response: Any) -> None:
    """Have a view say more of its response."""
    for name, value in fields.items():
        if name == "status":
            response.status_code = int(value)
        else:
            response.headers[name] = value


class Visitors:
    """Clients of a site, each with a connection of its own."""

    def __init__(self, port: int) -> None:
        self._port = port

    def get(self, target: str, headers: Fields | None = None) -> Answer:
        with Client(self._port) as client:
            return client.get(target, headers)

    def head(self, target: str, headers: Fields | None = None) -> Answer:
        with Client(self._port) as client:
            return client.head(target, headers)


SITES: dict[str, Site] = {
    "Starlette": with_starlette,
    "Flask": with_flask,
    "Django under WSGI": with_django_wsgi,
    "Django under ASGI": with_django_asgi,
}

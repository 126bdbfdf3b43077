"""The applications that gunicorn serves in the tests; loaded in its workers.

`app` is plain WSGI: the first part of the path says in what way the file is sent that
the second names. `flask_app` and `starlette_app` send it as their users do.
"""

from __future__ import annotations

import dataclasses
import gzip
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, repeat
from pathlib import Path
from typing import Any

from flask import Flask, Response as FlaskResponse
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse
from starlette.routing import Mount, Route

from zc_response import Report, add_listener
from zc_response.integrations import flask, gunicorn, starlette
from zc_response.wsgi import Environ, StartResponse, WsgiApp, ZeroCopyMiddleware

FILES = Path(os.environ.get("TEST_FILES", "."))


def _write_down(report: Report) -> None:
    row = {**dataclasses.asdict(report), "pid": os.getpid()}
    with open(os.environ["TEST_REPORTS"], "a") as reports:
        reports.write(json.dumps(row) + "\n")


if "TEST_REPORTS" in os.environ:
    add_listener(_write_down)
    print("the application is loaded", file=sys.stderr, flush=True)


# Plain WSGI ------------------------------------------------------------------------

View = Callable[[Environ, StartResponse, Path], Iterable[bytes]]
VIEWS: dict[str, View] = {}


def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Answer by the view that the path names."""
    _, view, name = environ["PATH_INFO"].split("/", 2)
    return VIEWS[view](environ, start_response, FILES / name)


def view(function: View) -> View:
    """Have it in the application, under its name."""
    VIEWS[function.__name__] = function
    return function


def length(size: int) -> list[tuple[str, str]]:
    return [("Content-Length", str(size))]


def answering(
    environ: Environ, start_response: StartResponse, file: Any, size: int | None
) -> Iterable[bytes]:
    """200 and a file in the server's file wrapper."""
    start_response("200 OK", [] if size is None else length(size))
    body: Iterable[bytes] = environ["wsgi.file_wrapper"](file, 8192)
    return body


@view
def sized(
    environ: Environ, start_response: StartResponse, path: Path
) -> Iterable[bytes]:
    """The whole file, and a Content-Length."""
    size = path.stat().st_size
    return answering(environ, start_response, path.open("rb"), size)


@view
def unsized(
    environ: Environ, start_response: StartResponse, path: Path
) -> Iterable[bytes]:
    """The whole file, and no Content-Length."""
    return answering(environ, start_response, path.open("rb"), None)


@view
def sought(
    environ: Environ, start_response: StartResponse, path: Path
) -> Iterable[bytes]:
    """From where the file stands, after a seek and a read."""
    file = path.open("rb")
    file.seek(1000)
    file.read(234)
    size = path.stat().st_size - 1234
    return answering(environ, start_response, file, size)


@view
def part(
    environ: Environ, start_response: StartResponse, path: Path
) -> Iterable[bytes]:
    """Less than the file has."""
    return answering(environ, start_response, path.open("rb"), 100_000)


@view
def longer(
    environ: Environ, start_response: StartResponse, path: Path
) -> Iterable[bytes]:
    """More than the file has."""
    size = path.stat().st_size + 1000
    return answering(environ, start_response, path.open("rb"), size)


@view
def text(
    environ: Environ, start_response: StartResponse, path: Path
) -> Iterable[bytes]:
    """A file that was opened in the wrong mode."""
    return answering(environ, start_response, path.open(), path.stat().st_size)


@view
def unpacked(
    environ: Environ, start_response: StartResponse, path: Path
) -> Iterable[bytes]:
    """What a GzipFile reads, whose `fileno` is that of the compressed file."""
    return answering(environ, start_response, gzip.open(path), None)


@view
def pipe(
    environ: Environ, start_response: StartResponse, path: Path
) -> Iterable[bytes]:
    """What comes out of a pipe."""
    process = subprocess.Popen(["cat", path], stdout=subprocess.PIPE)
    PROCESSES.append(process)
    return answering(environ, start_response, process.stdout, path.stat().st_size)


PROCESSES: list[subprocess.Popen[bytes]] = []


@view
def memory(
    environ: Environ, start_response: StartResponse, path: Path
) -> Iterable[bytes]:
    """A file object that is no file."""
    content = path.read_bytes()
    return answering(environ, start_response, io.BytesIO(content), len(content))


class Failing(io.RawIOBase):
    """A file object whose second read fails."""

    def __init__(self) -> None:
        self.reads = 0

    def read(self, size: int = -1, /) -> bytes:
        self.reads += 1
        if self.reads > 1:
            raise RuntimeError("there is no second read")
        return b"x" * size


@view
def failing(
    environ: Environ, start_response: StartResponse, path: Path
) -> Iterable[bytes]:
    """A body that raises when a part of it has been sent."""
    return answering(environ, start_response, Failing(), 1_000_000)


@view
def failing_at_once(
    environ: Environ, start_response: StartResponse, path: Path
) -> Iterable[bytes]:
    """A body that raises before anything has been sent."""
    file = Failing()
    file.reads = 1
    return answering(environ, start_response, file, 1_000_000)


class Noting:
    """A file that leaves a mark when it is closed."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        self.read = self._file.read
        self.path = path

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def close(self) -> None:
        self._file.close()
        with self.path.with_suffix(".closed").open("a") as mark:
            mark.write("closed ")


@view
def noting(
    environ: Environ, start_response: StartResponse, path: Path
) -> Iterable[bytes]:
    """A file that leaves a mark when it is closed."""
    size = path.stat().st_size
    return answering(environ, start_response, Noting(path), size)


@view
def noting_longer(
    environ: Environ, start_response: StartResponse, path: Path
) -> Iterable[bytes]:
    """The same, with too large a Content-Length."""
    size = path.stat().st_size + 1
    return answering(environ, start_response, Noting(path), size)


@view
def not_modified(
    environ: Environ, start_response: StartResponse, path: Path
) -> Iterable[bytes]:
    """A 304 with a body, by mistake."""
    start_response("304 Not Modified", [])
    body: Iterable[bytes] = environ["wsgi.file_wrapper"](Noting(path))
    return body


@view
def no_content(
    environ: Environ, start_response: StartResponse, path: Path
) -> Iterable[bytes]:
    """A 204 with a body, by mistake."""
    start_response("204 No Content", [])
    body: Iterable[bytes] = environ["wsgi.file_wrapper"](Noting(path))
    return body


@view
def quick(
    environ: Environ, start_response: StartResponse, path: Path
) -> Iterable[bytes]:
    """A few bytes, at once."""
    start_response("200 OK", length(5))
    return [b"quick"]


@view
def pid(environ: Environ, start_response: StartResponse, path: Path) -> Iterable[bytes]:
    """Which process answers."""
    body = str(os.getpid()).encode()
    start_response("200 OK", length(len(body)))
    return [body]


@view
def connections(
    environ: Environ, start_response: StartResponse, path: Path
) -> Iterable[bytes]:
    """How many a gthread worker believes that it has."""
    assert gunicorn._worker is not None
    body = str(gunicorn._worker.worker.nr_conns).encode()
    start_response("200 OK", length(len(body)))
    return [body]


@view
def slow(
    environ: Environ, start_response: StartResponse, path: Path
) -> Iterable[bytes]:
    """An application that takes a moment."""
    time.sleep(0.3)
    return sized(environ, start_response, path)


@view
def slower(
    environ: Environ, start_response: StartResponse, path: Path
) -> Iterable[bytes]:
    """One that takes longer, and says so."""
    print("slower", file=sys.stderr, flush=True)
    time.sleep(1.5)
    return sized(environ, start_response, path)


@view
def unread(
    environ: Environ, start_response: StartResponse, path: Path
) -> Iterable[bytes]:
    """A file in answer to a body that nobody reads."""
    return sized(environ, start_response, path)


# Middleware that stands between the application and ours ---------------------------


@view
def generated(
    environ: Environ, start_response: StartResponse, path: Path
) -> Iterator[bytes]:
    """The body in a generator that changes nothing, as tracing middleware does."""
    return passing_on(sized(environ, start_response, path))


@view
def generated_unsized(
    environ: Environ, start_response: StartResponse, path: Path
) -> Iterator[bytes]:
    """The same without a Content-Length."""
    return passing_on(unsized(environ, start_response, path))


@view
def generated_lazily(
    environ: Environ, start_response: StartResponse, path: Path
) -> Iterator[bytes]:
    """A generator that calls the application when it is iterated, not before."""
    yield from sized(environ, start_response, path)


def passing_on(body: Iterable[bytes]) -> Iterator[bytes]:
    try:
        yield from body
    finally:
        close = getattr(body, "close", None)
        if close is not None:
            close()


@view
def followed(
    environ: Environ, start_response: StartResponse, path: Path
) -> Iterator[bytes]:
    """A generator that adds something at the end."""
    body = unsized(environ, start_response, path)
    return chain(body, [b"the end"])


@view
def preceded(
    environ: Environ, start_response: StartResponse, path: Path
) -> Iterator[bytes]:
    """Something else before it."""
    body = unsized(environ, start_response, path)
    return chain([b"the beginning"], body)


@view
def twice(
    environ: Environ, start_response: StartResponse, path: Path
) -> Iterator[bytes]:
    """Two files, one after the other."""
    first = unsized(environ, start_response, path)
    return chain(first, environ["wsgi.file_wrapper"](path.open("rb")))


@view
def inverted(
    environ: Environ, start_response: StartResponse, path: Path
) -> Iterator[bytes]:
    """A generator that changes every byte, and not their number."""
    return invert(sized(environ, start_response, path))


@view
def inverted_later(
    environ: Environ, start_response: StartResponse, path: Path
) -> Iterator[bytes]:
    """A generator that leaves the first chunk alone."""
    body = iter(sized(environ, start_response, path))
    yield next(body)
    yield from invert(body)


@view
def doubled_later(
    environ: Environ, start_response: StartResponse, path: Path
) -> Iterator[bytes]:
    """A generator that leaves the first chunk alone, and doubles all others."""
    body = iter(unsized(environ, start_response, path))
    yield next(body)
    for chunk in body:
        yield chunk * 2


def invert(body: Iterable[bytes]) -> Iterator[bytes]:
    table = bytes(255 - byte for byte in range(256))
    for chunk in body:
        yield chunk.translate(table)


@view
def packed(
    environ: Environ, start_response: StartResponse, path: Path
) -> Iterator[bytes]:
    """A middleware that compresses."""
    return pack(unsized(environ, start_response, path))


def pack(body: Iterable[bytes]) -> Iterator[bytes]:
    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="wb") as file:
        for chunk in body:
            file.write(chunk)
    yield buffer.getvalue()


# Middleware that stands outside of ours --------------------------------------------


def inverting(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Middleware that changes the bytes of all bodies, and nothing else."""
    return invert(ZeroCopyMiddleware(app)(environ, start_response))


def mapping(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """The same by an iterator that is not written in Python."""
    table = bytes(255 - byte for byte in range(256))
    body = ZeroCopyMiddleware(app)(environ, start_response)
    return map(bytes.translate, body, repeat(table))


@view
def rewritten(
    environ: Environ, start_response: StartResponse, path: Path
) -> Iterable[bytes]:
    """By Flask; the file changes after the answer has been made of it."""
    environ["PATH_INFO"] = f"/rewritten/{path.name}"
    return flask_app(environ, start_response)


by_hand: WsgiApp = ZeroCopyMiddleware(app)
"""The middleware put around the application by hand."""


# Flask and Starlette ---------------------------------------------------------------


def _make_flask_app() -> Flask:
    made = Flask(__name__)

    @made.get("/<name>")
    def send(name: str) -> FlaskResponse:
        return flask.send_from_directory(FILES, name)

    @made.get("/rewritten/<name>")
    def rewritten(name: str) -> FlaskResponse:
        response = send(name)
        (FILES / name).write_bytes(b"rewritten")
        return response

    return made


flask_app = _make_flask_app()


def wsgi_matrix(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """The Flask application; below /wrapped its body comes in a generator."""
    prefix, path = "/wrapped", environ["PATH_INFO"]
    if not path.startswith(prefix):
        return flask_app(environ, start_response)
    environ["PATH_INFO"] = path[len(prefix) :]
    return passing_on(flask_app(environ, start_response))


async def _send(request: Request) -> starlette.FileResponse:
    return starlette.FileResponse(FILES / request.path_params["name"])


async def _send_stock(request: Request) -> FileResponse:
    return FileResponse(FILES / request.path_params["name"])


async def _pass_on(request: Request, call_next: Any) -> Any:
    return await call_next(request)


asgi_matrix = Starlette(
    routes=[
        Mount(
            "/wrapped",
            routes=[Route("/{name}", _send)],
            middleware=[Middleware(BaseHTTPMiddleware, dispatch=_pass_on)],
        ),
        Route("/stock/{name}", _send_stock),
        Route("/{name}", _send),
    ]
)

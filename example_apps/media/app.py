"""The application: an ordinary Starlette one, but for two imports.

Files leave by zero copy because `FileResponse` and `StaticFiles` are zc_response's and
because the server speaks its protocol (see `__main__`). `/copied/` sends the same
files through Python, as it is done without, to compare.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import ClassVar

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route

from example_apps.media.library import list_library
from example_apps.media.transfers import Board
from zc_response import Policy, add_listener, remove_listener
from zc_response.integrations.starlette import (
    FileResponse,
    PipeResponse,
    StaticFiles,
)

PAGE = Path(__file__).with_name("static")


class CopiedFileResponse(FileResponse):
    """A file response whose bytes are read into memory and written out again."""

    policy: ClassVar[Policy | None] = Policy(zero_copy=False)


def create_app(folder: Path) -> Starlette:
    """The application that serves the files in `folder`; `state.board` follows them."""
    folder = folder.resolve()
    board = Board(folder)

    async def index(request: Request) -> Response:
        return FileResponse(PAGE / "index.html")

    async def files(request: Request) -> Response:
        return JSONResponse([dataclasses.asdict(item) for item in list_library(folder)])

    async def download(request: Request) -> Response:
        path = _existing(folder, request)
        return FileResponse(path, filename=path.name)

    async def copied(request: Request) -> Response:
        path = _existing(folder, request)
        return CopiedFileResponse(path, filename=path.name)

    async def everything(request: Request) -> Response:
        """All files as one archive, which tar writes while it is sent."""
        command = ["tar", "-c", "-C", str(folder), "."]
        name = {"content-disposition": 'attachment; filename="library.tar"'}
        return PipeResponse(command, headers=name, media_type="application/x-tar")

    async def encoded(request: Request) -> Response:
        """A file as an encoder such as ffmpeg gives it out: bit by bit, of no known
        length. gzip stands in for it, because everybody has that."""
        path = _existing(folder, request)
        command = ["gzip", "-1", "-c", str(path)]
        return PipeResponse(command, media_type="application/gzip")

    async def processor(request: Request) -> Response:
        return JSONResponse({"seconds": time.process_time()})

    async def transfers(request: Request) -> Response:
        fresh = {"cache-control": "no-store"}
        events = board.events()
        return StreamingResponse(events, headers=fresh, media_type="text/event-stream")

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        add_listener(board.add)
        yield
        remove_listener(board.add)

    routes = [
        Route("/", index),
        Route("/files", files),
        Route("/processor", processor),
        Route("/transfers", transfers),
        Route("/download/{name}", download),
        Route("/copied/{name}", copied),
        Route("/library.tar", everything),
        Route("/encoded/{name}", encoded),
        Mount("/media", StaticFiles(directory=folder)),
        Mount("/static", StaticFiles(directory=PAGE)),
    ]
    app = Starlette(routes=routes, lifespan=lifespan)
    app.state.board = board
    return app


def _existing(folder: Path, request: Request) -> Path:
    """The file that the path names, if it is one of the list."""
    name: str = request.path_params["name"]
    if not any(name == item.name for item in list_library(folder)):
        raise HTTPException(404)
    return folder / name

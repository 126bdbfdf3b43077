"""The ASGI applications under test: one view that returns a file, in several ways.

A server imports this module and calls one of the factories; each imports only what it
needs, so that no candidate carries another's weight. An environment variable names the
directory of the files.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, MutableMapping
from pathlib import Path
from typing import Any, Final

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from zc_response.cli.bench.files import DIRECTORY_VARIABLE, LARGEST_IN_MEMORY

PIPE_BLOCK: Final = 64 * 1024
"""Read at once by the stock ones: what an ordinary pipe holds."""

Message = MutableMapping[str, Any]
App = Callable[
    [Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]],
    Awaitable[None],
]


def stock() -> App:
    """Starlette's own FileResponse."""
    return _application(FileResponse)


def middleware() -> App:
    """The stock application inside ZeroCopyMiddleware."""
    from zc_response.asgi import ZeroCopyMiddleware

    return ZeroCopyMiddleware(stock())


def response() -> App:
    """The FileResponse of zc_response."""
    from zc_response.integrations import starlette

    return _application(starlette.FileResponse)


def stock_static_files() -> App:
    """Starlette's own StaticFiles."""
    return _mount(StaticFiles)


def static_files() -> App:
    """The StaticFiles of zc_response."""
    from zc_response.integrations import starlette

    return _mount(starlette.StaticFiles)


def in_memory() -> App:
    """The bytes themselves, read once: what the view costs without any file."""
    contents = {
        str(path): path.read_bytes()
        for path in Path(os.environ[DIRECTORY_VARIABLE]).iterdir()
        if path.stat().st_size <= LARGEST_IN_MEMORY
    }
    return _application(
        lambda path: Response(contents[path], media_type="application/octet-stream")
    )


def memory_file() -> App:
    """The same in sealed memory files of zc_response."""
    from zc_response import MemoryFile
    from zc_response.integrations.starlette import FileResponse

    files = {
        str(path): MemoryFile(path.read_bytes())
        for path in Path(os.environ[DIRECTORY_VARIABLE]).iterdir()
        if path.stat().st_size <= LARGEST_IN_MEMORY
    }
    return _application(lambda path: FileResponse(files[path]))


def snapshot() -> App:
    """The FileResponse of zc_response, which makes a private copy for each response."""
    from zc_response.integrations.starlette import FileResponse

    return _application(lambda path: FileResponse(path, snapshot=True))


def pipe() -> App:
    """The PipeResponse of zc_response, from a process that writes the file."""
    from zc_response.integrations.starlette import PipeResponse

    return _application(
        lambda path: PipeResponse(["cat", path], headers=_length_of(path))
    )


def pipe_chunked() -> App:
    """The same without a length: each piece has a head of its own."""
    from zc_response.integrations.starlette import PipeResponse

    return _application(lambda path: PipeResponse(["cat", path]))


def stock_pipe() -> App:
    """Starlette's StreamingResponse, which reads the same pipe in threads."""
    return _application(
        lambda path: StreamingResponse(_read_pipe(path), headers=_length_of(path))
    )


def stock_pipe_chunked() -> App:
    """The same without a length."""
    return _application(lambda path: StreamingResponse(_read_pipe(path)))


def stock_pipe_asyncio() -> App:
    """The same, reading by asyncio's own subprocess."""
    return _application(
        lambda path: StreamingResponse(_await_pipe(path), headers=_length_of(path))
    )


def _read_pipe(path: str) -> Iterator[bytes]:
    with subprocess.Popen(["cat", path], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        while data := os.read(process.stdout.fileno(), PIPE_BLOCK):
            yield data


async def _await_pipe(path: str) -> AsyncIterator[bytes]:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec("cat", path, stdout=pipe)
    assert process.stdout is not None
    while data := await process.stdout.read(PIPE_BLOCK):
        yield data
    await process.wait()


def _length_of(path: str) -> dict[str, str]:
    return {"content-length": str(os.path.getsize(path))}


def _application(respond: Callable[[str], Response]) -> Starlette:
    directory = os.environ[DIRECTORY_VARIABLE]

    async def view(request: Request) -> Response:
        return respond(f"{directory}/{request.path_params['name']}")

    return Starlette(routes=[Route("/{name}", view)])


def _mount(files: type[StaticFiles]) -> Starlette:
    directory = os.environ[DIRECTORY_VARIABLE]
    return Starlette(routes=[Mount("/", files(directory=directory))])

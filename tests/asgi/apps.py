"""Small ASGI applications that send files by the protocol's own messages."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from zc_response.asgi import Receive, Scope, Send

App = Callable[[Scope, Receive, Send], Awaitable[None]]


def start(status: int = 200, **headers: object) -> dict[str, Any]:
    """A start message; keywords become header fields."""
    fields = [
        (name.replace("_", "-").encode(), str(value).encode())
        for name, value in headers.items()
    ]
    return {"type": "http.response.start", "status": status, "headers": fields}


def body(data: bytes = b"", *, more: bool = False) -> dict[str, Any]:
    return {"type": "http.response.body", "body": data, "more_body": more}


def pathsend(path: object) -> dict[str, Any]:
    return {"type": "http.response.pathsend", "path": str(path)}


def zerocopysend(file: object, **keys: object) -> dict[str, Any]:
    return {"type": "http.response.zerocopysend", "file": file, **keys}


def sending(*messages: dict[str, Any]) -> App:
    """An application that answers every request with these messages."""

    async def app(scope: Scope, _receive: Receive, send: Send) -> None:
        assert scope["type"] == "http"
        for message in messages:
            await send(dict(message))

    return app


def calling(respond: Callable[[Scope, Send], Awaitable[None]]) -> App:
    """An application out of a function of scope and send."""

    async def app(scope: Scope, _receive: Receive, send: Send) -> None:
        await respond(scope, send)

    return app

"""The words of the protocol: what passes between application and server (ASGI 3)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

Fields = tuple[tuple[bytes, bytes], ...]
"""Header fields, as ASGI wants them."""

EXTENSION: Final = "zc_response"
"""The key in `scope["extensions"]` that says a hook of ours is there, and what stands
in the way of zero copy, if anything does."""
SEGMENTS: Final = "zc_response.segments"
"""The key in a pathsend message under which the body's segments travel."""

STREAM: Final = "zc_response.stream"
"""The key in a pathsend message under which a stream travels; `path` is its name."""

POLICY: Final = "zc_response.policy"
"""The key beside it, under which a response's own settings travel."""

PATHSEND: Final = "http.response.pathsend"
ZEROCOPYSEND: Final = "http.response.zerocopysend"

"""The ASGI side, for any server and framework: offering zero copy, and asking for it.

`ZeroCopyMiddleware` looks for the server's connection behind `send`. Where it finds
one it knows, it announces `http.response.pathsend` and `http.response.zerocopysend`
in `scope["extensions"]`, and executes them. `respond` is the other end: it sends a
plan by the best message that the scope offers, and by copying where it offers none.

One response is one pathsend message: of all messages that name a file it is the only
one that BaseHTTPMiddleware and GZipMiddleware let through. What it cannot say (ranges,
several of them, a file that is open already) travels with it under a key of our own.

    messages      the words of the protocol
    connections   finding the server's connection behind `send`
    middleware    announcing the messages where they will be executed
    exchange      executing them
    elsewhere     awaiting what may wait for a disk
    waiting       awaiting a producer
    copying       the same body as ordinary messages
    response      the other end: sending a plan

Nothing here knows a server: a server's integration hands over a `Connection`.
"""

from __future__ import annotations

from zc_response.asgi.connections import Connection
from zc_response.asgi.copying import begin, read_stream
from zc_response.asgi.elsewhere import elsewhere
from zc_response.asgi.messages import App, Fields, Message, Receive, Scope, Send
from zc_response.asgi.middleware import ZeroCopyMiddleware, offer
from zc_response.asgi.response import (
    Answer,
    conditions,
    is_driven,
    is_small,
    respond,
    respond_past,
    respond_small,
    respond_stream,
)
from zc_response.asgi.waiting import AsyncioWaiting

__all__ = [
    # For applications
    "ZeroCopyMiddleware",
    # For the integrations of frameworks
    "Answer",
    "AsyncioWaiting",
    "begin",
    "conditions",
    "elsewhere",
    "is_driven",
    "is_small",
    "offer",
    "read_stream",
    "respond",
    "respond_past",
    "respond_small",
    "respond_stream",
    # For the integrations of servers
    "Connection",
    # The words of the protocol
    "App",
    "Fields",
    "Message",
    "Receive",
    "Scope",
    "Send",
]  # fmt: skip

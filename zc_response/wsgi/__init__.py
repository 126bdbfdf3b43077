"""The WSGI side, for any server and framework (PEP 3333).

`ZeroCopyMiddleware` stands outside of everything. It gives the application a
`wsgi.file_wrapper` of ours, and when the response comes back it looks whether the body
is still that very file: then it leaves by zero copy, over the socket that the server
lets us reach; else, and on every other server, it is iterated as usual.

    bodies        iterables that can leave by zero copy
    connections   what a server's integration gives
    middleware    offering the file wrapper, and recognising what comes back
    exchange      sending it
    copying       the same body as ordinary chunks

Nothing here knows a server: a server's integration hands over a `Connection`.
"""

from __future__ import annotations

from zc_response.wsgi.bodies import (
    FileWrapper,
    SegmentsBody,
    StreamBody,
    ZeroCopyBody,
    real_file,
    source_behind,
)
from zc_response.wsgi.connections import (
    Connection,
    Environ,
    HeaderFields,
    StartResponse,
    WsgiApp,
)
from zc_response.wsgi.copying import read_segments, read_stream
from zc_response.wsgi.exchange import EXCHANGE, Exchange
from zc_response.wsgi.middleware import ZeroCopyMiddleware

__all__ = [
    # For applications
    "ZeroCopyMiddleware",
    # For the integrations of frameworks
    "EXCHANGE",
    "Exchange",
    "FileWrapper",
    "SegmentsBody",
    "StreamBody",
    "ZeroCopyBody",
    "read_segments",
    "read_stream",
    "real_file",
    "source_behind",
    # For the integrations of servers
    "Connection",
    "Environ",
    "HeaderFields",
    "StartResponse",
    "WsgiApp",
]  # fmt: skip

"""Django: ranges and zero copy for its file responses, under WSGI and ASGI.

    from zc_response.integrations.django import FileResponse       # in a view
    from zc_response.integrations.django import get_asgi_application   # in asgi.py
    MIDDLEWARE = [..., "zc_response.integrations.django.ZeroCopyMiddleware"]

`FileResponse` is a subclass of Django's own, with its signature. What differs: it
answers preconditions, single and several ranges as RFC 9110 has them, and leaves by
zero copy where the server lets it. The middleware, put last, gives the same to every
stock file response of any view. `PipeResponse` sends what comes out of a pipe.

    files        the file behind a file object, and its source
    responses    answering a request with it
    middleware   the same for stock responses
    asgi         Django's ASGI handler, which hands bodies on instead of reading them
    static       files of a directory
    pipes        a response from a pipe

Under WSGI a body travels as `file_to_stream`, the attribute that Django hands to
`wsgi.file_wrapper`; whoever sets `streaming_content` resets it, as ever. So a body that
was changed on its way is never sent from the file.
"""

from __future__ import annotations

from zc_response.integrations.django.asgi import get_asgi_application
from zc_response.integrations.django.middleware import ZeroCopyMiddleware
from zc_response.integrations.django.pipes import PipeResponse
from zc_response.integrations.django.responses import FileResponse
from zc_response.integrations.django.static import (
    ASGIStaticFilesHandler,
    StaticFilesHandler,
    serve,
)

__all__ = [
    # In views and urls
    "FileResponse",
    "PipeResponse",
    "serve",
    # In settings
    "ZeroCopyMiddleware",
    # In asgi.py and wsgi.py
    "get_asgi_application",
    "ASGIStaticFilesHandler",
    "StaticFilesHandler",
]  # fmt: skip

"""A Django project of one module: its settings, views of many kinds, and handlers.

The first part of a path names a view, the rest a file below the media root. Servers in
processes of their own find the files by the environment.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import django
from django.conf import settings
from django.core.files.storage import FileSystemStorage
from django.http import FileResponse as Stock, HttpRequest, StreamingHttpResponse
from django.urls import path

from tests.gunicorn.scripts import SCRIPTS, command
from zc_response import Report, add_listener

OURS = "zc_response.integrations.django.ZeroCopyMiddleware"
MIDDLEWARE = [
    "django.middleware.gzip.GZipMiddleware",
    "django.middleware.http.ConditionalGetMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
]
CACHES = (
    "django.middleware.cache.UpdateCacheMiddleware",
    "django.middleware.cache.FetchFromCacheMiddleware",
)

settings.configure(
    ROOT_URLCONF=__name__,
    ALLOWED_HOSTS=["*"],
    SECRET_KEY="test",
    LOGGING_CONFIG=None,
    MEDIA_ROOT=os.environ.get("TEST_FILES", "."),
    MIDDLEWARE=json.loads(os.environ.get("TEST_MIDDLEWARE", "[]")),
    SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies",
    STATIC_URL="static/",
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth"],
)
django.setup()

from zc_response.integrations.django import (  # noqa: E402
    ASGIStaticFilesHandler,
    FileResponse,
    PipeResponse,
    StaticFilesHandler,
    get_asgi_application,
    serve,
)


def _write_down(report: Report) -> None:
    with open(os.environ["TEST_REPORTS"], "a") as reports:
        reports.write(json.dumps(asdict(report)) + "\n")


if "TEST_REPORTS" in os.environ:
    if "TEST_SILENT" not in os.environ:
        add_listener(_write_down)
    print("the application is loaded", file=sys.stderr, flush=True)


def root() -> Path:
    return Path(settings.MEDIA_ROOT)


# Views -----------------------------------------------------------------------------


def ours(_request: HttpRequest, name: str) -> Any:
    return FileResponse((root() / name).open("rb"))


async def ours_async(_request: HttpRequest, name: str) -> Any:
    return FileResponse((root() / name).open("rb"))


def stock(_request: HttpRequest, name: str) -> Any:
    return Stock((root() / name).open("rb"))


def lines(_request: HttpRequest, name: str) -> Any:
    """A Django file as a stream, which is iterated by lines."""
    return StreamingHttpResponse(FileSystemStorage().open(name))


def stored(_request: HttpRequest, name: str) -> Any:
    """What a FileField on the default storage gives."""
    return FileResponse(FileSystemStorage().open(name), as_attachment=True)


def memory(_request: HttpRequest, name: str) -> Any:
    return FileResponse(io.BytesIO((root() / name).read_bytes()), filename=name)


def unzipped(_request: HttpRequest, name: str) -> Any:
    """A file object whose descriptor is that of other bytes."""
    return FileResponse(gzip.open(root() / name), filename=name)


def in_session(request: HttpRequest, name: str) -> Any:
    request.session["seen"] = name
    return ours(request, name)


def changed(_request: HttpRequest, name: str) -> Any:
    """A file that is written to after it has been looked at."""
    response = FileResponse((root() / name).open("rb"))
    with (root() / name).open("ab") as file:
        file.write(b"more")
    return response


def served(request: HttpRequest, name: str) -> Any:
    return serve(request, name, document_root=settings.MEDIA_ROOT)


def piped(_request: HttpRequest, name: str) -> Any:
    """What a script writes."""
    size = SCRIPTS[name][1]
    headers = {} if size is None else {"Content-Length": str(size)}
    return PipeResponse(command(name), headers=headers)


async def piped_async(request: HttpRequest, name: str) -> Any:
    return piped(request, name)


VIEWS = (
    *(ours, ours_async, stock, lines, stored, memory, unzipped, in_session, changed),
    *(served, piped, piped_async),
)
urlpatterns = [
    *(path(f"{view.__name__}/<path:name>", view) for view in VIEWS),
    path("<str:name>", piped),
]


# What servers load -----------------------------------------------------------------


def instrument() -> None:
    """Have requests traced, as the environment says."""
    kind = os.environ.get("TEST_INSTRUMENT")
    if kind == "sentry":
        import sentry_sdk

        sentry_sdk.init("http://x@127.0.0.1/1", traces_sample_rate=1.0, transport=drop)
    elif kind == "opentelemetry":
        from opentelemetry.instrumentation.django import DjangoInstrumentor

        DjangoInstrumentor().instrument()


def drop(_envelope: object) -> None:
    """Nobody is told."""


def wsgi() -> Any:
    from django.core.wsgi import get_wsgi_application

    instrument()
    return get_wsgi_application()


def wsgi_static() -> Any:
    return StaticFilesHandler(wsgi())


def asgi_static() -> Any:
    return ASGIStaticFilesHandler(asgi())


def asgi() -> Any:
    instrument()
    return get_asgi_application()


def stock_asgi() -> Any:
    from django.core.asgi import get_asgi_application

    return get_asgi_application()

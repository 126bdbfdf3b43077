"""The Django projects under test: one view for a file, in several ways.

As in `apps.py`, a server calls one of the factories, and an environment variable names
the directory of the files. The project has the middleware that `startproject` gives it,
and no database.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import django
import django.core.asgi
import django.core.handlers.wsgi
from django.conf import settings
from django.http import FileResponse, HttpResponse
from django.urls import path

from zc_response.cli.bench.files import DIRECTORY_VARIABLE, LARGEST_IN_MEMORY

urlpatterns: list[Any] = []


def stock() -> Any:
    """Django's own FileResponse."""
    return _wsgi(_opening(FileResponse))


def response() -> Any:
    """The FileResponse of zc_response."""
    return _wsgi(_our_response())


def field() -> Any:
    """The FileResponse of zc_response, of what a FileField holds."""
    return _wsgi(_our_field())


def in_memory() -> Any:
    """The bytes themselves, read once: what the view costs without any file."""
    return _wsgi(_in_memory())


def asgi_stock() -> Any:
    """Django's own FileResponse, and its own handler."""
    _set_up(_opening(FileResponse))
    return django.core.asgi.get_asgi_application()


def asgi_middleware() -> Any:
    """The stock response in the middleware of zc_response, and its handler."""
    return _our_asgi(
        _opening(FileResponse), "zc_response.integrations.django.ZeroCopyMiddleware"
    )


def asgi_response() -> Any:
    """The FileResponse of zc_response, and its handler."""
    return _our_asgi(_our_response())


def asgi_field() -> Any:
    """The FileResponse of zc_response, of what a FileField holds, and its handler."""
    return _our_asgi(_our_field())


def asgi_in_memory() -> Any:
    """The bytes themselves, by Django's own handler."""
    _set_up(_in_memory())
    return django.core.asgi.get_asgi_application()


View = Callable[[Any, str], Any]


def _opening(respond: Callable[[Any], Any]) -> View:
    directory = os.environ[DIRECTORY_VARIABLE]
    return lambda _request, name: respond(open(f"{directory}/{name}", "rb"))


def _our_response() -> View:
    from zc_response.integrations import django as ours

    return _opening(ours.FileResponse)


def _our_field() -> View:
    """Without a database: what a query costs is the same for all."""
    from django.core.files.storage import FileSystemStorage
    from django.db.models import FileField
    from django.db.models.fields.files import FieldFile

    from zc_response.integrations.django import FileResponse

    storage = FileSystemStorage(location=os.environ[DIRECTORY_VARIABLE])
    field = FileField(name="file", storage=storage)
    return lambda _request, name: FileResponse(FieldFile(None, field, name))


def _in_memory() -> View:
    contents = {
        file.name: file.read_bytes()
        for file in Path(os.environ[DIRECTORY_VARIABLE]).iterdir()
        if file.stat().st_size <= LARGEST_IN_MEMORY
    }
    kind = "application/octet-stream"
    return lambda _request, name: HttpResponse(contents[name], content_type=kind)


def _wsgi(view: View) -> Any:
    _set_up(view)
    return django.core.handlers.wsgi.WSGIHandler()


def _our_asgi(view: View, *middleware: str) -> Any:
    from zc_response.integrations import django as ours

    _set_up(view, *middleware)
    return ours.get_asgi_application()


MIDDLEWARE: Final = (
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
)


def _set_up(view: View, *middleware: str) -> None:
    urlpatterns.append(path("<name>", view))
    settings.configure(
        ROOT_URLCONF=__name__,
        ALLOWED_HOSTS=["*"],
        SECRET_KEY="bench",
        LOGGING_CONFIG=None,
        INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes"],
        MIDDLEWARE=[*MIDDLEWARE, *middleware],
        SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies",
    )
    django.setup()

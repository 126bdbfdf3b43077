"""The project of the Django tests, as servers load it; and the views that only these
tests have."""

from __future__ import annotations

import os
from functools import cache
from typing import Any

from django.http import HttpRequest
from django.urls import path

from tests.django import project
from zc_response import MemoryFile
from zc_response.integrations.django import FileResponse, PipeResponse


@cache
def memory_file(name: str) -> MemoryFile:
    """The content of a file, in sealed memory."""
    return MemoryFile((project.root() / name).read_bytes())


def pipe(_request: HttpRequest, name: str) -> Any:
    return PipeResponse(["cat", str(project.root() / name)])


def sized(_request: HttpRequest, name: str) -> Any:
    whole = project.root() / name
    headers = {"Content-Length": str(os.stat(whole).st_size)}
    return PipeResponse(["cat", str(whole)], headers=headers)


def memory(_request: HttpRequest, name: str) -> Any:
    return FileResponse(memory_file(name))


project.urlpatterns[:0] = [
    path(f"{view.__name__}/<str:name>", view) for view in (pipe, sized, memory)
]

asgi = project.asgi()
wsgi = project.wsgi()

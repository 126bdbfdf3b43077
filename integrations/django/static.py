"""Files of a directory, in place of Django's own views and handlers for them.

A directory is confined by the kernel: no name and no symbolic link leads out of it.
"""

from __future__ import annotations

import errno
import os
import posixpath
from mimetypes import guess_type
from pathlib import Path
from typing import Any, Final

from django.conf import settings
from django.contrib.staticfiles import finders, handlers
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpResponse
from django.http.response import HttpResponseBase
from django.utils._os import safe_join
from django.utils.translation import gettext
from django.views.static import directory_index

from zc_response.derived import opened
from zc_response.errors import FileForbiddenError, NotRegularFileError, SourceError
from zc_response.integrations.django.asgi import ZeroCopy
from zc_response.integrations.django.files import KeptFile
from zc_response.integrations.django.responses import FileResponse
from zc_response.policy import default_policy
from zc_response.sources import open_files


def serve(
    request: Any,
    path: str,
    document_root: str | os.PathLike[str] | None = None,
    show_indexes: bool = False,
    *,
    insecure: bool = False,
    follow_symlink: bool = False,
) -> Any:
    """Serve a file below `document_root`, as `django.views.static.serve` does.

    Without `document_root`, what the finders of staticfiles find, as
    `django.contrib.staticfiles.views.serve` does: with DEBUG, or if it is `insecure`.
    `follow_symlink` lets symbolic links lead out of the directory (`collectstatic
    --link` makes such ones).

    Raises Http404 for what is not there, is no regular file or leads out by a link,
    SuspiciousFileOperation for a path that leads out, and PermissionDenied for a file
    that may not be read.
    """
    if document_root is None:
        document_root, path = _find(path, insecure)
    path = posixpath.normpath(path).lstrip("/")
    full_path = safe_join(document_root, path)
    root = "" if follow_symlink else os.path.abspath(document_root)
    policy = FileResponse.policy or default_policy()
    accepted = None
    if policy.precompressed != "never":
        accepted = request.META.get("HTTP_ACCEPT_ENCODING", "")
    try:
        found = opened(open_files(policy), full_path, root, accepted)
    except NotRegularFileError as exc:
        if not os.path.isdir(full_path):
            raise Http404(_MISSING % {"path": full_path}) from exc
        if show_indexes and (follow_symlink or _is_inside(full_path, root)):
            return directory_index(path, Path(full_path))
        raise Http404(gettext("Directory indexes are not allowed here.")) from exc
    except SourceError as exc:
        return _refuse(exc, full_path)
    content_type, encoding = guess_type(full_path)
    response = FileResponse(
        KeptFile(found.source), content_type=content_type or "application/octet-stream"
    )
    response._found = found[1:]
    if encoding:
        response.headers["Content-Encoding"] = encoding
    response.answer(request)
    return response


_MISSING: Final = "“%(path)s” does not exist"


def _refuse(error: SourceError, path: str) -> HttpResponse:
    if error.status == 503:
        return HttpResponse(status=503, headers={"Retry-After": "1"})
    if isinstance(error, FileForbiddenError) and error.errno == errno.EACCES:
        raise PermissionDenied from error
    if error.status in (403, 404):
        raise Http404(gettext(_MISSING) % {"path": path}) from error
    raise error


def _is_inside(path: str, root: str) -> bool:
    """True if no symbolic link on the way to a directory leads out of the root."""
    real = os.path.realpath(root)
    return os.path.commonpath([os.path.realpath(path), real]) == real


def _find(path: str, insecure: bool) -> tuple[str, str]:
    """The directory in which the finders find a static file, and its path in there."""
    if not settings.DEBUG and not insecure:
        raise Http404
    relative = posixpath.normpath(path).lstrip("/")
    found = finders.find(relative)
    if not found:
        if path.endswith("/") or path == "":
            raise Http404("Directory indexes are not allowed here.")
        raise Http404(f"'{path}' could not be found")
    directory, name = os.path.split(found)
    return directory, name


class _Serving:
    """What is added to the handlers of staticfiles."""

    def serve(self, request: Any) -> Any:
        """Serve the request path."""
        return serve(request, self.file_path(request.path), insecure=True)  # type: ignore[attr-defined]


class StaticFilesHandler(_Serving, handlers.StaticFilesHandler):
    """Django's own for WSGI: static files by `serve`, the rest by the application."""


class ASGIStaticFilesHandler(ZeroCopy, _Serving, handlers.ASGIStaticFilesHandler):
    """Django's own for ASGI: static files by `serve`, the rest by the application."""

    async def get_response_async(self, request: Any) -> HttpResponseBase:
        """The response to a static request, which is not read into memory."""
        response: HttpResponseBase = (
            await handlers.StaticFilesHandlerMixin.get_response_async(self, request)
        )
        response._resource_closers.append(request.close)
        return response

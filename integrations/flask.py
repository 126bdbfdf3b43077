"""Flask: drop-in `send_file` and `send_from_directory`, `send_pipe`, and an extension.

    from zc_response.integrations.flask import ZeroCopy, send_file

    app = Flask(__name__)
    ZeroCopy(app)

The functions have Flask's own signatures. What differs: the file is opened before it is
looked at, so header fields and body are of one file; several ranges are answered, and
preconditions, as RFC 9110 has them; ranges leave by zero copy too. A directory is
confined by the kernel: no symbolic link leads out of it.

The extension puts `ZeroCopyMiddleware` around the application, so that all its file
responses leave by zero copy where the server lets them (gunicorn, the development
server), and serves its static files in the way described above.
"""

from __future__ import annotations

import errno
import inspect
import io
import os
import posixpath
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import IO, Any, Final, NamedTuple, NoReturn

import flask
import werkzeug.utils
from flask import Flask, Response, current_app, request
from werkzeug.datastructures import Headers
from werkzeug.exceptions import (
    Forbidden,
    NotFound,
    RequestedRangeNotSatisfiable,
    ServiceUnavailable,
)
from werkzeug.http import quote_etag

from zc_response.derived import Selected, compressed, opened, snapshot_of
from zc_response.errors import FileForbiddenError, SourceError
from zc_response.planning import Headers as HeaderPairs, Segment, plan
from zc_response.policy import Policy, default_policy
from zc_response.representation import is_settled, represent
from zc_response.sources import (
    FileSource,
    MemoryFile,
    Stream,
    Streamable,
    open_files,
)
from zc_response.wsgi import (
    EXCHANGE,
    Environ,
    Exchange,
    HeaderFields,
    SegmentsBody,
    StartResponse,
    StreamBody,
    ZeroCopyMiddleware,
    read_segments,
    read_stream,
    source_behind,
)

__all__ = ["ZeroCopy", "send_file", "send_from_directory", "send_pipe"]

MaxAge = int | Callable[[str | None], int | None] | None


def send_file(
    path_or_file: os.PathLike[str] | str | IO[bytes] | MemoryFile,
    mimetype: str | None = None,
    as_attachment: bool = False,
    download_name: str | None = None,
    conditional: bool = True,
    etag: bool | str = True,
    last_modified: datetime | float | None = None,
    max_age: MaxAge = None,
    *,
    snapshot: bool = False,
) -> Response:
    """Send a file, as `flask.send_file` does.

    Of a `MemoryFile`, which stays the caller's, the name is a name for the download.
    Raises the OSError that says why a path cannot be opened: FileNotFoundError,
    PermissionError. A file object that is no file of the operating system, and one that
    does not stand at its beginning, are Flask's own affair.

    With `snapshot` it is a private copy of the file as it is now that is sent, whatever
    happens to it later. Raises ServiceUnavailable where there is no room for one, and
    ValueError for a file object as above.
    """
    options: dict[str, Any] = {
        "mimetype": mimetype,
        "as_attachment": as_attachment,
        "download_name": download_name,
        "conditional": conditional,
        "etag": etag,
        "last_modified": last_modified,
        "max_age": max_age,
    }
    app = current_app._get_current_object()  # type: ignore[attr-defined]
    policy = _policy(app)
    if isinstance(path_or_file, MemoryFile):
        options["mimetype"] = mimetype or path_or_file.media_type
        options["download_name"] = download_name or path_or_file.name or None
        found = Selected(path_or_file.share(), path_or_file.coding)
        return _respond(app, found, None, policy, **options)
    if app.config["USE_X_SENDFILE"] and not snapshot:
        return flask.send_file(path_or_file, **options)
    if isinstance(path_or_file, str) or hasattr(path_or_file, "__fspath__"):
        path = os.path.join(app.root_path, path_or_file)
        is_encoded = policy.precompressed == "always" and bool(etag)
        try:
            found = _open(path, "", policy, is_encoded)
        except SourceError as exc:
            if exc.status == 503:
                raise ServiceUnavailable(retry_after=1) from exc
            raise
        found = _snapshot(found, policy) if snapshot else found
        return _respond(app, found, path, policy, **options)
    source = source_behind(path_or_file, policy)
    if source is None:
        if snapshot:
            raise ValueError(f"there can be no snapshot of {path_or_file!r}")
        return flask.send_file(path_or_file, **options)
    found = Selected(source)
    found = _snapshot(found, policy) if snapshot else found
    return _respond(app, found, None, policy, path_or_file.close, **options)


def send_from_directory(
    directory: os.PathLike[str] | str, path: os.PathLike[str] | str, **kwargs: Any
) -> Response:
    """Send a file from within a directory, as `flask.send_from_directory` does.

    Raises NotFound for what is not there, is not a regular file, or leads out of the
    directory (also by a symbolic link), and Forbidden for what may not be read.
    """
    if unknown := kwargs.keys() - _OPTIONS:
        raise TypeError(f"send_from_directory() got unexpected arguments: {unknown}")
    app = current_app._get_current_object()  # type: ignore[attr-defined]
    snapshot = kwargs.pop("snapshot", False)
    if app.config["USE_X_SENDFILE"] and not snapshot:
        return flask.send_from_directory(directory, path, **kwargs)
    policy = _policy(app)
    is_encoded = policy.precompressed == "always" and bool(kwargs.get("etag", True))
    found, path = _find(app, directory, path, policy, is_encoded)
    found = _snapshot(found, policy) if snapshot else found
    return _respond(app, found, path, policy, **kwargs)


def send_pipe(
    content: Streamable,
    mimetype: str | None = None,
    as_attachment: bool = False,
    download_name: str | None = None,
    content_length: int | None = None,
) -> Response:
    """Send what comes out of a pipe, by the kernel alone where the server lets us.

        return send_pipe(["tar", "-c", "photos"], "application/x-tar")

    `content` is a command (a list of strings), which is started when the response is
    sent, and not at all for HEAD; or a `subprocess.Popen` with `stdout=PIPE`; a binary
    file object, a socket or a descriptor; or a function that returns one of these. It
    is the response's from then on, which closes it, ends the process if the client
    leaves (SIGTERM, after two seconds SIGKILL), and waits for it.

    `content_length`, in bytes, is a promise: a producer that writes more or less than
    that, or ends with another status than 0, ends the connection visibly. Without it
    the body is chunked.

    When it is sent, before the response has begun, NotStreamError is raised for what is
    neither a pipe nor a connected socket, and ProducerError for a command that cannot
    be started, or fails before its first byte and within `first_byte_wait`.
    """
    policy = _policy(current_app._get_current_object())  # type: ignore[attr-defined]
    response: Response = current_app.response_class(mimetype=mimetype)
    if content_length is not None:
        response.content_length = content_length
    if as_attachment:
        options = {"filename": download_name} if download_name else {}
        response.headers.set("Content-Disposition", "attachment", **options)

    def read(stream: Stream, check: Callable[[], None]) -> Generator[bytes, None, None]:
        status, promised = response.status_code, response.content_length
        return read_stream(stream, policy, status, promised, check)

    response.response = StreamBody(content, read)
    response.direct_passthrough = True
    return response


_OPTIONS: Final = frozenset(inspect.signature(send_file).parameters) - {"path_or_file"}


class ZeroCopy:
    """The extension: `ZeroCopy(app)`, or `ZeroCopy()` and `init_app(app)`."""

    def __init__(self, app: Flask | None = None, policy: Policy | None = None) -> None:
        self.policy = policy
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Have the files of `app` leave by zero copy."""
        app.extensions["zc_response"] = self
        app.wsgi_app = ZeroCopyMiddleware(app.wsgi_app, self.policy)  # type: ignore[method-assign]

        def send_static_file(filename: str) -> Response:
            if not app.has_static_folder or app.static_folder is None:
                raise RuntimeError("'static_folder' must be set to serve static_files.")
            max_age = app.get_send_file_max_age(filename)
            if app.config["USE_X_SENDFILE"]:
                directory = app.static_folder
                return flask.send_from_directory(directory, filename, max_age=max_age)
            policy = _policy(app)
            is_encoded = policy.precompressed != "never"
            found, path = _find(app, app.static_folder, filename, policy, is_encoded)
            return _respond(app, found, path, policy, max_age=max_age)

        app.send_static_file = send_static_file  # type: ignore[method-assign]


# How -------------------------------------------------------------------------------


def _policy(app: Flask) -> Policy:
    extension = app.extensions.get("zc_response")
    policy: Policy | None = getattr(extension, "policy", None)
    return policy or default_policy()


def _snapshot(found: Selected, policy: Policy) -> Selected:
    """A private copy of an open file, in the place of that."""
    try:
        with found.source as source:
            return found._replace(source=snapshot_of(source, policy, found.coding))
    except SourceError as exc:
        _refuse(exc)


def _open(path: str, root: str, policy: Policy, is_encoded: bool) -> Selected:
    """An open file, or the variant beside it that the client likes best."""
    accepted = request.environ.get("HTTP_ACCEPT_ENCODING", "") if is_encoded else None
    return opened(open_files(policy), path, root, accepted)


def _find(
    app: Flask,
    directory: os.PathLike[str] | str,
    name: os.PathLike[str] | str,
    policy: Policy,
    is_encoded: bool,
) -> tuple[Selected, str]:
    """The file of that name in a directory, or its variant; and the file's path."""
    root = os.path.join(app.root_path, directory)
    path = _joined(root, os.fspath(name))
    try:
        return _open(path, root, policy, is_encoded), path
    except SourceError as exc:
        _refuse(exc)


def _joined(root: str, path: str) -> str:
    """The path below a root, without leaving it in any spelling."""
    path = posixpath.normpath(path)
    if (
        posixpath.isabs(path)
        or "\\" in path
        or path in (".", "..")
        or path.startswith("../")
    ):
        raise NotFound
    return os.path.join(root, path)


def _refuse(error: SourceError) -> NoReturn:
    """Raise what says that there is no such file; what failed is no such answer."""
    if isinstance(error, FileForbiddenError) and error.errno == errno.EACCES:
        raise Forbidden from error
    if error.status == 503:
        raise ServiceUnavailable(retry_after=1) from error
    if error.status in (403, 404):
        raise NotFound from error
    raise error


def _respond(
    app: Flask,
    found: Selected,
    path: str | None,
    policy: Policy,
    close: Callable[[], object] | None = None,
    *,
    conditional: bool = True,
    max_age: MaxAge = None,
    download_name: str | None = None,
    **options: Any,
) -> Response:
    """The response that sends what was found; `close` is called when it is over."""
    end = partial(_end, found.source, close)
    try:
        environ = request.environ
        if max_age is None:
            max_age = app.get_send_file_max_age
        if callable(max_age):
            max_age = max_age(path)
        if download_name is None and path is not None:
            download_name = os.path.basename(path)
        options |= {"download_name": download_name, "max_age": max_age}
        kind, method = app.response_class, environ["REQUEST_METHOD"]
        conditions = _conditions(environ) if conditional else {}
        answer = _answer(method, conditions, found, policy, kind, options)
        if answer.status == 416:
            raise RequestedRangeNotSatisfiable(found.source.facts.size)
        response: Response
        if kind is Response:
            response = _FileResponse(answer)
            if (found.vary or policy.compress_bytes) and options.get("etag", True):
                response._made_of = _MadeOf(found, policy, conditions)
        else:
            response = kind(status=answer.status)
            response.headers.clear()
            response.headers.extend(answer.fields)
        response.response = _body(answer, policy, end, environ)
        response.direct_passthrough = True
    except BaseException:
        end()
        raise
    return response


def _end(source: FileSource, close: Callable[[], object] | None) -> None:
    """Let go of the source, and close the file that the view has opened."""
    source.release()
    if close is not None:
        close()


def _body(
    answer: _Answer, policy: Policy, end: Callable[[], object], environ: Environ
) -> SegmentsBody:
    return SegmentsBody(
        answer.segments,
        lambda segments: read_segments(segments, policy, answer.status),
        end,
        marks=EXCHANGE in environ,
    )


class _Answer(NamedTuple):
    """A plan, its header fields as WSGI wants them, and what servers make of those.

    `view` are the fields that it was made from.
    """

    status: int
    fields: HeaderFields
    segments: Sequence[Segment]
    view: HeaderPairs
    memo: dict[object, Any]


class _MadeOf(NamedTuple):
    """What an answer was made of, for another one."""

    found: Selected
    policy: Policy
    conditions: Mapping[str, str]


class _FileResponse(Response):
    """Flask's own; if nobody has changed it meanwhile, it goes out as it was made."""

    _made_of: _MadeOf | None = None

    def __init__(self, answer: _Answer) -> None:
        super().__init__(status=answer.status, headers=_headers(answer.fields))
        self._answer = answer

    def __call__(
        self, environ: Environ, start_response: StartResponse
    ) -> Iterable[bytes]:
        """Serve it (PEP 3333)."""
        made_of, self._made_of = self._made_of, None
        if made_of is not None and self.direct_passthrough:
            self._encode(environ, *made_of)
        fields, made = self.headers.to_wsgi_list(), self._answer
        is_unchanged = fields == made.fields and self.status_code == made.status
        if is_unchanged and self.direct_passthrough and made.segments:
            exchange: Exchange | None = environ.get(EXCHANGE)
            if exchange is not None:
                exchange.expect(made.memo)
            start_response(self.status, fields)
            return self.response  # type: ignore[return-value]
        return super().__call__(environ, start_response)

    def _encode(
        self,
        environ: Environ,
        found: Selected,
        policy: Policy,
        conditions: Mapping[str, str],
    ) -> None:
        """Become the answer with a compressed variant, if one is there and of use.

        Not before now is it known what the view says of its body. A tag that it has set
        since speaks for the identity.
        """
        made, whole, fields = self._answer, self.response, self.headers.to_wsgi_list()
        changed = _changed(made.fields, fields)
        if not isinstance(whole, SegmentsBody) or self.status_code != made.status:
            return
        if "etag" in changed:
            self.headers = Headers(found.fields(tuple(fields)))
            return
        view = (
            *(field for field in made.view if field[0].lower() not in changed),
            *(field for field in fields if field[0].lower() in changed),
        )
        accepted = environ.get("HTTP_ACCEPT_ENCODING", "")
        found.source.retain()
        better = compressed(found, view, accepted, policy)
        if better == found:
            found.source.release()
            return
        method = environ["REQUEST_METHOD"]
        self._answer = answer = _planned(method, conditions, better, policy, view)
        self.status_code = answer.status
        self.headers = _headers(answer.fields)
        end = partial(_end, better.source, whole.close)
        self.response = _body(answer, policy, end, environ)


def _changed(before: HeaderFields, after: HeaderFields) -> set[str]:
    """The names of the fields that have been set, added to, or taken away."""
    return {name.lower() for name, _ in set(before) ^ set(after)}


def _headers(fields: list[tuple[str, str]]) -> Headers:
    """The same as `Headers(fields)`, for fields that have been in one already.

    That would convert and check each of them anew, for every response.
    """
    headers = Headers()
    inside = getattr(headers, "_list", None)
    if inside != []:
        return Headers(fields)
    inside.extend(fields)
    return headers


def _answer(
    method: str,
    conditions: Mapping[str, str],
    found: Selected,
    policy: Policy,
    kind: type[Response],
    options: dict[str, Any],
) -> _Answer:
    """The answer to a request; one without conditions is made once for a file."""
    # With a maximum age there is a time in the fields.
    source, key = found.source, None
    if not conditions and not options["max_age"] and is_settled(source.facts.mtime_ns):
        key = (
            *(_Answer, method, policy.etag, policy.max_parts, kind, *options.values()),
            *found[1:],
        )
        known: _Answer | None = source.memo.get(key)
        if known is not None:
            return known
    etag = options.get("etag", True)
    headers = _empty(kind, **{**options, "etag": False}).headers
    if isinstance(etag, str):
        headers["ETag"] = quote_etag(etag)
    view = tuple(headers.to_wsgi_list())
    answer = _planned(method, conditions, found, policy, view, is_tagged=bool(etag))
    if key is not None:
        source.remember(key, answer)
    return answer


def _planned(
    method: str,
    conditions: Mapping[str, str],
    found: Selected,
    policy: Policy,
    view: HeaderPairs,
    *,
    is_tagged: bool = True,
) -> _Answer:
    """The answer that is made of the header fields of a view."""
    what = represent(found.source, found.fields(view), policy, coding=found.coding)
    if not is_tagged:
        what = replace(what, etag=None)
    made = plan(method, conditions, what, max_parts=policy.max_parts)
    return _Answer(made.status, list(made.headers), made.segments, view, {})


def _empty(kind: type[Response], **options: Any) -> Response:
    """A response with the header fields of a file; its validators are still to come.

    These fields are Werkzeug's own affair; it gets an empty file for that.
    """
    response: Response = werkzeug.utils.send_file(  # type: ignore[assignment]
        io.BytesIO(), {}, conditional=False, response_class=kind, **options
    )
    del response.headers["Content-Length"]
    return response


def _conditions(environ: Environ) -> dict[str, str]:
    return {name: environ[key] for key, name in _CONDITIONS.items() if key in environ}


_CONDITIONS: Final = {
    "HTTP_RANGE": "range",
    "HTTP_IF_MATCH": "if-match",
    "HTTP_IF_NONE_MATCH": "if-none-match",
    "HTTP_IF_MODIFIED_SINCE": "if-modified-since",
    "HTTP_IF_UNMODIFIED_SINCE": "if-unmodified-since",
    "HTTP_IF_RANGE": "if-range",
}

"""Frameworks that use `wsgi.file_wrapper` themselves, as their users have them.

Each sends the files of a folder below a prefix of its own; none knows of us.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import bottle
import django.conf
import django.core.handlers.wsgi
import django.http
import django.urls
import falcon
import pyramid.config
import pyramid.response
import whitenoise

from tests.gunicorn.apps import FILES
from zc_response.wsgi import Environ, StartResponse, WsgiApp


def nobody(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response("404 Not Found", [("Content-Length", "0")])
    return []


def make_whitenoise() -> WsgiApp:
    """With `autorefresh`, so that files that come later are found."""
    made: WsgiApp = whitenoise.WhiteNoise(nobody, str(FILES), "/", autorefresh=True)
    return made


def make_bottle() -> WsgiApp:
    made = bottle.Bottle()

    @made.route("/<name>")  # type: ignore[untyped-decorator]
    def send(name: str) -> Any:
        return bottle.static_file(name, root=str(FILES))

    app: WsgiApp = made
    return app


def make_falcon() -> WsgiApp:
    made = falcon.App()
    made.add_static_route("/", str(FILES))
    app: WsgiApp = made
    return app


def make_pyramid() -> WsgiApp:
    def send(request: Any) -> Any:
        path = str(FILES / request.matchdict["name"])
        return pyramid.response.FileResponse(path, request=request)

    with pyramid.config.Configurator() as config:
        config.add_route("send", "/{name}")
        config.add_view(send, route_name="send")
        app: WsgiApp = config.make_wsgi_app()
    return app


def send_by_django(_request: Any, name: str) -> Any:
    return django.http.FileResponse((FILES / name).open("rb"))


urlpatterns = [django.urls.path("<name>", send_by_django)]


def make_django() -> WsgiApp:
    django.conf.settings.configure(
        ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], SECRET_KEY="x", LOGGING_CONFIG=None
    )
    django.setup()
    app: WsgiApp = django.core.handlers.wsgi.WSGIHandler()
    return app


MAKERS: dict[str, Callable[[], WsgiApp]] = {
    "whitenoise": make_whitenoise,
    "bottle": make_bottle,
    "falcon": make_falcon,
    "pyramid": make_pyramid,
    "django": make_django,
}
_made: dict[str, WsgiApp] = {}


def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """The framework that the first part of the path names."""
    _, name, rest = environ["PATH_INFO"].split("/", 2)
    environ["PATH_INFO"] = "/" + rest
    if name not in _made:
        _made[name] = MAKERS[name]()
    return _made[name](environ, start_response)

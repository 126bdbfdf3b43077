"""Which servers are tried, how each is started, and what with."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from enum import Enum
from importlib.util import find_spec
from typing import Final

from zc_response.cli.bench.servers import SETTING

APPS: Final = "tests.servers.apps"
DJANGO: Final = "tests.servers.django_apps"


class Wire(Enum):
    """What is spoken."""

    PLAIN = "HTTP/1.1"
    TLS = "TLS"
    H2C = "HTTP/2"
    """Without TLS, the client knowing beforehand."""
    H2 = "HTTP/2 over TLS"

    @property
    def is_encrypted(self) -> bool:
        return self in (Wire.TLS, Wire.H2)

    @property
    def is_multiplexed(self) -> bool:
        return self in (Wire.H2C, Wire.H2)


@dataclass(frozen=True)
class Kind:
    """A server in one of its settings."""

    server: str
    """The package that it comes from, by the name that its users know."""
    how: str
    """What tells it from its other settings."""
    command: tuple[str, ...]
    """In which `{pem}` stands for a certificate with its key."""
    wire: Wire = Wire.PLAIN
    explained: str = ""
    """What `zc-response explain --server` calls it; the server's name else."""
    prefix: str = "/file/"
    """The path below which it sends files."""
    has_reports: bool = True
    """False where a whole file is left to the server's own file wrapper."""
    packages: tuple[str, ...] = field(default=(), kw_only=True)
    """What else has to be told of to repeat it."""

    def __post_init__(self) -> None:
        if not self.explained:
            object.__setattr__(self, "explained", self.server.lower())

    @property
    def name(self) -> str:
        return f"{self.server}, {self.how}" if self.how else self.server

    @property
    def is_django(self) -> bool:
        return self.prefix == "/ours/"


PYTHON: Final = (sys.executable, "-m")


def _uvicorn(http: str, loop: str, is_hooked: bool, *more: str) -> tuple[str, ...]:
    hooks = {"h11": "ZeroCopyH11Protocol", "httptools": "ZeroCopyHttpToolsProtocol"}
    if is_hooked:
        http = f"zc_response.integrations.uvicorn:{hooks[http]}"
    options = ["--http", http, "--loop", loop, "--port", "0", "--no-access-log"]
    app = f"{APPS}:{'plain' if is_hooked else 'wrapped'}"
    return (*PYTHON, "uvicorn", "--lifespan", "off", *options, *more, app)


def _gunicorn(worker: str, app: str, *more: str) -> tuple[str, ...]:
    options = ["-c", SETTING, "-b", "127.0.0.1:0", "-k", worker, "--threads", "2"]
    options += ["--no-control-socket", "--keep-alive", "10"]
    return (*PYTHON, "gunicorn", *options, *more, f"{APPS}:{app}")


def _hypercorn(loop: str, *more: str, module: str = "hypercorn") -> tuple[str, ...]:
    options = ["-b", "127.0.0.1:0", "-k", loop, "--graceful-timeout", "1"]
    return (*PYTHON, module, *options, *more, f"{APPS}:wrapped")


def _granian(interface: str, http: str) -> tuple[str, ...]:
    options = ["--interface", interface, "--http", http, "--loop", "uvloop"]
    options += ["--host", "127.0.0.1", "--port", "0", "--workers-kill-timeout", "1"]
    app = "wrapped" if interface == "asgi" else "wsgi"
    return (*PYTHON, "granian", *options, f"{APPS}:{app}")


def _daphne(app: str) -> tuple[str, ...]:
    options = ["-b", "127.0.0.1", "-p", "0", "--verbosity", "0"]
    return (*PYTHON, "daphne", *options, app)


def _flask(*more: str) -> tuple[str, ...]:
    return (*PYTHON, "flask", "--app", f"{APPS}:wsgi", "run", "--port", "0", *more)


def _waitress(app: str) -> tuple[str, ...]:
    return (*PYTHON, "waitress", "--listen", "127.0.0.1:0", app)


def _uwsgi(socket: str) -> tuple[str, ...]:
    options = [socket, "127.0.0.1:0", "--module", f"{APPS}:wsgi", "--need-app"]
    options += ["--die-on-term", "--enable-threads", "--buffer-size", "8192"]
    code = "import pyuwsgi; pyuwsgi.run()"
    return (sys.executable, "-c", code, *options)


def _python(code: str) -> tuple[str, ...]:
    return (sys.executable, "-c", code)


WSGIREF: Final = f"""
from wsgiref.simple_server import make_server
from {APPS} import wsgi
make_server("127.0.0.1", 0, wsgi).serve_forever()
"""
RUNSERVER: Final = f"""
import {DJANGO}
from django.core.management import execute_from_command_line as execute
execute(["manage.py", "runserver", "127.0.0.1:0", "--noreload", "--skip-checks"])
"""
SSL: Final = ("--ssl-certfile", "{pem}", "--ssl-keyfile", "{pem}")
CERTIFICATE: Final = ("--certfile", "{pem}", "--keyfile", "{pem}")
UVICORN_WORKER: Final = "zc_response.integrations.gunicorn.UvicornWorker"

KINDS: Final = (
    *(
        Kind(
            "uvicorn",
            f"{http}, {loop}, {'ZeroCopyProtocol' if is_hooked else 'the middleware'}",
            _uvicorn(http, loop, is_hooked),
            packages=("httptools", "h11", "uvloop"),
        )
        for is_hooked in (True, False)
        for http in ("h11", "httptools")
        for loop in ("asyncio", "uvloop")
    ),
    Kind(
        "uvicorn",
        "TLS",
        _uvicorn("httptools", "uvloop", True, *SSL),
        Wire.TLS,
        "uvicorn-tls",
    ),
    Kind(
        "uvicorn",
        "HTTP/2 (zttp)",
        (*_uvicorn("zttp", "uvloop", False), "--http2", *SSL),
        Wire.H2,
        "uvicorn-http2",
        packages=("zttp",),
    ),
    Kind("gunicorn", "sync", _gunicorn("sync", "wsgi")),
    Kind("gunicorn", "gthread", _gunicorn("gthread", "wsgi")),
    Kind(
        "gunicorn",
        "gevent",
        _gunicorn("gevent", "wsgi"),
        packages=("gevent",),
    ),
    Kind("gunicorn", "asgi", _gunicorn("asgi", "plain")),
    Kind(
        "gunicorn",
        "UvicornWorker",
        _gunicorn(UVICORN_WORKER, "plain"),
        packages=("uvicorn-worker",),
    ),
    Kind(
        "gunicorn",
        "gthread, TLS",
        _gunicorn("gthread", "wsgi", *CERTIFICATE),
        Wire.TLS,
        "gunicorn-tls",
    ),
    Kind(
        "gunicorn",
        "gthread, HTTP/2",
        _gunicorn("gthread", "wsgi", *CERTIFICATE, "--http-protocols", "h2,h1"),
        Wire.H2,
        "gunicorn-http2",
    ),
    Kind(
        "gunicorn",
        "asgi, HTTP/2",
        _gunicorn("asgi", "plain", *CERTIFICATE, "--http-protocols", "h2,h1"),
        Wire.H2,
        "gunicorn-http2",
    ),
    *(
        Kind("hypercorn", loop, _hypercorn(loop), packages=("h11", "uvloop", "trio"))
        for loop in ("asyncio", "uvloop", "trio")
    ),
    Kind("hypercorn", "TLS", _hypercorn("asyncio", *CERTIFICATE), Wire.TLS),
    Kind("hypercorn", "HTTP/2, asyncio", _hypercorn("asyncio"), Wire.H2C),
    Kind("hypercorn", "HTTP/2, trio", _hypercorn("trio"), Wire.H2C),
    Kind("hypercorn", "HTTP/2, TLS", _hypercorn("uvloop", *CERTIFICATE), Wire.H2),
    Kind("granian", "ASGI", _granian("asgi", "1")),
    Kind("granian", "ASGI, HTTP/2", _granian("asgi", "2"), Wire.H2C),
    Kind("granian", "WSGI", _granian("wsgi", "1")),
    Kind("granian", "WSGI, HTTP/2", _granian("wsgi", "2"), Wire.H2C),
    Kind("daphne", "Starlette", _daphne(f"{APPS}:wrapped"), packages=("twisted",)),
    Kind("daphne", "Django", _daphne(f"{DJANGO}:asgi"), prefix="/ours/"),
    Kind(
        "Django",
        "runserver",
        _python(RUNSERVER),
        explained="runserver",
        prefix="/ours/",
    ),
    Kind("Werkzeug", "flask run", _flask()),
    Kind(
        "Werkzeug",
        "flask run, TLS",
        _flask("--cert", "{pem}", "--key", "{pem}"),
        Wire.TLS,
        "werkzeug-tls",
    ),
    Kind("waitress", "Flask", _waitress(f"{APPS}:wsgi")),
    Kind(
        "waitress",
        "Django",
        _waitress(f"{DJANGO}:wsgi"),
        prefix="/ours/",
        has_reports=False,
    ),
    Kind("wsgiref", "", _python(WSGIREF)),
    Kind("uWSGI", "http-socket", _uwsgi("--http-socket"), packages=("pyuwsgi",)),
    Kind("uWSGI", "http", _uwsgi("--http"), packages=("pyuwsgi",)),
)


def why_not(kind: Kind) -> str:
    """What is missing for a kind of server; empty if nothing is."""
    server = _MODULES.get(kind.server, kind.server.lower())
    needs = [server, *(name.replace("-", "_") for name in kind.packages)]
    return ", ".join(name for name in needs if find_spec(name) is None)


_MODULES: Final = {"uWSGI": "pyuwsgi", "Werkzeug": "flask"}

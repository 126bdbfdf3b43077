"""Starts a server under test as a process of its own, and stops it.

Every server gets a fresh directory for its files and a session of its own, so that
stopping it reaches all of its processes and no other. Its output goes to a file there,
and into the error when it does not come up.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Final, Protocol

from zc_response.cli.bench.certificates import certificate
from zc_response.cli.bench.client import LOOPBACK
from zc_response.cli.bench.errors import MissingError, ServerError
from zc_response.cli.bench.files import DIRECTORY_VARIABLE

APPS: Final = "zc_response.cli.bench.apps"
WSGI_APPS: Final = "zc_response.cli.bench.wsgi_apps"
DJANGO_APPS: Final = "zc_response.cli.bench.django_apps"
SPARE_CONNECTIONS: Final = 1024
"""What nginx may hold beside the connections that are asked for."""
START_WITHIN: Final = 20.0
STOP_WITHIN: Final = 10.0
ATTEMPTS: Final = 3
"""Another process may take the free port that was found before the server does."""

NGINX_CONF: Final = """\
worker_processes 1;
daemon off;
{user}
pid {scratch}/nginx.pid;
error_log stderr;
events {{ worker_connections {connections}; }}
http {{
  access_log off;
  sendfile on;
  tcp_nopush on;
  keepalive_requests 1000000000;
  default_type application/octet-stream;
  client_body_temp_path {scratch}/body;
  proxy_temp_path {scratch}/proxy;
  fastcgi_temp_path {scratch}/fastcgi;
  uwsgi_temp_path {scratch}/uwsgi;
  scgi_temp_path {scratch}/scgi;
  server {{
    listen 127.0.0.1:{port}{tls};
    root {files};
  }}
}}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """Where a server runs, and what it serves."""

    files: Path
    scratch: Path
    port: int
    host: str = LOOPBACK
    connections: int = 0
    """How many it must be able to hold at once."""


class Software(Protocol):
    """A server program and its settings."""

    @property
    def prefix(self) -> str:
        """What stands before a file's name in its path."""

    @property
    def tls(self) -> bool:
        """Whether it speaks TLS."""

    @property
    def environment(self) -> Mapping[str, str]:
        """The environment variables it is started with, beside our own."""

    def check(self) -> None:
        """Raise MissingError, with advice, if something it needs is not installed."""

    def command(self, site: Site) -> list[str]:
        """The command that serves `site`; may write into its scratch directory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Nginx:
    """nginx with sendfile, one worker, no access log."""

    program: str = "nginx"
    tls: bool = False
    prefix: str = "/"

    @property
    def environment(self) -> Mapping[str, str]:
        """None of its own."""
        return {}

    def check(self) -> None:
        """Raise MissingError, with advice, if nginx is not installed."""
        self.path()

    def command(self, site: Site) -> list[str]:
        """Write the configuration, return the command."""
        conf = site.scratch / "nginx.conf"
        pem = certificate(site.scratch) if self.tls else ""
        conf.write_text(nginx_conf(site, as_root=os.geteuid() == 0, pem=pem))
        # -e: or it would open the system's own log first.
        return [self.path(), "-e", "stderr", "-p", str(site.scratch), "-c", str(conf)]

    def path(self) -> str:
        """Where nginx is. Raises MissingError if it is not installed."""
        # Debian keeps it in sbin, which a user's PATH often leaves out.
        path = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/usr/local/sbin"
        found = shutil.which(self.program, path=path)
        if found is None:
            raise MissingError(
                f"{self.program} is not installed (Debian: apt install nginx-light); "
                "or leave it out with --candidates"
            )
        return found


def nginx_conf(site: Site, *, as_root: bool, pem: str = "") -> str:
    """The configuration of nginx for `site`; `pem` has it speak TLS."""
    # Workers of a root nginx change to a user who may not enter a temporary directory.
    user = "user root;" if as_root else ""
    tls = f" ssl; ssl_certificate {pem}; ssl_certificate_key {pem}" if pem else ""
    return NGINX_CONF.format(
        user=user,
        scratch=site.scratch,
        files=site.files,
        port=site.port,
        tls=tls,
        connections=site.connections + SPARE_CONNECTIONS,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Uvicorn:
    """uvicorn, one process, no access log, with a factory of `apps`."""

    factory: str
    apps: str = APPS
    http: str = "httptools"
    loop: str = "uvloop"
    environment: Mapping[str, str] = field(default_factory=dict)
    """Settings of zc_response that are not its defaults."""
    tls: bool = False
    prefix: str = "/"

    def check(self) -> None:
        """Raise MissingError, with advice, if a library is not installed."""
        require_modules(self._modules())

    def command(self, site: Site) -> list[str]:
        """The command that serves `site`."""
        options = {
            "--host": site.host,
            "--port": str(site.port),
            "--http": self.http,
            "--loop": self.loop,
            "--log-level": "warning",
            "--timeout-graceful-shutdown": "1",
        }
        if self.tls:
            pem = certificate(site.scratch)
            options |= {"--ssl-certfile": pem, "--ssl-keyfile": pem}
        flags = [part for option in options.items() for part in option]
        app = f"{self.apps}:{self.factory}"
        python = [sys.executable, "-m", "uvicorn"]
        return [*python, "--factory", "--no-access-log", *flags, app]

    def _modules(self) -> list[str]:
        module, _, name = self.http.partition(":")
        ours = [module] if name else ["httptools"]
        if self.factory in ("middleware", "response", "static_files"):
            ours += ["zc_response.asgi", "zc_response.integrations.starlette"]
        loop = [] if self.loop == "asyncio" else [self.loop]
        framework = "django" if self.apps == DJANGO_APPS else "starlette"
        tls = ["trustme"] if self.tls else []
        return ["uvicorn", framework, *loop, *ours, *tls]


@dataclass(frozen=True, slots=True, kw_only=True)
class Granian:
    """granian, one worker, with its own static files or an application of `apps`."""

    factory: str = ""
    """Empty has it serve the files itself, in Rust."""
    tls: bool = False

    @property
    def prefix(self) -> str:
        """Its static files do not lie at the root."""
        return "/" if self.factory else "/static/"

    @property
    def environment(self) -> Mapping[str, str]:
        """None of its own."""
        return {}

    def check(self) -> None:
        """Raise MissingError, with advice, if a library is not installed."""
        require_modules(["granian", "starlette", "uvloop"])

    def command(self, site: Site) -> list[str]:
        """The command that serves `site`."""
        options = {
            "--host": "127.0.0.1",
            "--port": str(site.port),
            "--interface": "asgi",
            "--http": "1",
            "--loop": "uvloop",
            "--log-level": "warning",
            "--workers-kill-timeout": "2",
        }
        if not self.factory:
            options |= {"--static-path-mount": str(site.files)}
        flags = [part for option in options.items() for part in option]
        app = f"{APPS}:{self.factory or 'stock'}"
        return [sys.executable, "-m", "granian", "--factory", *flags, app]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gunicorn:
    """gunicorn, no access log, with a factory of `wsgi_apps` or, for ASGI, of `apps`.

    One worker; two where it has to hold many connections.
    """

    worker: str
    factory: str
    has_setting: bool = False
    """Whether it is started with the one setting that gives it zero copy."""
    apps: str = ""
    """The module of the factory, if it is not that of the worker's usual framework."""
    environment: Mapping[str, str] = field(default_factory=dict)
    tls: bool = False
    prefix: str = "/"

    def check(self) -> None:
        """Raise MissingError, with advice, if a library is not installed."""
        needs = _GUNICORN_NEEDS[self.worker] + (["trustme"] if self.tls else [])
        if self.apps == DJANGO_APPS:
            needs = [*(need for need in needs if need != "flask"), "django"]
        require_modules(["gunicorn", *needs])

    def command(self, site: Site) -> list[str]:
        """The command that serves `site`."""
        options = {
            "--config": SETTING if self.has_setting else os.devnull,
            "--bind": f"{site.host}:{site.port}",
            "--worker-class": self._class(),
            "--workers": "2" if site.connections else "1",
            "--worker-connections": str(site.connections + SPARE_CONNECTIONS),
            "--keep-alive": "60",
            "--log-level": "warning",
            "--graceful-timeout": "1",
        }
        if self.worker == "gthread":
            options |= {"--threads": "2"}
        if self.tls:
            pem = certificate(site.scratch)
            options |= {"--certfile": pem, "--keyfile": pem}
        flags = [part for option in options.items() for part in option]
        is_asgi = self.worker in ("asgi", "uvicorn-worker")
        apps = self.apps or (APPS if is_asgi else WSGI_APPS)
        python = [sys.executable, "-m", "gunicorn"]
        return [*python, "--no-control-socket", *flags, f"{apps}:{self.factory}()"]

    def _class(self) -> str:
        if self.worker != "uvicorn-worker":
            return self.worker
        module = SETTING.rpartition("_")[0] if self.has_setting else "uvicorn_worker"
        return f"{module.removeprefix('python:')}.UvicornWorker"


SETTING: Final = "python:zc_response.integrations.gunicorn_conf"
_GUNICORN_NEEDS: Final = {
    "sync": ["flask"],
    "gthread": ["flask"],
    "gevent": ["flask", "gevent"],
    "asgi": ["starlette"],
    "uvicorn-worker": ["starlette", "uvicorn_worker"],
}


def require_modules(names: Iterable[str]) -> None:
    """Raise MissingError, with advice, for modules that cannot be imported."""
    missing = [name for name in names if not installed(name)]
    if missing:
        raise MissingError(
            f"{', '.join(missing)} cannot be found by {sys.executable}; "
            "pip install 'zc-response[bench]'"
        )


def installed(module: str) -> bool:
    """True if `module` can be imported."""
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # its package is not there
        return False


class Server:
    """A running server; a context manager."""

    def __init__(
        self,
        software: Software,
        files: Path,
        scratch: Path,
        connections: int = 0,
        host: str = LOOPBACK,
    ) -> None:
        self.host = host
        self._software = software
        self._files = files
        self._scratch = scratch
        self._connections = connections
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0

    @property
    def pid(self) -> int:
        """The first of its processes; the others descend from it."""
        return self._running().pid

    @property
    def tls(self) -> bool:
        """Whether it speaks TLS."""
        return self._software.tls

    def path(self, name: str) -> str:
        """The path of a file, as a request has it."""
        return self._software.prefix + name

    def __enter__(self) -> Server:
        """Start it, and wait until it answers."""
        self._scratch.mkdir(parents=True, exist_ok=True)
        for attempt in range(ATTEMPTS):
            self._start()
            try:
                self._wait()
            except ServerError:
                self.stop()
                if attempt == ATTEMPTS - 1:
                    raise
            except BaseException:
                self.stop()
                raise
            else:
                break
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop it."""
        self.stop()

    def check(self) -> None:
        """Raise ServerError if it has died."""
        code = self._running().poll()
        if code is not None:
            raise ServerError(f"the server ended with {code}: {self._last_words()}")

    def stop(self) -> None:
        """End all of its processes: politely, then not."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(STOP_WITHIN)
        except subprocess.TimeoutExpired:
            pass
        try:
            os.killpg(process.pid, signal.SIGKILL)  # its own session: nobody else's
        except ProcessLookupError:
            pass  # all are gone
        process.wait(STOP_WITHIN)

    def _start(self) -> None:
        self.port = free_port()
        site = Site(
            files=self._files,
            scratch=self._scratch,
            port=self.port,
            host=self.host,
            connections=self._connections,
        )
        with self._log().open("wb") as log:
            self._process = subprocess.Popen(
                self._software.command(site),
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _environment(self) -> dict[str, str]:
        files = {DIRECTORY_VARIABLE: str(self._files)}
        return {**os.environ, **self._software.environment, **files}

    def _wait(self) -> None:
        deadline = time.monotonic() + START_WITHIN
        while not listening(self.port, self.host):
            self.check()
            if time.monotonic() > deadline:
                raise ServerError(f"no answer after {START_WITHIN:.0f} s")
            time.sleep(0.05)
        self.check()

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise ServerError("the server has not been started")
        return self._process

    def _log(self) -> Path:
        return self._scratch / "output"

    def _last_words(self) -> str:
        lines = self._log().read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "(no output)"


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def listening(port: int, host: str) -> bool:
    """True if something accepts connections there."""
    try:
        socket.create_connection((host, port), timeout=1).close()
    except OSError:
        return False
    return True


@contextmanager
def pinned(cpu: int | None) -> Iterator[None]:
    """Have every process that is started in the block run on one CPU only."""
    if cpu is None:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cpu})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)

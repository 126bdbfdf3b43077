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
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Final, Protocol

from benchmarks.errors import MissingError, ServerError
from benchmarks.files import DIRECTORY_VARIABLE
from benchmarks.load import module_environment

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
events {{ worker_connections 1024; }}
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
    listen 127.0.0.1:{port};
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


class Software(Protocol):
    """A server program and its settings."""

    def check(self) -> None:
        """Raise MissingError, with advice, if something it needs is not installed."""

    def command(self, site: Site) -> list[str]:
        """The command that serves `site`; may write into its scratch directory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Nginx:
    """nginx with sendfile, one worker, no access log."""

    program: str = "nginx"

    def check(self) -> None:
        """Raise MissingError, with advice, if nginx is not installed."""
        self.path()

    def command(self, site: Site) -> list[str]:
        """Write the configuration, return the command."""
        conf = site.scratch / "nginx.conf"
        conf.write_text(nginx_conf(site, as_root=os.geteuid() == 0))
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


def nginx_conf(site: Site, *, as_root: bool) -> str:
    """The configuration of nginx for `site`."""
    # Workers of a root nginx change to a user who may not enter a temporary directory.
    user = "user root;" if as_root else ""
    return NGINX_CONF.format(
        user=user, scratch=site.scratch, files=site.files, port=site.port
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Uvicorn:
    """uvicorn, one process, no access log, with a factory of `benchmarks.apps`."""

    factory: str
    http: str = "httptools"
    loop: str = "uvloop"

    def check(self) -> None:
        """Raise MissingError, with advice, if a library is not installed."""
        missing = [name for name in self._modules() if not installed(name)]
        if missing:
            raise MissingError(
                f"{', '.join(missing)} cannot be found by {sys.executable}"
            )

    def command(self, site: Site) -> list[str]:
        """The command that serves `site`."""
        options = {
            "--host": "127.0.0.1",
            "--port": str(site.port),
            "--http": self.http,
            "--loop": self.loop,
            "--log-level": "warning",
            "--timeout-graceful-shutdown": "1",
        }
        flags = [part for option in options.items() for part in option]
        app = f"benchmarks.apps:{self.factory}"
        python = [sys.executable, "-m", "uvicorn"]
        return [*python, "--factory", "--no-access-log", *flags, app]

    def _modules(self) -> list[str]:
        module, _, name = self.http.partition(":")
        ours = [module] if name else ["httptools"]
        if self.factory in ("middleware", "response"):
            ours += ["zc_response.asgi", "zc_response.integrations.starlette"]
        loop = [] if self.loop == "asyncio" else [self.loop]
        return ["uvicorn", "starlette", *loop, *ours]


def installed(module: str) -> bool:
    """True if `module` can be imported."""
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # its package is not there
        return False


class Server:
    """A running server; a context manager."""

    def __init__(self, software: Software, files: Path, scratch: Path) -> None:
        self._software = software
        self._files = files
        self._scratch = scratch
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0

    @property
    def pid(self) -> int:
        """The first of its processes; the others descend from it."""
        return self._running().pid

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
        site = Site(files=self._files, scratch=self._scratch, port=self.port)
        with self._log().open("wb") as log:
            self._process = subprocess.Popen(
                self._software.command(site),
                env={**module_environment(), DIRECTORY_VARIABLE: str(self._files)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _wait(self) -> None:
        deadline = time.monotonic() + START_WITHIN
        while not listening(self.port):
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


def listening(port: int) -> bool:
    """True if something accepts connections on 127.0.0.1."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
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

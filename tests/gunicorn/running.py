"""gunicorn as somebody starts it: processes of its own, on a free port.

What a worker reports of its transfers, it writes to a file, where the tests read it.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import ssl
import subprocess
import sys
from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import Any

from tests.live import PATIENCE, Client, eventually

CHECKOUT = Path(__file__).parents[2]
HOOKS = "from zc_response.integrations.gunicorn import post_worker_init, worker_exit\n"
UVICORN_WORKER = "zc_response.integrations.gunicorn.UvicornWorker"

Row = dict[str, Any]
"""A report, as its process wrote it."""


class TlsClient(Client):
    """The same client, behind TLS."""

    def __init__(self, port: int, context: ssl.SSLContext, **options: Any) -> None:
        super().__init__(port, **options)
        self.socket = context.wrap_socket(self.socket, server_hostname="localhost")


class Running:
    """A running server, what its tests know of it, and the files it serves."""

    def __init__(self, work: Path, context: ssl.SSLContext | None) -> None:
        self.work = work
        self.files = work / "files"
        self.files.mkdir(exist_ok=True)
        self.context = context
        self._names = count()

    @property
    def port(self) -> int:
        raise NotImplementedError

    @property
    def log(self) -> str:
        return ""

    def client(self, **options: Any) -> Client:
        if self.context is not None:
            return TlsClient(self.port, self.context, **options)
        return Client(self.port, **options)

    def file(self, content: bytes | Path, suffix: str = "") -> Path:
        """A file of its own, which it serves; or another name of one that exists."""
        path = self.files / f"file-{next(self._names)}{suffix}"
        if isinstance(content, Path):
            os.link(content, path)
        else:
            path.write_bytes(content)
        return path

    def reports(self, of: Path | None = None) -> list[Row]:
        path = self.work / "reports"
        lines = path.read_text().splitlines() if path.exists() else []
        rows = [json.loads(line) for line in lines]
        return [row for row in rows if of is None or row["path"] == str(of)]

    def report(self, of: Path) -> Row:
        """The one report of a file, once there is one."""
        eventually(lambda: self.reports(of), f"a report of {of.name} in\n{self.log}")
        (only,) = self.reports(of)
        return only


class Gunicorn(Running):
    """A running gunicorn: the arbiter, and what is known of its workers."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        work: Path,
        context: ssl.SSLContext | None,
    ) -> None:
        super().__init__(work, context)
        self.process = process

    @property
    def port(self) -> int:
        found = re.search(r"Listening at: https?://127\.0\.0\.1:(\d+)", self.log)
        assert found, self.log
        return int(found[1])

    @property
    def log(self) -> str:
        return (self.work / "log").read_text()

    def access_log(self, of: Path) -> list[str]:
        path = self.work / "access"
        lines = path.read_text().splitlines() if path.exists() else []
        return [line for line in lines if of.name in line]

    def workers(self) -> list[int]:
        pid = self.process.pid
        listed = Path(f"/proc/{pid}/task/{pid}/children").read_text()
        return [int(child) for child in listed.split()]

    @property
    def worker(self) -> int:
        (only,) = self.workers()
        return only

    def descriptors(self) -> int:
        """How many the only worker has open."""
        return len(os.listdir(f"/proc/{self.worker}/fd"))

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def stop(self) -> int:
        """End it in good order, and return the exit status."""
        self.signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)


@contextlib.contextmanager
def gunicorn(
    work: Path,
    app: str = "tests.gunicorn.apps:app",
    *,
    worker: str = "sync",
    hooks: bool = True,
    config: str = "",
    command: str = "",
    file: Path | None = None,
    environ: Mapping[str, str] | None = None,
    context: ssl.SSLContext | None = None,
    **settings: Any,
) -> Iterator[Gunicorn]:
    """gunicorn with `app`, until the block ends.

    `config` is more of its configuration file; keywords are settings in it. `command`
    names another one, which has the hooks; then the rest is told by the command line.
    `file` is one that says it all, but for the port.
    """
    work.mkdir(exist_ok=True)
    options: dict[str, Any] = {
        "wsgi_app": app,
        "bind": "127.0.0.1:0",
        "worker_class": worker,
        "control_socket_disable": True,
        "accesslog": str(work / "access"),
        "access_log_format": "%(m)s %(U)s %(s)s %(B)s",
        "graceful_timeout": 10,
    }
    lines = [f"{name} = {value!r}\n" for name, value in (options | settings).items()]
    conf = work / "gunicorn.conf.py"
    conf.write_text((HOOKS if hooks else "") + "".join(lines) + config)
    arguments = ["-c", str(conf)]
    if command:
        arguments = ["-c", command, "-b", "127.0.0.1:0", "-k", worker, app]
        arguments.append("--no-control-socket")
    if file is not None:
        arguments = ["-c", str(file), "-b", "127.0.0.1:0", "--no-control-socket"]
    more = {"TEST_FILES": str(work / "files"), "TEST_REPORTS": str(work / "reports")}
    with (work / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", *arguments],
            cwd=CHECKOUT,
            env={**os.environ, **more, **(environ or {})},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    server = Gunicorn(process, work, context)
    try:
        sign = "Booting worker" if file is not None else "the application is loaded"
        workers = settings.get("workers", 1)
        eventually(lambda: _has_said(server, sign, workers), "gunicorn's start")
        yield server
    finally:
        _end(process)


def _has_said(server: Gunicorn, sign: str, times: int) -> bool:
    assert server.process.poll() is None, server.log
    return server.log.count(sign) >= times


def _end(process: subprocess.Popen[bytes]) -> None:
    """At once: how it ends in good order is for `stop`. Its session is its own."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(PATIENCE)

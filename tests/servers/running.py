"""A server as its users start it, in processes of its own, and clients of it."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import signal
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.gunicorn.running import CHECKOUT, Running, TlsClient
from tests.live import PATIENCE, Client, eventually
from tests.servers.http2 import Http2Client
from tests.servers.kinds import Kind
from zc_response.cli.bench.certificates import certificate
from zc_response.cli.bench.procfs import family

SMALL: int = 1000
"""Bytes of the file that a quick request asks for."""


class Served(Running):
    """A running server of some kind."""

    def __init__(
        self, kind: Kind, process: subprocess.Popen[bytes], work: Path, pem: str
    ) -> None:
        super().__init__(work, _trusting(pem) if kind.wire.is_encrypted else None)
        self.kind = kind
        self.process = process
        self.file(bytes(SMALL))  # file-0

    @functools.cached_property
    def port(self) -> int:
        found: list[int] = []

        def is_found() -> bool:
            assert self.process.poll() is None, self.log
            found[:] = filter(self._answers, sorted(self._listening()))
            return bool(found)

        eventually(is_found, f"the start of {self.kind.name}:\n{self.log}")
        return found[0]

    @property
    def log(self) -> str:
        return (self.work / "log").read_text(errors="replace")

    def connect(self, port: int = 0, **options: Any) -> Client | Http2Client:
        """A client that speaks what the server does."""
        port = port or self.port
        context = self.context
        if self.kind.wire.is_multiplexed:
            return Http2Client(port, context, **options)
        if context is not None:
            return TlsClient(port, context, **options)
        return Client(port, **options)

    def path(self, name: str, way: str = "") -> str:
        return f"/{way}/{name}" if way else f"{self.kind.prefix}{name}"

    @property
    def quick(self) -> str:
        """The path of a small file."""
        return self.path("file-0")

    def family(self) -> list[int]:
        """The processes of the server."""
        return family(self.process.pid)

    def has_open(self, path: Path) -> bool:
        """True if one of them has a file open."""
        for pid in self.family():
            with contextlib.suppress(OSError):  # gone meanwhile
                for link in Path(f"/proc/{pid}/fd").iterdir():
                    with contextlib.suppress(OSError):
                        if os.readlink(link) == str(path):
                            return True
        return False

    def _listening(self) -> set[int]:
        """The ports of 127.0.0.1 that one of its processes listens on."""
        inodes = set[str]()
        for pid in self.family():
            with contextlib.suppress(OSError):
                for link in Path(f"/proc/{pid}/fd").iterdir():
                    with contextlib.suppress(OSError):
                        inodes.add(os.readlink(link))
        lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
        rows = [line.split() for line in lines]
        return {
            int(row[1].partition(":")[2], 16)
            for row in rows
            if row[3] == "0A" and f"socket:[{row[9]}]" in inodes
        }

    def _answers(self, port: int) -> bool:
        """True if it is HTTP that is spoken there; uWSGI has another port besides."""
        with contextlib.suppress(OSError):
            with self.connect(port, timeout=PATIENCE) as client:
                return client.get(self.quick).status == 200
        return False


@contextlib.contextmanager
def served(kind: Kind, work: Path) -> Iterator[Served]:
    """A server of this kind, until the block ends."""
    pem = certificate(work)
    environ = {
        **os.environ,
        "PYTHONPATH": str(CHECKOUT),
        "PYTHONDONTWRITEBYTECODE": "1",
        "TEST_FILES": str(work / "files"),
        "TEST_REPORTS": str(work / "reports"),
        "TEST_MIDDLEWARE": json.dumps(
            ["zc_response.integrations.django.ZeroCopyMiddleware"]
        ),
        "ZC_RESPONSE_OPEN_FILES_IDLE": "0.1",
    }
    with (work / "log").open("wb") as log:
        process = subprocess.Popen(
            [part.format(pem=pem) for part in kind.command],
            cwd=CHECKOUT,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        server = Served(kind, process, work, pem)
        assert server.port
        yield server
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # its own session: nobody else's
        process.wait(PATIENCE)


def _trusting(pem: str) -> ssl.SSLContext:
    """A client's context. Who the server is does not matter here."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context

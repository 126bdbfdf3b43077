"""The demo as somebody starts it: a process of its own, driven from outside."""

from __future__ import annotations

import contextlib
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.live import PATIENCE, eventually

CHECKOUT = Path(__file__).parents[2]


@dataclass
class Demo:
    """A running demo, and what it has printed so far."""

    process: subprocess.Popen[bytes]
    output: Path
    errors: Path

    @property
    def port(self) -> int:
        found = re.search(r"http://127\.0\.0\.1:(\d+)/", self.output.read_text())
        assert found, self.errors.read_text()
        return int(found[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def request(self, target: str, receive_buffer: int = 0) -> socket.socket:
        """Send a request, and leave the response to the caller."""
        client = socket.socket()
        if receive_buffer:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        client.settimeout(PATIENCE)
        client.connect(("127.0.0.1", self.port))
        client.sendall(b"GET %s HTTP/1.1\r\nHost: test\r\n\r\n" % target.encode())
        return client

    def interrupt(self) -> int:
        """Do what Ctrl-C does, and return the exit status."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(PATIENCE)


@contextlib.contextmanager
def started(library: Path, work: Path, *options: str) -> Iterator[Demo]:
    """A demo that has just been started; it ends with the block."""
    work.mkdir()
    output, errors = work / "output", work / "errors"
    command = [sys.executable, "-m", "example_apps.media", "--library", str(library)]
    with output.open("wb") as out, errors.open("wb") as err, _listening_to_ctrl_c():
        process = subprocess.Popen(
            [*command, *options],
            cwd=CHECKOUT,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
        )
    try:
        yield Demo(process, output, errors)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(PATIENCE)


@contextlib.contextmanager
def _listening_to_ctrl_c() -> Iterator[None]:
    """A shell makes its background jobs ignore Ctrl-C, and children inherit that."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def serving(library: Path, work: Path) -> Iterator[Demo]:
    """A demo that serves, on a free port."""
    with started(library, work, "--small", "--port", "0") as demo:
        eventually(lambda: demo.process.poll() or demo.output.stat().st_size)
        yield demo

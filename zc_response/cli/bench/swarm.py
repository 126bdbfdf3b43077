"""Many downloads at once, by one client that discards them all in the kernel.

Each connection asks again as soon as a body has ended, until the time is over; how much
each one got is kept. It is a helper process (see `helper.py`).
"""

from __future__ import annotations

import selectors
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from zc_response.cli.bench.client import MAX_HEAD, STEP, check_head, explained
from zc_response.cli.bench.errors import LoadError
from zc_response.cli.bench.helper import Helper, play, wait_for_go
from zc_response.cli.bench.load import PATIENCE, Target


@dataclass(frozen=True, slots=True, kw_only=True)
class Swarm:
    """What to download, how often at once, and for how many seconds."""

    target: Target
    downloads: int
    seconds: float

    def helper(self, inside: Sequence[str] = ()) -> Helper:
        """The process that downloads; `inside` is a command that it is run by."""
        return Helper(__name__, asdict(self), self.seconds + PATIENCE, inside)


class Download:
    """One connection, and what it has received of its bodies."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self.socket = socket.create_connection((target.host, target.port), PATIENCE)
        self.socket.setblocking(False)
        self.received = 0
        self._head = b""
        self._left = 0

    def ask(self) -> None:
        """Send a request: it fits into an empty socket."""
        host = f"{self._target.host}:{self._target.port}"
        request = f"GET {self._target.path} HTTP/1.1\r\nHost: {host}\r\n\r\n"
        self.socket.send(request.encode())

    def take(self, unused: memoryview) -> None:
        """Take what has come, and ask again at the end of a body."""
        try:
            if self._left:
                self._discard(unused)
            else:
                self._read_head()
        except BlockingIOError:
            return
        if not self._left and not self._head:
            self.ask()

    def _discard(self, unused: memoryview) -> None:
        room = unused[: min(self._left, STEP)]
        self._count(self._some(self.socket.recv_into(room, 0, socket.MSG_TRUNC)))

    def _read_head(self) -> None:
        self._head += self.socket.recv(self._some(MAX_HEAD - len(self._head)))
        head, end, body = self._head.partition(b"\r\n\r\n")
        if not end:
            return
        if check_head(head, self._target.size):
            raise LoadError("the body is chunked, and this client wants its length")
        self._head = b""
        self._left = self._target.size
        self._count(len(body))

    def _count(self, received: int) -> None:
        self.received += received
        self._left -= received

    def _some(self, count: int) -> int:
        if not count:
            raise LoadError("the connection ended in the middle of a response")
        return count


def run(downloads: list[Download], seconds: float) -> float:
    """Download until the time is over; return how many seconds it took."""
    unused = memoryview(bytearray(STEP))
    with selectors.DefaultSelector() as selector:
        for download in downloads:
            selector.register(download.socket, selectors.EVENT_READ, download)
            download.ask()
        started = time.perf_counter()
        deadline = started + seconds
        while (now := time.perf_counter()) < deadline:
            for key, _ in selector.select(deadline - now):
                key.data.take(unused)
    return now - started


@contextmanager
def connected(swarm: Swarm) -> Iterator[list[Download]]:
    """All connections of a swarm."""
    with ExitStack() as stack:
        downloads = [Download(swarm.target) for _ in range(swarm.downloads)]
        for download in downloads:
            stack.enter_context(download.socket)
        yield downloads


def work(request: dict[str, Any]) -> dict[str, Any]:
    """Connect, wait for the word, download; tell what each connection got."""
    swarm = Swarm(**{**request, "target": Target(**request["target"])})
    with explained(), connected(swarm) as downloads:
        wait_for_go()
        seconds = run(downloads, swarm.seconds)
        received = [download.received for download in downloads]
    return {"seconds": seconds, "received": received}


if __name__ == "__main__":
    sys.exit(play(work))

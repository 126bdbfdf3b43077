"""A keep-alive HTTP/1.1 client that costs as little as a client can.

It reads the head of each response, then has the kernel throw the body away: on Linux
`recv` with MSG_TRUNC on a TCP socket counts the bytes and copies none (tcp(7)). A
client that copies is slower than a server that does not, and would be what is measured.

Every response must be a 200 with the Content-Length expected, and exactly that many
bytes must come; whatever follows must again be a response.

It is a process of its own: `python -m benchmarks.client '<a Request as JSON>'`. It
connects, asks once to warm up, says "ready", waits for a line on standard
input, asks again until the time is over, and prints its `Traffic` as JSON.
"""

from __future__ import annotations

import json
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass
from typing import Final

from benchmarks.errors import LoadError

READY: Final = "ready"

MAX_HEAD: Final = 16 * 1024
STEP: Final = 4 * 1024 * 1024
"""How much one `recv` may discard: more than a socket usually holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What to ask for, how often, and how long to wait."""

    port: int
    path: str
    size: int
    connections: int
    warm_up: bool
    """Whether each connection makes one request that does not count."""
    seconds: float
    """No request begins after so many seconds; each connection makes one at least."""
    limit: int
    """No connection makes more requests than this."""
    patience: float
    """How many seconds the server may say nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """What came."""

    requests: int
    body_bytes: int
    seconds: float


class Connection:
    """One keep-alive connection. Close it."""

    def __init__(self, port: int, patience: float) -> None:
        self._port = port
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=patience)
        # Python's own timeouts would add a poll to every recv; the kernel's are free.
        self._socket.settimeout(None)
        whole = int(patience)
        limit = struct.pack("@ll", whole, int((patience - whole) * 1_000_000))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
        # Never touched, so never really allocated: MSG_TRUNC only wants to see it.
        self._unused = memoryview(bytearray(STEP))

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def get(self, path: str, size: int) -> None:
        """Ask for `path`, and discard a body that must be `size` bytes long."""
        left = size - len(self._ask(path, size))
        while left > 0:
            room = self._unused[: min(left, STEP)]
            count = self._socket.recv_into(room, 0, socket.MSG_TRUNC)
            if not count:
                raise LoadError(f"the body ended {left} bytes early")
            left -= count
        _check_end(left)

    def read(self, path: str, size: int) -> Iterator[bytes]:
        """Ask for `path`, and give its body of `size` bytes in pieces."""
        begun = self._ask(path, size)
        yield begun
        left = size - len(begun)
        while left > 0:
            piece = self._socket.recv(min(left, STEP))
            if not piece:
                raise LoadError(f"the body ended {left} bytes early")
            yield piece
            left -= len(piece)
        _check_end(left)

    def expect_silence(self) -> None:
        """Check that nothing follows the last response."""
        try:
            extra = self._socket.recv(1, socket.MSG_DONTWAIT | socket.MSG_PEEK)
        except BlockingIOError:
            return
        if extra:
            raise LoadError("bytes follow the end of the last body")

    def _ask(self, path: str, size: int) -> bytes:
        """Send a request, check the head, return what came of the body with it."""
        host = f"127.0.0.1:{self._port}"
        self._socket.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        received = b""
        while b"\r\n\r\n" not in received:
            data = self._socket.recv(4096)
            if not data:
                raise LoadError("the server closed the connection without an answer")
            received += data
            if len(received) > MAX_HEAD:
                raise LoadError("the head of the response does not end")
        head, _, body = received.partition(b"\r\n\r\n")
        check_head(head, size)
        return body


def _check_end(left: int) -> None:
    if left < 0:
        raise LoadError(f"{-left} bytes too many came with the head")


def check_head(head: bytes, size: int) -> None:
    """Check that a response is a 200 of `size` bytes, by the Content-Length it has."""
    status, *lines = head.decode("latin-1").split("\r\n")
    if status.split(" ")[1:2] != ["200"]:
        raise LoadError(f"the answer is not 200 but {status!r}")
    fields = (line.partition(":") for line in lines)
    lengths = [value.strip() for name, _, value in fields if is_length(name)]
    if lengths != [str(size)]:
        found = " and ".join(lengths) or "missing"
        raise LoadError(f"Content-Length should be {size} and is {found}")


def is_length(name: str) -> bool:
    """True for the field name Content-Length."""
    return name.lower() == "content-length"


@contextmanager
def explained() -> Iterator[None]:
    """Turn what sockets raise into words."""
    try:
        yield
    except BlockingIOError as exc:  # SO_RCVTIMEO
        raise LoadError("the server has gone silent") from exc
    except OSError as exc:
        raise LoadError(f"the connection broke: {exc.strerror or exc}") from exc


# The process -----------------------------------------------------------------------


def repeat(connection: Connection, request: Request, deadline: float) -> int:
    """Ask until the deadline; return how often."""
    count = 0
    while not count or (count < request.limit and time.perf_counter() < deadline):
        connection.get(request.path, request.size)
        count += 1
    connection.expect_silence()
    return count


def run(request: Request, wait: Callable[[], object]) -> Traffic:
    """Connect and warm up, call `wait`, then ask on all connections at once."""
    with ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(request.connections))
        connections = [
            stack.enter_context(closing(Connection(request.port, request.patience)))
            for _ in range(request.connections)
        ]
        if request.warm_up:
            for connection in connections:
                connection.get(request.path, request.size)
        wait()
        started = time.perf_counter()
        deadline = started + request.seconds
        counts = list(pool.map(lambda c: repeat(c, request, deadline), connections))
        seconds = time.perf_counter() - started
    requests = sum(counts)
    return Traffic(
        requests=requests, body_bytes=requests * request.size, seconds=seconds
    )


def _wait_for_go() -> None:
    print(READY, flush=True)
    sys.stdin.readline()


def main(argument: str) -> int:
    """Run one request given as JSON."""
    try:
        with explained():
            traffic = run(Request(**json.loads(argument)), _wait_for_go)
    except LoadError as exc:
        print(exc, file=sys.stderr)
        return 1
    print(json.dumps(asdict(traffic)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))

"""A keep-alive HTTP/1.1 client that costs as little as a client can.

It reads the head of each response, then has the kernel throw the body away: on Linux
`recv` with MSG_TRUNC on a TCP socket counts the bytes and copies none (tcp(7)). A
client that copies is slower than a server that does not, and would be what is measured.

It asks on a new connection where the server has said that it closes the old one, as
gunicorn's sync workers do.

Every response must be a 200 with the Content-Length expected or in chunks, and exactly
that many bytes must come; whatever follows must again be a response.

Over TLS it has to read and decode what comes.

It is a helper process (see `helper.py`): it connects, asks once to warm up, waits for
the word, asks again until the time is over, and tells its `Traffic`.
"""

from __future__ import annotations

import socket
import ssl
import struct
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Final

from zc_response.cli.bench.errors import LoadError
from zc_response.cli.bench.helper import play, wait_for_go

LOOPBACK: Final = "127.0.0.1"
MAX_HEAD: Final = 16 * 1024
HEAD_STEP: Final = 4096
CHUNK_STEP: Final = 24
"""How much is read at once of a chunk's frame: what is too much is copied."""
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
    host: str = LOOPBACK
    tls: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """What came."""

    requests: int
    body_bytes: int
    seconds: float


class Connection:
    """One keep-alive connection, or one after the other. Close it."""

    def __init__(self, port: int, patience: float, host: str = LOOPBACK) -> None:
        self._host = f"{host}:{port}"
        address = (host, port)
        self._connect: Callable[[], socket.socket]
        self._connect = partial(_connect, address, patience)
        self._socket = self._connect()
        self._is_closing = False
        # Never touched, so never really allocated: MSG_TRUNC only wants to see it.
        self._unused = memoryview(bytearray(STEP))
        self._ahead = b""

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def get(self, path: str, size: int) -> None:
        """Ask for `path`, and discard a body that must be `size` bytes long."""
        for count in self._ask(path, size):
            self._discard(count)

    def read(self, path: str, size: int) -> Iterator[bytes]:
        """Ask for `path`, and give its body of `size` bytes in pieces."""
        for count in self._ask(path, size):
            yield from self._pieces(count)

    def expect_silence(self) -> None:
        """Check that nothing follows the last response."""
        if self._ahead or self._has_more():
            raise LoadError("bytes follow the end of the last body")

    def _has_more(self) -> bool:
        try:
            return bool(self._socket.recv(1, socket.MSG_DONTWAIT | socket.MSG_PEEK))
        except BlockingIOError:
            return False

    def _ask(self, path: str, size: int) -> Iterator[int]:
        """Send a request, check the head, give the lengths of the body's parts."""
        if self._ahead:
            raise LoadError("bytes follow the end of the last body")
        if self._is_closing:
            self._socket.close()
            self._socket = self._connect()
        request = f"GET {path} HTTP/1.1\r\nHost: {self._host}\r\n\r\n"
        self._socket.sendall(request.encode())
        head = self._until(b"\r\n\r\n", HEAD_STEP)
        self._is_closing = b"\r\nconnection: close" in head.lower()
        return self._chunks(size) if check_head(head, size) else iter([size])

    def _chunks(self, size: int) -> Iterator[int]:
        """The lengths of the chunks of a body of `size` bytes, as they come."""
        left = size
        while count := int(self._until(b"\r\n", CHUNK_STEP), 16):
            left -= count
            yield count
            self._until(b"\r\n", CHUNK_STEP)
        self._until(b"\r\n", CHUNK_STEP)  # no trailers
        if left:
            raise LoadError(f"the chunks are {abs(left)} bytes too {_amiss(left)}")

    def _until(self, end: bytes, step: int) -> bytes:
        """Everything before `end`; what came after it is kept for later."""
        received = self._ahead
        while end not in received:
            data = self._socket.recv(step)
            if not data:
                raise LoadError("the server closed the connection without an answer")
            received += data
            if len(received) > MAX_HEAD:
                raise LoadError("the head of the response does not end")
        found, _, self._ahead = received.partition(end)
        return found

    def _discard(self, count: int) -> None:
        left = count - len(self._kept(count))
        while left > 0:
            length = self._throw_away(self._unused[: min(left, STEP)])
            if not length:
                raise LoadError(f"the body ended {left} bytes early")
            left -= length

    def _throw_away(self, room: memoryview) -> int:
        return self._socket.recv_into(room, 0, socket.MSG_TRUNC)

    def _pieces(self, count: int) -> Iterator[bytes]:
        kept = self._kept(count)
        yield kept
        left = count - len(kept)
        while left > 0:
            piece = self._socket.recv(min(left, STEP))
            if not piece:
                raise LoadError(f"the body ended {left} bytes early")
            yield piece
            left -= len(piece)

    def _kept(self, count: int) -> bytes:
        """What has already come of the next `count` bytes."""
        kept, self._ahead = self._ahead[:count], self._ahead[count:]
        return kept


class TlsConnection(Connection):
    """The same behind TLS. Whose certificate it is, nobody asks."""

    def __init__(self, port: int, patience: float, host: str = LOOPBACK) -> None:
        super().__init__(port, patience, host)
        plain = self._connect
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        self._connect = lambda: context.wrap_socket(plain())
        self._socket = context.wrap_socket(self._socket)

    def _has_more(self) -> bool:
        self._socket.settimeout(0)
        try:
            return bool(self._socket.recv(1))
        except ssl.SSLWantReadError:
            return False
        finally:
            self._socket.settimeout(None)

    def _throw_away(self, room: memoryview) -> int:
        return self._socket.recv_into(room[:RECORD])


RECORD: Final = 16 * 1024
"""One read of TLS never gives more: the largest record (RFC 8446 section 5.1)."""


def connection(
    port: int, patience: float, host: str = LOOPBACK, *, tls: bool = False
) -> Connection:
    """A connection, behind TLS or not."""
    return (TlsConnection if tls else Connection)(port, patience, host)


def _connect(address: tuple[str, int], patience: float) -> socket.socket:
    connected = socket.create_connection(address, timeout=patience)
    # Python's own timeouts would add a poll to every recv; the kernel's are free.
    connected.settimeout(None)
    whole = int(patience)
    timeval = struct.pack("@ll", whole, int((patience - whole) * 1_000_000))
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeval)
    return connected


def _amiss(left: int) -> str:
    return "few" if left > 0 else "many"


def check_head(head: bytes, size: int) -> bool:
    """Check that a response is a 200 of `size` bytes; return whether it is chunked.

    A chunked one need not say how long it is: that shows later.
    """
    status, *lines = head.decode("latin-1").split("\r\n")
    if status.split(" ")[1:2] != ["200"]:
        raise LoadError(f"the answer is not 200 but {status!r}")
    fields = [line.partition(":") for line in lines]
    lengths = [value.strip() for name, _, value in fields if is_length(name)]
    if not lengths and any(is_chunked(name, value) for name, _, value in fields):
        return True
    if lengths != [str(size)]:
        found = " and ".join(lengths) or "missing"
        raise LoadError(f"Content-Length should be {size} and is {found}")
    return False


def is_chunked(name: str, value: str) -> bool:
    """True for the field Transfer-Encoding: chunked."""
    return name.lower() == "transfer-encoding" and value.strip().lower() == "chunked"


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


def repeat(asking: Connection, request: Request, deadline: float) -> int:
    """Ask until the deadline; return how often."""
    count = 0
    while not count or (count < request.limit and time.perf_counter() < deadline):
        asking.get(request.path, request.size)
        count += 1
    asking.expect_silence()
    return count


def connect(request: Request) -> Connection:
    """A connection for a request."""
    return connection(request.port, request.patience, request.host, tls=request.tls)


def run(request: Request, wait: Callable[[], object]) -> Traffic:
    """Connect and warm up, call `wait`, then ask on all connections at once."""
    with ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(request.connections))
        connections = [
            stack.enter_context(closing(connect(request)))
            for _ in range(request.connections)
        ]
        if request.warm_up:
            for each in connections:
                each.get(request.path, request.size)
        wait()
        started = time.perf_counter()
        deadline = started + request.seconds
        counts = list(pool.map(lambda c: repeat(c, request, deadline), connections))
        seconds = time.perf_counter() - started
    requests = sum(counts)
    return Traffic(
        requests=requests, body_bytes=requests * request.size, seconds=seconds
    )


def work(request: dict[str, Any]) -> dict[str, Any]:
    """Run one request, and tell what came."""
    with explained():
        return asdict(run(Request(**request), wait_for_go))


if __name__ == "__main__":
    sys.exit(play(work))

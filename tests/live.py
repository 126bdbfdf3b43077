"""Real servers in a thread of the test, and a client that forgives nothing.

`serve` runs uvicorn on a free port and stops it again. `Client` speaks through h11, so
a response that is framed wrongly is an error, never a guess.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h11
import uvicorn

from zc_response.integrations.uvicorn import (
    ZeroCopyH11Protocol,
    ZeroCopyHttpToolsProtocol,
)

if TYPE_CHECKING:
    from typing_extensions import Self

STACKS = [
    (http, loop) for http in ("h11", "httptools") for loop in ("asyncio", "uvloop")
]
"""uvicorn's two HTTP/1.1 protocols on both loops."""

HOOKED: dict[str, Any] = {
    "h11": ZeroCopyH11Protocol,
    "httptools": ZeroCopyHttpToolsProtocol,
}

Fields = Mapping[str, str] | Sequence[tuple[str, str]]
"""Header fields of a request; a sequence where a name is repeated."""

_ENDS = (h11.EndOfMessage, h11.ConnectionClosed)

PATIENCE = 20.0  # seconds after which anything that has not happened never will


@dataclass
class Server:
    """A running server: where it listens, and its own object to look into."""

    port: int
    uvicorn: uvicorn.Server
    loop: list[asyncio.AbstractEventLoop] = field(default_factory=list)

    def client(self, **options: Any) -> Client:
        return Client(self.port, **options)

    def connections(self) -> int:
        return len(self.uvicorn.server_state.connections)


class _Attentive(uvicorn.Server):
    """uvicorn's server, which sees ten times sooner that it is to stop."""

    async def main_loop(self) -> None:
        """Tick every 100 ms, as uvicorn does: by that it tells the date."""
        rounds = 0
        while not (self.should_exit or await self._is_over(rounds)):
            rounds += 1
            await asyncio.sleep(0.01)

    async def _is_over(self, rounds: int) -> bool:
        return rounds % 10 == 0 and await self.on_tick(rounds // 10)


@contextlib.contextmanager
def serve(
    app: Any,
    *,
    http: Any = "httptools",
    loop: str = "uvloop",
    address: str = "127.0.0.1",
    **settings: Any,
) -> Iterator[Server]:
    """uvicorn with `app`, in a thread, until the block ends."""
    listener = socket.create_server((address, 0))
    options: dict[str, Any] = {
        "log_config": None,
        "lifespan": "off",
        "timeout_graceful_shutdown": 5,
    }
    config = uvicorn.Config(app, http=http, loop=loop, **(options | settings))
    server = Server(listener.getsockname()[1], _Attentive(config))
    thread = threading.Thread(
        target=server.uvicorn.run, args=([listener],), name="uvicorn", daemon=True
    )
    thread.start()
    try:
        eventually(lambda: server.uvicorn.started or not thread.is_alive())
        yield server
    finally:
        server.uvicorn.should_exit = True
        thread.join(PATIENCE)
        listener.close()
        assert not thread.is_alive(), "the server did not stop"


@dataclass
class Answer:
    """One response as it came over the wire."""

    status: int
    headers: dict[str, str]
    body: bytes
    complete: bool = True
    reusable: bool = True
    fields: list[tuple[str, str]] = field(default_factory=list)

    @property
    def length(self) -> int:
        return int(self.headers["content-length"])


class Connected:
    """A client's end of a connection, and how it leaves; a context manager."""

    socket: socket.socket

    def reset(self) -> None:
        """Leave with RST."""
        linger = struct.pack("ii", 1, 0)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.socket.close()

    def close(self) -> None:
        self.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()


class Client(Connected):
    """One connection to a server."""

    def __init__(
        self,
        port: int,
        *,
        receive_buffer: int = 0,
        segment: int = 0,
        timeout: float = PATIENCE,
    ) -> None:
        self.socket = socket.socket()
        if segment:  # on loopback they have 64 KiB else
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, segment)
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(timeout)
        self.socket.connect(("127.0.0.1", port))
        self.protocol = h11.Connection(h11.CLIENT)

    def send(
        self,
        target: str = "/",
        headers: Fields | None = None,
        *,
        method: str = "GET",
    ) -> Client:
        """Send a request and return without waiting for the response."""
        return self.send_raw(self._request(target, headers or {}, method))

    def expect(self, target: str = "/") -> Client:
        """Be ready for the response to a request that was sent by `send_raw`."""
        self._request(target, {}, "GET")
        return self

    def _request(self, target: str, headers: Fields, method: str) -> bytes:
        pairs = headers.items() if isinstance(headers, Mapping) else headers
        fields = [(name.encode(), value.encode()) for name, value in pairs]
        fields.append((b"host", b"test"))
        request = h11.Request(method=method, target=target, headers=fields)
        head = self.protocol.send(request) or b""
        return head + (self.protocol.send(h11.EndOfMessage()) or b"")

    def send_raw(self, data: bytes) -> Client:
        self.socket.sendall(data)
        return self

    def receive(self, chunk: int = 65536, pause: float = 0.0) -> Answer:
        """Read one response, as far as the server sends it."""
        answer = Answer(0, {}, b"")
        parts: list[bytes] = []
        try:
            for event in self._events(chunk, pause):
                if isinstance(event, h11.Response):
                    answer.status = event.status_code
                    answer.fields = [
                        (name.decode(), value.decode("latin-1"))
                        for name, value in event.headers
                    ]
                    answer.headers = dict(answer.fields)
                elif isinstance(event, h11.Data):
                    parts.append(bytes(event.data))
        except (h11.RemoteProtocolError, ConnectionResetError):
            answer.complete = False
        answer.body = b"".join(parts)
        answer.reusable = self.protocol.their_state is h11.DONE
        if answer.reusable and self.protocol.our_state is h11.DONE:
            self.protocol.start_next_cycle()
        return answer

    def _events(self, chunk: int, pause: float) -> Iterator[Any]:
        while True:
            event = self.protocol.next_event()
            if event is h11.NEED_DATA:
                time.sleep(pause)
                self.protocol.receive_data(self.socket.recv(chunk))
            elif event is h11.PAUSED or isinstance(event, _ENDS):
                return
            else:
                yield event

    def get(self, target: str = "/", headers: Fields | None = None) -> Answer:
        return self.send(target, headers).receive()

    def head(self, target: str = "/", headers: Fields | None = None) -> Answer:
        return self.send(target, headers, method="HEAD").receive()


def children_of(pid: int) -> list[str]:
    """The processes that a process has started, and that have not been waited for."""
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [child for task in tasks for child in task.read_text().split()]


def eventually(condition: Callable[[], Any], what: str = "the condition") -> None:
    """Wait until `condition` holds; fail if it never does."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"{what} never came true"
        time.sleep(0.005)

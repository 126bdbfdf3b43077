"""Clients that ask for a large file and never read a byte of it.

They come in waves: the next one when all of the last have their first byte, or have
had their time. When the parent says so, some read to the end and compare what they get
with the file, and all leave. It is a helper process (see
`helper.py`).
"""

from __future__ import annotations

import os
import select
import socket
import struct
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, BinaryIO, Final

from zc_response.cli.bench.client import LOOPBACK, MAX_HEAD, STEP, check_head, explained
from zc_response.cli.bench.errors import LoadError
from zc_response.cli.bench.helper import Helper, play, wait_for_go
from zc_response.cli.bench.load import PATIENCE, SLOWEST, Target

WAVE: Final = 250
"""Fewer than any server's backlog."""
WAVE_PATIENCE: Final = 15.0
"""Seconds within which a wave must have its first bytes."""
PER_ADDRESS: Final = 20_000
"""Connections from one source address: Linux has 28,232 ports for them by default."""

SO_MEMINFO: Final = 55
"""socket(7) forgets it; linux/sock_diag.h lists the nine numbers it returns."""
IP_BIND_ADDRESS_NO_PORT: Final = 24
"""The port is chosen by connect, which may share it between destinations (ip(7))."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stall:
    """What to ask for, and how many clients do, for how many seconds at most."""

    target: Target
    clients: int
    seconds: float
    read: int = 0
    """How many read to the end at last."""
    file: str = ""
    """What they have to get then."""

    def helper(self, inside: Sequence[str] = ()) -> Helper:
        """The process of these clients; `inside` is a command that it is run by."""
        reading = self.read * self.target.size / SLOWEST
        patience = self.seconds + PATIENCE + reading
        return Helper(__name__, asdict(self), patience, inside)


def source_address(number: int) -> str:
    """The address that a client comes from, by its number."""
    return f"127.0.0.{1 + number // PER_ADDRESS}"


def waves(clients: int) -> Iterator[range]:
    """The numbers of the clients of each wave."""
    for first in range(0, clients, WAVE):
        yield range(first, min(first + WAVE, clients))


def _ask(target: Target, number: int) -> socket.socket:
    client = socket.socket()
    try:
        client.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
        if target.host == LOOPBACK:
            client.bind((source_address(number), 0))
        client.settimeout(PATIENCE)
        client.connect((target.host, target.port))
        host = f"{target.host}:{target.port}"
        client.sendall(f"GET {target.path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    except BaseException:
        client.close()
        raise
    return client


def _wait_for_answers(clients: Iterable[socket.socket]) -> None:
    waiting = {client.fileno() for client in clients}
    poll = select.poll()
    for descriptor in waiting:
        poll.register(descriptor, select.POLLIN)
    deadline = time.monotonic() + WAVE_PATIENCE
    while waiting and (left := deadline - time.monotonic()) > 0:
        for descriptor, _ in poll.poll(left * 1000):
            poll.unregister(descriptor)
            waiting.discard(descriptor)


def has_answer(client: socket.socket) -> bool:
    """True if a client has bytes of a response, and its connection still stands."""
    if client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
        return False
    try:
        flags = socket.MSG_PEEK | socket.MSG_DONTWAIT
        return client.recv(12, flags).endswith(b" 200")
    except OSError:
        return False


def receive_memory(client: socket.socket) -> int:
    """What the kernel holds for a client itself, in bytes: received, not read."""
    numbers = client.getsockopt(socket.SOL_SOCKET, SO_MEMINFO, 9 * 4)
    return int(struct.unpack("9I", numbers.ljust(36, b"\0"))[0])


def sample(clients: Sequence[socket.socket], count: int) -> Sequence[socket.socket]:
    """So many of the clients, from the first to the last that came."""
    return clients[:: -(-len(clients) // count)] if count else ()


def is_whole(client: socket.socket, file: str) -> bool:
    """Read a client's response to the end; true if its body is the file."""
    try:
        with open(file, "rb") as expected:
            return _compare(client, expected)
    except (OSError, LoadError):
        return False


def _compare(client: socket.socket, expected: BinaryIO) -> bool:
    received = b""
    while b"\r\n\r\n" not in received:
        data = client.recv(MAX_HEAD)
        if not data:
            return False
        received += data
    head, _, received = received.partition(b"\r\n\r\n")
    left = os.fstat(expected.fileno()).st_size
    check_head(head, left)
    while received and received == expected.read(len(received)):
        left -= len(received)
        received = client.recv(min(left, STEP))
    return not left and not received


@contextmanager
def stalled(stall: Stall) -> Iterator[list[socket.socket]]:
    """All clients, each of them with its request under way."""
    clients: list[socket.socket] = []
    deadline = time.monotonic() + stall.seconds
    try:
        for numbers in waves(stall.clients):
            wave = []
            for number in numbers:
                wave.append(_ask(stall.target, number))
                clients.append(wave[-1])
            _wait_for_answers(wave)
            if time.monotonic() > deadline:
                break
        yield clients
    finally:
        for client in clients:
            client.close()


def work(request: dict[str, Any]) -> dict[str, Any]:
    """Ask, wait for the word, leave; tell how many had an answer, and their memory."""
    stall = Stall(**{**request, "target": Target(**request["target"])})
    with explained(), stalled(stall) as clients:
        wait_for_go()
        return {
            "answered": sum(map(has_answer, clients)),
            "memory": sum(map(receive_memory, clients)),
            "read": _read(clients, stall),
        }


def _read(clients: Sequence[socket.socket], stall: Stall) -> dict[str, int]:
    """How many got the whole file, and how many did not, of those that read."""
    if not stall.read:
        return {}
    found = [is_whole(client, stall.file) for client in sample(clients, stall.read)]
    return {"whole": found.count(True), "spoilt": found.count(False)}


if __name__ == "__main__":
    sys.exit(play(work))

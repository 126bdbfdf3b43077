"""Bodies in memory: copied into the socket, or lent to the kernel (MSG_ZEROCOPY)?

No server and no loop, as in `strategies`: the same pieces leave by the same calls, with
the flag and without. Whoever lends takes the notices, and waits for the last of each
body. It goes on though the kernel says that it copies, as a transfer of ours would not:
so it is seen where lending loses, and by how much.

A network card of this machine is not used. The other end is behind the loopback or, in
a network namespace, behind a veth pair; both have what is lent copied.
"""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Final

from zc_response.cli.bench.errors import BenchmarkError
from zc_response.cli.bench.files import format_size
from zc_response.cli.bench.mounts import may_mount, program, run
from zc_response.cli.bench.records import Measurement, Record
from zc_response.cli.bench.rounds import Bench
from zc_response.cli.bench.stats import rotated
from zc_response.kernel import sockets, zerocopy

PIECE: Final = 512 * 1024
"""As in `transmit.memory`."""
HERE: Final = "198.18.0.5"  # RFC 2544: for benchmarks
THERE: Final = "198.18.0.6"
_DISCARD: Final = """
import socket, sys
host, port = sys.stdin.readline().split()
peer = socket.create_connection((host, int(port)))
while peer.recv(1 << 20, socket.MSG_TRUNC):
    pass
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lending:
    """What is measured."""

    sizes: Sequence[int]
    links: Sequence[str]
    rounds: int
    seconds: float
    """How long one way of sending sends the same body, again and again, in its turn."""


def measure_lending(bench: Bench, record: Record, setup: Lending) -> None:
    """Measure all of it, in rounds in which each way has its turn."""
    for link in setup.links:
        for size in setup.sizes:
            data, place = bytes(size), f"{format_size(size)}, {link}"
            for number in range(setup.rounds):
                for name in rotated(tuple(TITLES), number):
                    values = _turn(name, data, link, setup.seconds)
                    record.measurements.append(
                        Measurement(
                            candidate=name, place=place, round=number, values=values
                        )
                    )
                    bench.advance()


def number_of_turns(setup: Lending) -> int:
    """How many turns that is."""
    return len(setup.links) * len(setup.sizes) * setup.rounds * len(TITLES)


def why_not(link: str) -> str:
    """Say in a few words what is missing here; empty if nothing is."""
    if link not in LINKS:
        return f"there are {', '.join(LINKS)}"
    if link == "loopback":
        return ""
    if not may_mount():
        return "no right to make network namespaces (root is needed)"
    missing = (each for each in ("ip", "nsenter", "unshare") if program(each) is None)
    return next((f"{each} is not installed" for each in missing), "")


def _turn(name: str, data: bytes, link: str, seconds: float) -> dict[str, float]:
    send, sent, wall, cpu = _SENDS[name], 0, 0.0, 0.0
    with LINKS[link]() as sock:
        line = sockets.duplicate(sock.fileno())
        try:
            zerocopy.enable(line)
            while wall < seconds:
                began, used = time.monotonic(), time.process_time()
                send(line, memoryview(data))
                wall += time.monotonic() - began
                cpu += time.process_time() - used
                sent += len(data)
        finally:
            line.close()
    return {"rate": sent / wall, "cpu_per_byte": cpu / sent}


def _write(sock: sockets.Socket, data: memoryview) -> None:
    while data:
        piece = data[:PIECE]
        try:
            data = data[sockets.send(sock, piece, more=len(piece) < len(data)) :]
        except BlockingIOError:
            _wait(sock, select.POLLOUT)


def _lend(sock: sockets.Socket, data: memoryview) -> None:
    owed = 0
    while data:
        owed -= zerocopy.notices(sock).calls
        piece = data[:PIECE]
        try:
            data = data[zerocopy.lend(sock, piece, more=len(piece) < len(data)) :]
        except BlockingIOError:
            _wait(sock, select.POLLOUT)
        else:
            owed += 1
    while owed:
        _wait(sock, 0)
        owed -= zerocopy.notices(sock).calls


TITLES: Final = {
    "write": "copied into the socket",
    "lend": "lent (MSG_ZEROCOPY)",
}
_SENDS: Final[Mapping[str, Callable[[sockets.Socket, memoryview], None]]] = {
    "write": _write,
    "lend": _lend,
}


def _wait(sock: sockets.Socket, event: int) -> None:
    poll = select.poll()
    poll.register(sock.fileno(), event)
    if not poll.poll(20_000):
        raise BenchmarkError("the other end takes nothing")


@contextmanager
def _over_loopback() -> Iterator[socket.socket]:
    """A connection to a process that discards what comes."""
    with _discarding() as peer, _connection(peer, "127.0.0.1") as ours:
        yield ours


@contextmanager
def _over_veth() -> Iterator[socket.socket]:
    """The same, to one in a network namespace, which ends with it."""
    with _discarding("unshare", "-n") as peer:
        space = ("nsenter", f"--net=/proc/{_inside(peer)}/ns/net")
        ours, theirs = f"zca{peer.pid}", f"zcb{peer.pid}"
        run("ip", "link", "add", ours, "type", "veth", "peer", theirs)
        try:
            run("ip", "link", "set", theirs, "netns", str(peer.pid))
            run("ip", "address", "add", f"{HERE}/30", "dev", ours)
            run("ip", "link", "set", ours, "up")
            run(*space, "ip", "address", "add", f"{THERE}/30", "dev", theirs)
            run(*space, "ip", "link", "set", theirs, "up")
            with _connection(peer, HERE) as sock:
                yield sock
        finally:
            with suppress(BenchmarkError):  # it is gone when its other end is
                run("ip", "link", "delete", ours)


LINKS: Final = {"loopback": _over_loopback, "veth": _over_veth}


@contextmanager
def _discarding(*command: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [*command, sys.executable, "-c", _DISCARD],
        stdin=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@contextmanager
def _connection(peer: subprocess.Popen[str], host: str) -> Iterator[socket.socket]:
    """Our end of a connection that `peer` makes, which is told where to."""
    assert peer.stdin is not None
    with socket.create_server((host, 0)) as listener:
        peer.stdin.write(f"{host} {listener.getsockname()[1]}\n")
        peer.stdin.flush()
        listener.settimeout(20)
        ours, _ = listener.accept()
    with ours:
        ours.setblocking(False)
        yield ours


def _inside(process: subprocess.Popen[str]) -> int:
    """The id of a process that has a network namespace of its own by now."""
    ours = _namespace("self")
    for _ in range(2000):
        if _namespace(str(process.pid)) != ours:
            return process.pid
        time.sleep(0.005)
    raise BenchmarkError("unshare -n: it has no network namespace of its own")


def _namespace(process: str) -> str:
    try:
        return os.readlink(f"/proc/{process}/ns/net")
    except OSError as exc:
        raise BenchmarkError(f"unshare -n: {exc}") from exc

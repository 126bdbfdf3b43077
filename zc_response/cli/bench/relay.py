"""A host of its own, and the line to it: packets between two network namespaces.

A process in a new namespace carries packets between a TUN device there and one of its
parent's. What it has read of them the kernel no longer holds, so to a server its peer
is as far away as one behind a network card: that is not so with a veth pair. It is a
helper process (see `helper.py`); its namespace and both devices end with it.
"""

from __future__ import annotations

import os
import select
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any, Final, NamedTuple

from zc_response.cli.bench.errors import LoadError
from zc_response.cli.bench.helper import Helper, play
from zc_response.cli.bench.load import PATIENCE
from zc_response.cli.bench.mounts import may_mount, run
from zc_response.kernel.tun import DEVICE, open_tun

HERE: Final = "198.18.0.1"  # RFC 2544: for benchmarks
THERE: Final = "198.18.0.2"
MTU: Final = 9000
NAMES: Final = ("zcbench0", "zcbench1")
_PACKETS: Final = 64
"""How many are carried one way before the other has its turn."""


class Remote(NamedTuple):
    """How processes on the other host are run, and how they reach this one."""

    host: str
    inside: tuple[str, ...]
    """A command that runs another one over there."""


def why_not() -> str:
    """Say in a few words what is missing here; empty if nothing is."""
    if not may_mount():
        return "no right to make network namespaces (root is needed)"
    if not os.access(DEVICE, os.R_OK | os.W_OK):
        return f"no access to {DEVICE}"
    programs = ("ip", "nsenter", "unshare")
    return next((f"{each} is not installed" for each in programs if not _has(each)), "")


def _has(program: str) -> bool:
    return shutil.which(program, path=f"{os.defpath}:/usr/sbin:/sbin") is not None


@contextmanager
def remote(seconds: float) -> Iterator[Remote]:
    """Another host, for as long as the block, and at most so many seconds."""
    ours = open_tun(NAMES[0])
    try:
        set_up(NAMES[0], HERE)
        request = {"device": ours, "seconds": seconds}
        helper = Helper(__name__, request, PATIENCE, ("unshare", "-n"), keep=(ours,))
    finally:
        os.close(ours)
    with closing(helper):
        helper.wait_until_ready()
        yield Remote(HERE, ("nsenter", f"--net=/proc/{helper.pid}/ns/net"))


def set_up(name: str, address: str) -> None:
    """Give a device its address, and switch it on."""
    run("ip", "address", "add", f"{address}/30", "dev", name)
    run("ip", "link", "set", name, "mtu", str(MTU), "up")


# The process -----------------------------------------------------------------------


def carry(source: int, target: int) -> None:
    """Carry some of the packets that are there; what finds no room is lost."""
    for _ in range(_PACKETS):
        try:
            packet = os.read(source, MTU)
        except BlockingIOError:
            return
        try:
            os.write(target, packet)
        except OSError:
            pass


def work(request: dict[str, Any]) -> dict[str, Any]:
    """Carry packets both ways until the parent is gone, or the time is over."""
    here = int(request["device"])
    try:
        there = open_tun(NAMES[1])
        run("ip", "link", "set", "lo", "up")
        set_up(NAMES[1], THERE)
    except OSError as exc:
        raise LoadError(f"no TUN device in the namespace: {exc}") from exc
    print("ready", flush=True)
    deadline = time.monotonic() + request["seconds"]
    other, parent = {here: there, there: here}, sys.stdin.fileno()
    while (left := deadline - time.monotonic()) > 0:
        ready, _, _ = select.select([here, there, parent], [], [], left)
        if parent in ready:
            break
        for fd in ready:
            carry(fd, other[fd])
    return {}


if __name__ == "__main__":
    sys.exit(play(work))

"""Networks of a test's own: namespaces with interfaces that nobody else sees.

They need root and iproute2, some of them ethtool; `why_not` names what is missing.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from zc_response.cli.bench.errors import BenchmarkError
from zc_response.cli.bench.mounts import may_mount, program, run

OURS: Final = ("198.51.100.1", "fd00:51::1")
THEIRS: Final = ("198.51.100.2", "fd00:51::2")
_numbers: Final = itertools.count()


def why_not(*programs: str) -> str:
    """What is missing here; empty if nothing is."""
    if sys.platform != "linux" or not may_mount():
        return "no right to make network namespaces (root is needed)"
    missing = (each for each in ("ip", *programs) if program(each) is None)
    return next((f"{each} is not installed" for each in missing), "")


class Network:
    """A network namespace, with a loopback that is up."""

    def __init__(self, name: str) -> None:
        self.name = name

    def command(self, *words: str) -> list[str]:
        """What runs a command inside."""
        return [program("ip") or "ip", "netns", "exec", self.name, *words]

    def python(self, *words: str) -> subprocess.Popen[str]:
        """A Python that has begun inside, as with `python -c code argument`."""
        return subprocess.Popen(
            self.command(sys.executable, *words),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, line: str) -> str:
        """What a command prints, its words separated by blanks."""
        return run("ip", "netns", "exec", self.name, *line.split())


@contextmanager
def network() -> Iterator[Network]:
    """A new one, which is gone afterwards."""
    name = f"zc-test-{os.getpid()}-{next(_numbers)}"
    run("ip", "netns", "add", name)
    try:
        made = Network(name)
        made.run("ip link set lo up")
        yield made
    finally:
        run("ip", "netns", "delete", name)


@contextmanager
def pair() -> Iterator[tuple[Network, Network]]:
    """Two of them, joined by the ends of a veth pair: `veth0` in each."""
    with network() as ours, network() as theirs:
        ours.run(f"ip link add veth0 type veth peer name veth0 netns {theirs.name}")
        for each, addresses in ((ours, OURS), (theirs, THEIRS)):
            each.run(f"ip address add {addresses[0]}/24 dev veth0")
            each.run(f"ip address add {addresses[1]}/64 dev veth0 nodad")
            each.run("ip link set veth0 up")
        yield ours, theirs


def can(here: Network, line: str) -> bool:
    """Run a command inside; False where it fails, as if the kernel lacks something."""
    try:
        here.run(line)
    except BenchmarkError:
        return False
    return True

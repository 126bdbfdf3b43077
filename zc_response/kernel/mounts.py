"""What is mounted where, told by the kernel without touching any filesystem."""

from __future__ import annotations

import os
import re
from typing import NamedTuple

TABLE = "/proc/self/mountinfo"
"""proc(5). poll(2) reports POLLPRI on it when something is mounted or unmounted."""


class Mount(NamedTuple):
    """A place where a filesystem begins, and the filesystem's type (`nfs4`)."""

    point: str
    kind: str


def table() -> bytes:
    """The kernel's table of all mounts this process can see; empty if unknown."""
    try:
        with open(TABLE, "rb") as lines:
            return lines.read()
    except OSError:
        return b""


def mounts(lines: bytes) -> list[Mount]:
    """The mounts in a table, later ones over earlier ones."""
    return [_mount(line) for line in os.fsdecode(lines).split("\n") if line]


def _mount(line: str) -> Mount:
    # The fifth field is the mount point; the type follows a lone dash.
    place, _, rest = line.partition(" - ")
    point = re.sub(r"\\([0-7]{3})", _character, place.split(" ")[4])
    return Mount(point, rest.split(" ")[0])


def _character(octal: re.Match[str]) -> str:
    """A blank, tab, newline or backslash, which the table writes as an octal number."""
    return os.fsdecode(bytes([int(octal[1], 8)]))

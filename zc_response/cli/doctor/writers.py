"""Who has a file open for writing, as far as /proc tells this process."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

MOST: Final = 5
"""More than these are not named."""


def writers_of(path: str, device: int, inode: int) -> tuple[str, ...]:
    """The processes that can write to the file: `pid 4711 (rsync)`."""
    number = _number_inside(path)
    numbers = (number, str(inode))
    found: list[str] = []
    for pid in _pids():
        if _has_open(pid, number, (device, inode)) or _has_mapped(pid, path, numbers):
            found.append(f"pid {pid} ({_read(f'/proc/{pid}/comm').strip() or '?'})")
            if len(found) == MOST:
                break
    return tuple(found)


def _number_inside(path: str) -> str:
    """The inode's number as /proc tells it: on overlay not that of stat(2).

    Empty where it is not told: by kernels before 5.14.
    """
    try:
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        return _info("self", str(fd)).get("ino", "")
    finally:
        os.close(fd)


def _info(pid: int | str, fd: str) -> dict[str, str]:
    text = _read(f"/proc/{pid}/fdinfo/{fd}")
    return dict(re.findall(r"^(\w+):\s*(\S+)$", text, re.MULTILINE))


def _pids() -> list[int]:
    try:
        return sorted(int(name) for name in os.listdir("/proc") if name.isdigit())
    except OSError:
        return []


def _has_open(pid: int, number: str, identity: tuple[int, int]) -> bool:
    for fd in _open_for_writing(pid, number):
        try:
            status = os.stat(f"/proc/{pid}/fd/{fd}")
        except OSError:  # gone, or somebody else's
            continue
        if (status.st_dev, status.st_ino) == identity:
            return True
    return False


def _open_for_writing(pid: int, number: str) -> Iterator[str]:
    """Descriptors that may be of this inode.

    All others are left alone: stat(2) of one may wait for a server that is gone.
    """
    try:
        names = os.listdir(f"/proc/{pid}/fdinfo")
    except OSError:
        return
    for name in names:
        info = _info(pid, name)
        is_writable = int(info.get("flags", "0"), 8) & os.O_ACCMODE
        if is_writable and info.get("ino", "") == number:
            yield name


def _has_mapped(pid: int, path: str, numbers: tuple[str, str]) -> bool:
    """True for a shared writable mapping, whose descriptor may be closed."""
    for line in _read(f"/proc/{pid}/maps").splitlines():
        # address, rights, offset, device (not that of stat(2) on btrfs), inode, path
        columns = line.split(None, 5)
        is_writable = len(columns) == 6 and columns[1][1:4:2] == "ws"
        if is_writable and columns[4] in numbers and columns[5] == path:
            return True
    return False


def _read(path: str) -> str:
    try:
        return Path(path).read_text(errors="surrogateescape")
    except OSError:
        return ""

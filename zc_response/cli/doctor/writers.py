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
    found: list[str] = []
    for pid in _pids():
        if _has_open(pid, device, inode) or _has_mapped(pid, path, inode):
            found.append(f"pid {pid} ({_read(f'/proc/{pid}/comm').strip() or '?'})")
            if len(found) == MOST:
                break
    return tuple(found)


def _pids() -> list[int]:
    try:
        return sorted(int(name) for name in os.listdir("/proc") if name.isdigit())
    except OSError:
        return []


def _has_open(pid: int, device: int, inode: int) -> bool:
    for fd in _open_for_writing(pid, inode):
        try:
            status = os.stat(f"/proc/{pid}/fd/{fd}")
        except OSError:  # gone, or somebody else's
            continue
        if (status.st_dev, status.st_ino) == (device, inode):
            return True
    return False


def _open_for_writing(pid: int, inode: int) -> Iterator[str]:
    """Descriptors that may be of this inode: kernels before 5.14 do not tell it here.

    It matters because stat(2) of any other may wait for a server that is gone.
    """
    try:
        names = os.listdir(f"/proc/{pid}/fdinfo")
    except OSError:
        return
    for name in names:
        text = _read(f"/proc/{pid}/fdinfo/{name}")
        info = dict(re.findall(r"^(\w+):\s*(\S+)$", text, re.MULTILINE))
        is_writable = int(info.get("flags", "0"), 8) & os.O_ACCMODE
        if is_writable and info.get("ino", str(inode)) == str(inode):
            yield name


def _has_mapped(pid: int, path: str, inode: int) -> bool:
    """True for a shared writable mapping, whose descriptor may be closed."""
    for line in _read(f"/proc/{pid}/maps").splitlines():
        # address, rights, offset, device (not that of stat(2) on btrfs), inode, path
        columns = line.split(None, 5)
        is_writable = len(columns) == 6 and columns[1][1:4:2] == "ws"
        if is_writable and columns[4:] == [str(inode), path]:
            return True
    return False


def _read(path: str) -> str:
    try:
        return Path(path).read_text(errors="surrogateescape")
    except OSError:
        return ""

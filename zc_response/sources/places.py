"""Which paths may be touched from an event loop's thread.

A local filesystem answers a question about a name it was asked before from memory. A
network filesystem, or one in user space (FUSE), asks a server or a daemon, which may
be slow or gone; the kernel then waits, whatever flags the call has. So the loop leaves
every path alone that leads over such a filesystem, symbolic links included.
"""

from __future__ import annotations

import os
from typing import Final

from zc_response.kernel.mounts import Mount, mounts, table

LOCAL: Final = frozenset(
    (
        *("ext2", "ext3", "ext4", "xfs", "btrfs", "bcachefs", "f2fs", "zfs"),
        *("tmpfs", "ramfs", "hugetlbfs", "rootfs", "overlay"),
        *("squashfs", "erofs", "vfat", "exfat", "iso9660", "udf"),
        *("proc", "sysfs", "devtmpfs", "devpts", "cgroup", "cgroup2", "mqueue"),
    )
)
"""Filesystems that answer by themselves; a type that is not known is not among them."""

_MOST_LINKS: Final = 40  # as many as the kernel follows


def place_of(path: str) -> str:
    """What stands for the filesystem of a path that nobody has touched yet.

    Only a matter of which threads wait for it, so links are not followed.
    """
    return now().mount_of(path)


def is_local(path: str, filesystem: str) -> bool:
    """True if a file of that filesystem, and every step to it, is on this machine.

    It may wait for a local disk, as `Places.are_local` does.
    """
    return filesystem in LOCAL and now().are_local(path)


def now() -> Places:
    """The mounts as they are."""
    global _latest
    lines = table()
    if _latest is None or _latest[0] != lines:
        _latest = lines, Places(mounts(lines))
    return _latest[1]


class Places:
    """Mounts, and which paths lie on them."""

    __slots__ = ("_mounts",)

    def __init__(self, found: list[Mount]) -> None:
        # The longest first: the first that fits is the one that counts. Of two at one
        # place the later hides the earlier.
        self._mounts = found[::-1]
        self._mounts.sort(key=lambda mount: -len(mount.point))

    def mount_of(self, path: str) -> str:
        """Where the filesystem begins that a path lies on, links not followed."""
        return self._of(path).point

    def kind_of(self, path: str) -> str:
        """The type of that filesystem; empty if it is not known."""
        return self._of(path).kind

    def _of(self, path: str) -> Mount:
        return self._find(os.path.abspath(path)) or Mount("/", "")

    def are_local(self, path: str) -> bool:
        """True if no step on the way to `path` leaves the local filesystems.

        It reads the links on the way, and so may wait for a local disk; it never asks
        a filesystem that is not local.
        """
        if not self._mounts:
            return False
        if all(mount.kind in LOCAL for mount in self._mounts):
            return True
        return self._walk(os.path.abspath(path))

    def _walk(self, path: str) -> bool:
        here, ahead, links = "/", path.split("/")[::-1], 0
        while ahead:
            name = ahead.pop()
            if name in ("", "."):
                continue
            if name == "..":
                here = os.path.dirname(here)
                continue
            step = os.path.join(here, name)
            mount = self._find(step)
            if mount is None or mount.kind not in LOCAL:
                return False
            try:
                target = os.readlink(step)
            except OSError:  # not a link, or not there
                here = step
                continue
            links += 1
            if links > _MOST_LINKS:
                return False
            here = "/" if target.startswith("/") else here
            ahead += target.split("/")[::-1]
        return True

    def _find(self, path: str) -> Mount | None:
        for mount in self._mounts:
            point = mount.point
            if path == point or path.startswith(point.rstrip("/") + "/"):
                return mount
        return None


_latest: tuple[bytes, Places] | None = None  # the table, and what is made of it

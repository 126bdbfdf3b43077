"""Filesystems on disks of a known speed, for as long as a block lasts.

It may know how each filesystem is made, how a disk is held to a rate, and how a file
is evicted from the page cache.

A disk is a sparse image behind a loop device. The rate is that of the block layer
(`blkio.throttle.read_bps_device`, cgroup v1), and buffered reads count as those of the
process that makes them. So the limit is set on the very group that this process is in:
its children are in it too, and none has to be moved. FUSE needs no such thing: it is a
process that takes its time.

If the process is killed the mount stays; everything short of that takes it down.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from zc_response.cli.bench.errors import BenchmarkError, MissingError
from zc_response.cli.bench.mounts import (
    fuse,
    kernel_has,
    loop_device,
    may_mount,
    may_mount_fuse,
    mounted,
    program,
    run,
)

KINDS: Final = ("ext4", "xfs", "btrfs", "overlay", "fuse")
"""What can be slow; `plain_disk` also knows `tmpfs`."""

_MAKERS: Final[dict[str, tuple[str, ...]]] = {
    # ext4 would go on writing its tables in the background.
    "ext4": ("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0"),
    "xfs": ("mkfs.xfs", "-q", "-f"),
    "btrfs": ("mkfs.btrfs", "-q", "-f"),
}
_BELOW: Final = {"overlay": "ext4"}  # both layers, so that every file is on the disk
_MIB: Final = 1 << 20
_LEAST: Final = {"ext4": 16 * _MIB, "xfs": 300 * _MIB, "btrfs": 128 * _MIB}
_LIMIT: Final = "blkio.throttle.read_bps_device"
_ATTEMPTS: Final = 250  # to evict a file: pages in use, or queued on a socket, stay


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """A mounted filesystem; `path` is its root, to be written to and read from."""

    path: Path
    kind: str
    group: Path | None = None
    """The control group that is held to the rate, if that is how it is done."""

    def drop_caches(self, path: Path) -> None:
        """Evict a file's pages. Raises `BenchmarkError` where they stay."""
        fd = os.open(path, os.O_RDONLY)
        try:
            os.fsync(fd)  # a dirty page cannot be evicted
            for _attempt in range(_ATTEMPTS):
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
                if not resident(path):
                    return
                _free_what_was_received()
                time.sleep(0.02)
        finally:
            os.close(fd)
        raise BenchmarkError(f"{path} stays in the page cache")

    def admit(self, pid: int) -> None:
        """Put a process under the limit that is not a descendant of this one."""
        if self.group is not None:
            (self.group / "cgroup.procs").write_text(str(pid))


def _free_what_was_received() -> None:
    """Have each CPU free the buffers of sockets that others have left to it.

    What one CPU has read from a socket is freed by the one that had queued it, with the
    next packet that arrives there (skb_attempt_defer_free in net/core/skbuff.c). On a
    quiet machine none arrives, and the pages that were sent stay in use.
    """
    mine = os.sched_getaffinity(0)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as to_itself:
        to_itself.bind(("127.0.0.1", 0))
        try:
            for cpu in mine:
                os.sched_setaffinity(0, {cpu})
                to_itself.sendto(b"", to_itself.getsockname())
        finally:
            os.sched_setaffinity(0, mine)


def resident(path: Path) -> int | None:
    """How many bytes of a file are in the page cache; None where none can tell.

    fincore(1) asks mincore(2), which sees through overlayfs and starts no reads.
    """
    if program("fincore") is None:
        return None
    return int(run("fincore", "--noheadings", "--bytes", "--output", "RES", path))


@contextlib.contextmanager
def slow_disk(
    kind: str, size: int, bytes_per_second: int, directory: Path
) -> Iterator[Disk]:
    """A disk of `size` bytes that is read at `bytes_per_second`; writes are free.

    The image lies in `directory`, sparse; a filesystem that needs more gets more.
    """
    if bytes_per_second < 1:
        raise ValueError("bytes_per_second must be positive")
    with _disk(kind, size, bytes_per_second, directory, why_not(kind)) as disk:
        yield disk


@contextlib.contextmanager
def plain_disk(kind: str, size: int, directory: Path) -> Iterator[Disk]:
    """The same disk as fast as it can be."""
    with _disk(kind, size, 0, directory, why_not(kind, slow=False)) as disk:
        yield disk


def why_not(kind: str, *, slow: bool = True) -> str:
    """Say in a few words what is missing here for a disk; empty if nothing is."""
    needs = {"fuse": _why_not_fuse, "tmpfs": _why_not_mount}
    missing = needs.get(kind, lambda: _why_not_image(kind, slow=slow))()
    return missing or ("tmpfs is memory" if slow and kind == "tmpfs" else "")


def _why_not_mount() -> str:
    if not sys.platform.startswith("linux"):
        return "not Linux"
    return "" if may_mount() else "no right to mount (root is needed)"


def _why_not_image(kind: str, *, slow: bool) -> str:
    base = _BELOW.get(kind, kind)
    if base not in _MAKERS:
        return f"no filesystem of the name {kind} is known"
    maker = _MAKERS[base][0]
    checks: tuple[tuple[str, Callable[[], object]], ...] = (
        ("no loop devices", Path("/dev/loop-control").exists),
        ("losetup is not installed", lambda: program("losetup")),
        (f"{maker} is not installed", lambda: program(maker)),
        (f"the kernel has no {base}", lambda: kernel_has(base)),
        (f"the kernel has no {kind}", lambda: kernel_has(kind)),
        ("no blkio throttle (cgroup v1)", lambda: not slow or _group() is not None),
    )
    return _why_not_mount() or _first_missing(checks)


def _why_not_fuse() -> str:
    checks: tuple[tuple[str, Callable[[], object]], ...] = (
        ("not Linux", lambda: sys.platform.startswith("linux")),
        ("no access to /dev/fuse", lambda: os.access("/dev/fuse", os.R_OK | os.W_OK)),
        ("no right to mount (root or fusermount3 is needed)", may_mount_fuse),
        ("mfusepy or libfuse is not installed", _has_mfusepy),
    )
    return _first_missing(checks)


def _first_missing(checks: tuple[tuple[str, Callable[[], object]], ...]) -> str:
    return next((words for words, holds in checks if not holds()), "")


def _has_mfusepy() -> bool:
    try:
        import mfusepy  # noqa: F401  # it looks for libfuse as it is imported
    except (ImportError, OSError):
        return False
    return True


@contextlib.contextmanager
def _disk(
    kind: str, size: int, rate: int, directory: Path, missing: str
) -> Iterator[Disk]:
    """A disk of a rate, 0 being none, unless something is `missing` for it."""
    if missing:
        raise MissingError(f"no {kind} disk can be made here: {missing}")
    with _home(kind, directory) as home:
        if kind == "fuse":
            making = _fuse_disk(home, rate)
        elif kind == "tmpfs":
            making = _tmpfs_disk(home, size)
        else:
            making = _image_disk(kind, home, size, rate)
        with making as disk:
            yield disk


@contextlib.contextmanager
def _home(kind: str, directory: Path) -> Iterator[Path]:
    """A directory for the image and the mount point, gone afterwards."""
    with tempfile.TemporaryDirectory(prefix=f"{kind}-disk-", dir=directory) as home:
        os.chmod(home, 0o755)  # a server may run as another user
        yield Path(home)


@contextlib.contextmanager
def _fuse_disk(home: Path, bytes_per_second: int) -> Iterator[Disk]:
    behind, path = home / "behind", home / "root"
    behind.mkdir()
    module = "zc_response.cli.bench.sleepy"
    arguments = (str(path), str(behind), str(bytes_per_second))
    with fuse(path, [sys.executable, "-m", module, *arguments]):
        yield Disk(path=path, kind="fuse")


@contextlib.contextmanager
def _tmpfs_disk(home: Path, size: int) -> Iterator[Disk]:
    path = home / "root"
    with mounted(path, "-t", "tmpfs", "-o", f"size={size}", "tmpfs"):
        yield Disk(path=path, kind="tmpfs")


@contextlib.contextmanager
def _image_disk(kind: str, home: Path, size: int, rate: int) -> Iterator[Disk]:
    with _image(kind, size, home) as device:
        with _limited(device, rate) as group:
            with _on_device(kind, home, device) as path:
                yield Disk(path=path, kind=kind, group=group)


@contextlib.contextmanager
def _image(kind: str, size: int, home: Path) -> Iterator[Path]:
    """A loop device with a new filesystem on it."""
    image = home / "image"
    base = _BELOW.get(kind, kind)
    with image.open("xb") as file:
        file.truncate(max(size, _LEAST[base]))
    run(*_MAKERS[base], image)
    with loop_device(image) as device:
        yield device


@contextlib.contextmanager
def _on_device(kind: str, home: Path, device: Path) -> Iterator[Path]:
    """The filesystem of `device`, with an overlay on it if that is the kind."""
    path = home / "root"
    with mounted(path, device):
        if kind != "overlay":
            yield path
            return
        layers = {f"{layer}dir": path / layer for layer in ("lower", "upper", "work")}
        for layer in layers.values():
            layer.mkdir()
        options = ",".join(f"{name}={layer}" for name, layer in layers.items())
        with mounted(home / "merged", "-t", "overlay", "-o", options, "overlay"):
            yield home / "merged"


@contextlib.contextmanager
def _limited(device: Path, bytes_per_second: int) -> Iterator[Path | None]:
    """Hold reads from `device` to a rate, by this process and its children."""
    if not bytes_per_second:
        yield None
        return
    group = _group()
    assert group is not None, "why_not() has seen to that"
    number = os.stat(device).st_rdev
    name = f"{os.major(number)}:{os.minor(number)}"
    (group / _LIMIT).write_text(f"{name} {bytes_per_second}\n")
    try:
        yield group
    finally:
        (group / _LIMIT).write_text(f"{name} 0\n")


def _group() -> Path | None:
    """The blkio control group of this process, if it is ours to limit."""
    root = _blkio_root()
    if root is None:
        return None
    # In a container the hierarchy may be mounted from the container's group on, while
    # /proc names that group as the host does.
    for group in (root / _own_group().lstrip("/"), root):
        if (group / _LIMIT).exists():
            return group if os.access(group / _LIMIT, os.W_OK) else None
    return None


def _blkio_root() -> Path | None:
    for line in _lines("/proc/self/mounts"):
        _device, target, kind, options = line.split()[:4]
        if kind == "cgroup" and "blkio" in options.split(","):
            return Path(target)
    return None


def _own_group() -> str:
    for line in _lines("/proc/self/cgroup"):
        _number, controllers, group = line.split(":", 2)
        if "blkio" in controllers.split(","):
            return group
    return "/"


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return []

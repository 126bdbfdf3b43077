"""A FUSE filesystem that passes a directory on, and reads no faster than told.

It is a process of its own: `python -m zc_response.cli.bench.sleepy`. It needs mfusepy,
and it ends when its standard input does.
"""

from __future__ import annotations

import errno
import os
import sys
import threading
import time
from collections.abc import Iterable
from typing import Final

_FACTS: Final = (
    "st_mode", "st_nlink", "st_uid", "st_gid", "st_size", "st_blocks",
)  # fmt: skip


def facts(found: os.stat_result) -> dict[str, int]:
    """A stat as FUSE wants it, times in nanoseconds."""
    times = {f"st_{name}": getattr(found, f"st_{name}_ns") for name in _TIMES}
    return {name: getattr(found, name) for name in _FACTS} | times


_TIMES: Final = ("atime", "mtime", "ctime")


class Pace:
    """Lets so many bytes per second pass, one reader after the other."""

    def __init__(self, bytes_per_second: int) -> None:
        self._rate = bytes_per_second
        self._lock = threading.Lock()
        self._free_at = 0.0

    def wait(self, size: int) -> None:
        """Return when `size` bytes have come from the disk; at once if unlimited."""
        if not self._rate:
            return
        with self._lock:
            self._free_at = max(self._free_at, time.monotonic()) + size / self._rate
            until = self._free_at
        time.sleep(max(0.0, until - time.monotonic()))


class Sleepy:
    """The operations; FUSE calls them from several threads."""

    use_ns = True  # mfusepy: times are integers

    def __init__(self, directory: str, bytes_per_second: int) -> None:
        self._directory = directory
        self._pace = Pace(bytes_per_second)

    def _real(self, path: str) -> str:
        return self._directory + path

    def init(self, _path: str) -> None:
        """Nothing to prepare."""

    def destroy(self, _path: str) -> None:
        """Nothing to put away."""

    def getattr(self, path: str, fh: int | None = None) -> dict[str, int]:
        """Answered at once: it is the data that is slow."""
        return facts(os.lstat(self._real(path)) if fh is None else os.fstat(fh))

    def readdir(self, path: str, _fh: int) -> Iterable[str]:
        """The names in a directory."""
        return [".", "..", *os.listdir(self._real(path))]

    def open(self, path: str, flags: int) -> int:
        """A descriptor."""
        return os.open(self._real(path), flags & ~(os.O_CREAT | os.O_EXCL))

    def create(self, path: str, mode: int, _info: object = None) -> int:
        """A descriptor of a new file."""
        return os.open(self._real(path), os.O_RDWR | os.O_CREAT, mode)

    def read(self, _path: str, size: int, offset: int, fh: int) -> bytes:
        """The bytes, when their time has come."""
        data = os.pread(fh, size, offset)
        self._pace.wait(len(data))
        return data

    def write(self, _path: str, data: bytes, offset: int, fh: int) -> int:
        """Writes are not slowed down."""
        return os.pwrite(fh, data, offset)

    def truncate(self, path: str, length: int, fh: int | None = None) -> None:
        """As truncate(2) and ftruncate(2)."""
        os.truncate(self._real(path) if fh is None else fh, length)

    def utimens(self, path: str, times: tuple[int, int] | None = None) -> None:
        """As utimensat(2)."""
        if times is None:
            os.utime(self._real(path))
        else:
            os.utime(self._real(path), ns=times)

    def chmod(self, path: str, mode: int) -> None:
        """As chmod(2)."""
        os.chmod(self._real(path), mode)

    def rename(self, old: str, new: str) -> None:
        """As rename(2)."""
        os.rename(self._real(old), self._real(new))

    def unlink(self, path: str) -> None:
        """As unlink(2)."""
        os.unlink(self._real(path))

    def mkdir(self, path: str, mode: int) -> None:
        """As mkdir(2)."""
        os.mkdir(self._real(path), mode)

    def rmdir(self, path: str) -> None:
        """As rmdir(2)."""
        os.rmdir(self._real(path))

    def fsync(self, _path: str, datasync: int, fh: int) -> None:
        """As fsync(2)."""
        (os.fdatasync if datasync else os.fsync)(fh)

    def release(self, _path: str, fh: int) -> None:
        """Close the descriptor."""
        os.close(fh)


def end_with_the_parent() -> None:
    """End the process, and the mount with it, when standard input is closed."""

    def wait() -> None:
        sys.stdin.read()
        os._exit(errno.EPIPE)

    threading.Thread(target=wait, daemon=True).start()


def main(target: str, directory: str, bytes_per_second: str) -> None:
    """Serve `directory` on `target` until the filesystem is unmounted."""
    import mfusepy

    end_with_the_parent()
    mfusepy.FUSE(
        Sleepy(directory, int(bytes_per_second)),
        target,
        foreground=True,
        kernel_cache=True,  # keep pages from one open(2) to the next, as a disk does
        allow_other=os.geteuid() == 0,  # a server may run as another user
        default_permissions=True,
    )


if __name__ == "__main__":
    main(*sys.argv[1:])

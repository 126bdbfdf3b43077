"""The process behind `tests.filesystems.faulty_mount`: one file, and its faults.

A script of its own, run by path: `faulty_fuse.py TARGET BACKING LOG SECONDS`. It serves
the file BACKING as TARGET/file. Orders come as lines of JSON on standard input, each
answered by a line. It ends with its standard input, and after SECONDS at the latest.
"""

from __future__ import annotations

import errno
import json
import os
import stat
import subprocess
import sys
import threading
import time
from typing import Any, Final

NAME: Final = "/file"


class Faults:
    """What is wrong just now; changed by the thread that reads the orders."""

    def __init__(self) -> None:
        self.read_error_from: int | None = None
        self.data_ends_at: int | None = None
        self.seconds_per_read = 0.0
        self.close_error = False
        self.hanging: frozenset[str] = frozenset()
        self.longest_hang = 20.0
        self._released = threading.Event()

    def set(self, order: dict[str, Any]) -> None:
        """Replace every fault; what hangs now goes on hanging until released."""
        self.read_error_from = order["read_error_from"]
        self.data_ends_at = order["data_ends_at"]
        self.seconds_per_read = order["seconds_per_read"]
        self.close_error = order["close_error"]
        self.hanging = frozenset(order["hanging"])
        self.longest_hang = order["longest_hang"]

    def release(self) -> None:
        """Let everything that hangs go on, and hang no more."""
        self.hanging = frozenset()
        self._released.set()
        self._released = threading.Event()

    def hang(self, operation: str) -> None:
        """Wait here if this operation is to hang. It cannot for ever."""
        released = self._released
        if operation in self.hanging and not released.wait(self.longest_hang):
            raise OSError(errno.ETIMEDOUT, "hung for too long")


class OneFile:
    """The operations; FUSE calls them from several threads."""

    use_ns = True  # mfusepy: times are integers

    def __init__(self, backing: str, log: str, faults: Faults) -> None:
        self._fd = os.open(backing, os.O_RDONLY)
        self._log = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        self._faults = faults

    def _begin(self, operation: str, *facts: object) -> None:
        line = " ".join(map(str, (operation, *facts)))
        os.write(self._log, f"{line}\n".encode())
        self._faults.hang(operation)

    def init(self, _path: str) -> None:
        """Nothing to prepare."""

    def destroy(self, _path: str) -> None:
        """Nothing to put away."""

    def getattr(self, path: str, fh: int | None = None) -> dict[str, int]:
        """Also what answers a lookup. The root never hangs: unmounting needs it.

        With a handle it is the kernel that asks, before each read(2).
        """
        if path == "/":
            return {"st_mode": stat.S_IFDIR | 0o755, "st_nlink": 2}
        if path != NAME:
            raise OSError(errno.ENOENT, "no such file")
        self._begin("getattr" if fh is None else "fgetattr")
        found = os.fstat(self._fd)
        return {
            "st_mode": stat.S_IFREG | 0o644,
            "st_nlink": 1,
            "st_size": found.st_size,
            "st_mtime": found.st_mtime_ns,
            "st_ctime": found.st_ctime_ns,
        }

    def readdir(self, _path: str, _fh: int) -> list[str]:
        """The one name."""
        return [".", "..", NAME[1:]]

    def open(self, path: str, _flags: int) -> int:
        """Nothing to open."""
        self._begin("open")
        return 0

    def flush(self, _path: str, _fh: int) -> None:
        """What each close(2) waits for; not told of unless something is wrong."""
        if "flush" in self._faults.hanging:
            self._begin("flush")
        if self._faults.close_error:
            raise OSError(errno.EIO, "bad sector")

    def read(self, _path: str, size: int, offset: int, _fh: int) -> bytes:
        """The bytes, if nothing is wrong with them."""
        self._begin("read", offset, size)
        faults = self._faults
        time.sleep(faults.seconds_per_read)
        end = offset + size
        if faults.read_error_from is not None and end > faults.read_error_from:
            raise OSError(errno.EIO, "bad sector")
        if faults.data_ends_at is not None:
            end = min(end, faults.data_ends_at)
        return os.pread(self._fd, max(0, end - offset), offset)


def obey(faults: Faults) -> None:
    """Carry out the orders until there are no more."""
    for line in sys.stdin:
        order = json.loads(line)
        if order == "release":
            faults.release()
        else:
            faults.set(order)
        print("done", flush=True)


def live_no_longer_than(seconds: float, target: str, orders: threading.Thread) -> None:
    """End the process, and take its mount along, when its time is over."""

    def wait() -> None:
        orders.join(seconds)
        subprocess.run(["umount", "--lazy", target], check=False, capture_output=True)
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def main(target: str, backing: str, log: str, seconds: str) -> None:
    """Serve the file until the end."""
    import mfusepy

    faults = Faults()
    orders = threading.Thread(target=obey, args=[faults], daemon=True)
    orders.start()
    live_no_longer_than(float(seconds), target, orders)
    mfusepy.FUSE(
        OneFile(backing, log, faults),
        target,
        foreground=True,
        # Every stat, lookup and open is to arrive here.
        attr_timeout=0,
        entry_timeout=0,
        allow_other=os.geteuid() == 0,
    )


if __name__ == "__main__":
    main(*sys.argv[1:])

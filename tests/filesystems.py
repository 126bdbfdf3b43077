"""Filesystems to test on: small disks of every kind, and one that is faulty.

`faulty_mount` shows one file through FUSE, and does to its reads, stats and opens what
the test orders. Nothing here lasts: what hangs is let go after `longest_hang`, and the
process behind the mount ends with the test, or after `LIFE` seconds.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Final, Protocol

from zc_response.cli.bench.disks import why_not as _why_not
from zc_response.cli.bench.mounts import fuse

DISK_KINDS: Final = ("ext4", "xfs", "btrfs", "overlay", "tmpfs")
DISK_SIZE: Final = 300 << 20  # sparse; xfs takes no less
LIFE: Final = 100.0  # seconds; a test has no more
DAEMON: Final = Path(__file__).with_name("faulty_fuse.py")


def why_not(kind: str) -> str:
    """What is missing here for a filesystem of that kind; empty if nothing is."""
    return _why_not(kind, slow=False)


@dataclass(frozen=True, kw_only=True)
class Faults:
    """What is wrong with the file; nothing, if nothing is said."""

    read_error_from: int | None = None
    """EIO for every read that touches this byte or a later one.

    The kernel reads ahead, then again page by page what failed: so a reader gets all
    whole pages before this byte, and none from there on.
    """
    data_ends_at: int | None = None
    """Reads find no data from here on, whatever size stat(2) tells."""
    seconds_per_read: float = 0.0
    """Each read of the daemon's takes so long: one is up to 128 KiB."""
    close_error: bool = False
    """EIO for every close(2) of the file."""
    hanging: tuple[str, ...] = ()
    """Operations that do not return until `release`: read, open, getattr, fgetattr,
    and flush, for which close(2) waits.

    A lookup of the name is a getattr as well; an fgetattr comes before each read(2),
    not before sendfile(2).
    """
    longest_hang: float = 20.0
    """Seconds after which what hangs fails with ETIMEDOUT all the same."""


class FaultyMount:
    """A directory with one file, and a hold on what is wrong with it."""

    def __init__(
        self, directory: Path, log: Path, orders: IO[str], answers: IO[str]
    ) -> None:
        self.directory = directory
        self.file = directory / "file"
        self._log = log
        self._orders = orders
        self._answers = answers

    def inject(self, faults: Faults) -> None:
        """Have these faults, and no others, from now on."""
        self._order(asdict(faults))

    def release(self) -> None:
        """Let everything that hangs go on, and hang no more."""
        self._order("release")

    def _order(self, order: object) -> None:
        self._orders.write(json.dumps(order) + "\n")
        self._orders.flush()
        assert self._answers.readline() == "done\n", "the daemon is gone"

    def operations(self) -> list[str]:
        """What the daemon was asked so far: such as `open` or `read 0 4096`."""
        return self._log.read_text().splitlines()

    def forget(self) -> None:
        """Start the list of operations anew."""
        with self._log.open("r+") as log:
            log.truncate()


class MountFaulty(Protocol):
    """The fixture `faulty_mount`."""

    def __call__(self, content: bytes, faults: Faults | None = None) -> FaultyMount: ...


@contextlib.contextmanager
def faulty_mount(
    directory: Path, content: bytes, faults: Faults | None = None
) -> Iterator[FaultyMount]:
    """Mount the file below `directory`, a directory of the caller's."""
    backing, log, target = (directory / name for name in ("content", "log", "mount"))
    backing.write_bytes(content)
    log.touch()
    command = [sys.executable, str(DAEMON), *map(str, (target, backing, log, LIFE))]
    with fuse(target, command) as daemon:
        assert daemon.stdin is not None
        assert daemon.stdout is not None
        mount = FaultyMount(target, log, daemon.stdin, daemon.stdout)
        if faults is not None:
            mount.inject(faults)
        mount.forget()
        yield mount

"""Interim stand-in for the module of slow disks."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

KINDS: Final = ("ext4", "xfs", "btrfs", "overlay", "fuse")


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """A mounted directory."""

    path: Path

    def drop_caches(self, path: Path) -> None:
        """Evict a file's pages."""
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


@contextmanager
def slow_disk(
    kind: str, size: int, bytes_per_second: int, directory: Path
) -> Iterator[Disk]:
    """Not slow at all."""
    with tempfile.TemporaryDirectory(dir=directory) as name:
        yield Disk(path=Path(name))


def why_not(kind: str) -> str:
    """Empty if it can run here."""
    return "" if kind == "ext4" else "it is not there yet"

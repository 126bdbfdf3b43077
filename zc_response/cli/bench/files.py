"""Sizes as people write them, and files of these sizes to serve."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import Final

from zc_response.cli.bench.errors import BenchmarkError

KIB: Final = 1024
MIB: Final = 1024 * KIB
GIB: Final = 1024 * MIB

DIRECTORY_VARIABLE: Final = "ZC_BENCH_FILES"
"""The environment variable that tells a server where the files are."""

LARGEST: Final = 64 * GIB
LARGEST_IN_MEMORY: Final = 64 * MIB
"""The largest file that is also served from memory, for comparison."""
SPARE: Final = 256 * MIB
"""What must be left on the disk beside the files."""

_UNITS: Final = {"": 1, "B": 1, "KIB": KIB, "MIB": MIB, "GIB": GIB}


def parse_size(text: str) -> int:
    """The number of bytes in a size such as "4KiB"."""
    match = re.fullmatch(r"([0-9]{1,12}) ?([A-Za-z]*)", text.strip())
    unit = _UNITS.get(match[2].upper()) if match else None
    if match is None or unit is None:
        raise ValueError(f"{text!r} is not a size; write 4KiB, 64KiB, 1MiB or 1GiB")
    size = int(match[1]) * unit
    if not 0 < size <= LARGEST:
        raise ValueError(f"{text!r} is not between 1 byte and {format_size(LARGEST)}")
    return size


def format_size(size: int) -> str:
    """The size in the largest unit that it is a multiple of."""
    for unit, name in ((GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")):
        if size and size % unit == 0:
            return f"{size // unit} {name}"
    return f"{size} B"


def file_name(size: int) -> str:
    """What the file of that size is called, on disk and in URLs."""
    return f"{format_size(size).replace(' ', '')}.bin"


def make_files(directory: Path, sizes: list[int]) -> None:
    """Make a file of each size in `directory`, and bring it into the page cache."""
    check_space(directory, sum(sizes))
    for size in sizes:
        path = directory / file_name(size)
        _write(path, size)
        _read(path)


def make_sparse_file(directory: Path, size: int) -> None:
    """Make a file of zeros in `directory` that takes no room on the disk."""
    with (directory / file_name(size)).open("wb") as file:
        file.truncate(size)


def make_cold_file(path: Path, size: int) -> None:
    """Make a file at `path` and have it written to its disk."""
    _write(path, size)


def check_space(directory: Path, needed: int) -> None:
    """Raise BenchmarkError if files of so many bytes have no place there."""
    free = shutil.disk_usage(directory).free
    wanted = needed + SPARE
    if free < wanted:
        raise BenchmarkError(
            f"{directory} has {free // MIB} MiB free, and the files need "
            f"{wanted // MIB} MiB; name another one with --directory"
        )


def _write(path: Path, size: int) -> None:
    # Random, so that nothing on the way can compress it; no two MiB alike, so that a
    # body made of the wrong parts of the file shows.
    noise = os.urandom(min(size, MIB))
    with path.open("wb") as file:
        for offset in range(0, size, MIB):
            piece = offset.to_bytes(8, "big") + noise
            file.write(piece[: min(MIB, size - offset)])
        file.flush()
        os.fsync(file.fileno())  # or its writing back would fall into the first run


def _read(path: Path) -> None:
    buffer = bytearray(MIB)
    with path.open("rb", buffering=0) as file:
        while file.readinto(buffer):
            pass

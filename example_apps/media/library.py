"""The files that the page shows: what they are, and how they are made.

Each is computed once, by the standard library alone. It is written under another name
and renamed when it is whole, so a start that was interrupted leaves nothing behind that
looks finished.
"""

from __future__ import annotations

import contextlib
import gzip
import mimetypes
import os
import random
import tarfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from example_apps.media.almanac import almanac
from example_apps.media.melody import recording
from example_apps.media.pictures import dusk, julia, ripples, sunflower

Recipe = Callable[[], Iterable[bytes]]

MIB = 1024 * 1024


def recipes(*, small: bool = False) -> dict[str, Recipe]:
    """How to make each file; `small` saves time where their size does not matter."""
    part = 4 if small else 1
    return {
        "dusk.png": partial(dusk, 2400 // part),
        "julia.png": partial(julia, 960 // part),
        "ripples.png": partial(ripples, 720 // part),
        "sunflower.svg": partial(sunflower, 900),
        "prelude.wav": partial(recording, [0] if small else [0, 5]),
        "almanac.txt": lambda: [almanac().encode()],
        "almanac.txt.gz": lambda: [gzip.compress(almanac().encode(), mtime=0)],
        "archive.tar": partial(archive, 4 if small else 75),
    }


def archive(members: int, size: int = 4 * MIB) -> Iterator[bytes]:
    """Yield a tar file whose members are slices of one stretch of noise."""
    noise = random.Random("zc_response").randbytes(size + members)
    for number in range(members):
        member = tarfile.TarInfo(f"noise/{number + 1:03}.bin")
        member.size = size  # a multiple of tar's blocks, so there is nothing to pad
        yield member.tobuf()
        yield noise[number : number + size]
    yield bytes(tarfile.RECORDSIZE)  # the end: at least two blocks of zeros


def make_library(
    folder: Path, recipes: Mapping[str, Recipe], tell: Callable[[str], None] = print
) -> None:
    """Make what is not there yet, and `tell` how it goes on."""
    folder.mkdir(parents=True, exist_ok=True)
    missing = [name for name in recipes if not (folder / name).exists()]
    if missing:
        tell(f"Making {len(missing)} files in {folder}, this once:")
    for name in missing:
        started = time.monotonic()
        _write(folder / name, recipes[name]())
        size = (folder / name).stat().st_size / 1e6
        tell(f"  {name:15} {size:8.1f} MB  {time.monotonic() - started:5.1f} s")


def _write(path: Path, content: Iterable[bytes]) -> None:
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with draft.open("wb") as file:
            file.writelines(content)
        draft.replace(path)
    finally:
        with contextlib.suppress(FileNotFoundError):  # renamed, as it should be
            draft.unlink()


@dataclass(frozen=True, slots=True)
class Item:
    """One file of the library, as the page lists it."""

    name: str
    type: str
    size: int
    compressed: int | None
    """The size of its `.gz` sibling, if it has one."""


def list_library(folder: Path) -> list[Item]:
    """The files in `folder`: ours, and whatever else somebody has put there."""
    sizes = {
        path.name: path.stat().st_size
        for path in sorted(folder.iterdir())
        if path.is_file() and not path.name.startswith(".")
    }
    return [
        Item(name, _type(name), size, sizes.get(f"{name}.gz"))
        for name, size in sizes.items()
        if name.removesuffix(".gz") == name or name.removesuffix(".gz") not in sizes
    ]


def _type(name: str) -> str:
    return mimetypes.guess_type(name)[0] or "application/octet-stream"

"""Memory whose address is a multiple of a page's size, as O_DIRECT wants it."""

from __future__ import annotations

import mmap
from typing import Final

_FLAGS: Final = (
    # By default it would be shared, which makes it pages of a file in memory.
    mmap.MAP_PRIVATE
    | getattr(mmap, "MAP_ANONYMOUS", 0)
    # Where a page is not there yet, btrfs gives O_DIRECT up and reads the rest of the
    # range through the page cache: 6 MiB of 16 that way (Linux 6.18).
    | getattr(mmap, "MAP_POPULATE", 0)
    if hasattr(mmap, "MAP_PRIVATE")
    else 0
)


def aligned(count: int) -> memoryview:
    """So many bytes of memory from the start of a page on; freed with its last view."""
    return memoryview(mmap.mmap(-1, count, _FLAGS) if _FLAGS else mmap.mmap(-1, count))

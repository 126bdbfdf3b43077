"""Memory whose address is a multiple of a page's size, as O_DIRECT wants it."""

from __future__ import annotations

import mmap
from typing import Any, Final

_PRIVATE: Final[dict[str, Any]] = (
    # By default Python's are shared, which makes them pages of a file in memory.
    {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS}
    if hasattr(mmap, "MAP_ANONYMOUS")
    else {}
)


def aligned(count: int) -> memoryview:
    """So many bytes of memory from the start of a page on; freed with its last view."""
    return memoryview(mmap.mmap(-1, count, **_PRIVATE))

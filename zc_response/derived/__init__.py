"""What is made of a file before it is sent: compressed variants, and snapshots.

Both are files that nobody can change. They are made in threads, out of bytes that a
hold vouches for, and sent like any other file.

    codings    the compressors that are installed
    variants   a bounded cache of compressed variants
    selection  which of a file's representations is sent
    snapshot   a file as it is now
"""

from __future__ import annotations

from zc_response.derived.codings import CODINGS
from zc_response.derived.selection import (
    Opener,
    Selected,
    best_beside,
    compressed,
    opened,
)
from zc_response.derived.snapshot import snapshot_of
from zc_response.derived.variants import Variants, kept_variants

__all__ = [
    "CODINGS",
    "Opener",
    "Selected",
    "Variants",
    "best_beside",
    "compressed",
    "kept_variants",
    "opened",
    "snapshot_of",
]

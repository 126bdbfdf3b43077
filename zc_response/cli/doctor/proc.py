"""Reading what the kernel tells in /proc."""

from __future__ import annotations

from pathlib import Path


def read(path: str) -> str:
    """What a file there says; nothing if it is gone, or not for us."""
    try:
        return Path(path).read_text(errors="surrogateescape")
    except OSError:
        return ""

"""Making a hole in a file: for tests and the benchmark, which write as others do."""

from __future__ import annotations

import ctypes
import os
import sys
from typing import Final

_KEEP_SIZE: Final = 0x01  # linux/falloc.h
_PUNCH_HOLE: Final = 0x02


def punch(fd: int, offset: int, count: int) -> None:
    """Have a range of a file read as zeros, and free what it took (fallocate(2))."""
    mode = _PUNCH_HOLE | _KEEP_SIZE
    if _fallocate is None:
        raise OSError(f"there is no fallocate on {sys.platform}")
    if _fallocate(fd, mode, offset, count) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


if sys.platform == "linux":
    _libc = ctypes.CDLL(None, use_errno=True)
    _fallocate = _libc.fallocate
    _fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
else:
    _fallocate = None

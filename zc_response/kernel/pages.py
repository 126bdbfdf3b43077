"""What of a file lies in the page cache, asked without ever waiting for its disk."""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from typing import Any, Final

_RWF_NOWAIT: Final = int(getattr(os, "RWF_NOWAIT", 0))


def read_nowait(fd: int, offset: int, count: int) -> bytearray:
    """Up to `count` bytes from `offset` on, as far as they are in memory.

    preadv2(2) with RWF_NOWAIT takes only pages that are up to date: one that is still
    being read in counts as absent, unlike with cachestat. It starts to read a page
    that is absent, and so says "in memory" of it a moment later. Fewer bytes than
    asked for can therefore mean the end of the file, or that the rest is on disk.
    Raises BlockingIOError if the very first page is, and OSError with EOPNOTSUPP on
    filesystems that cannot tell (tmpfs, overlay, FUSE, squashfs).
    """
    if not _RWF_NOWAIT:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
    buffer = bytearray(count)
    taken = os.preadv(fd, (buffer,), offset, _RWF_NOWAIT)
    return buffer if taken == count else buffer[:taken]


def cached(fd: int, offset: int, count: int) -> int:
    """How many pages of a range are in the page cache (cachestat(2), Linux 6.5).

    Pages that are still being read in are counted too, and on overlay none are: the
    cache belongs to the file below. Raises OSError with ENOSYS where the call is
    missing, and with EPERM for a process that neither owns the file nor may write it.
    """
    if _syscall is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    wanted = _Range(offset, count)
    found = _Found()
    if _syscall(_SYS_CACHESTAT, fd, ctypes.byref(wanted), ctypes.byref(found), 0):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return int(found.cached)


def will_need(fd: int, offset: int, count: int) -> None:
    """Have the kernel read a range into memory, without waiting for it.

    POSIX_FADV_WILLNEED (posix_fadvise(2)). It is no promise, and it may wait for a
    place in the disk's queue; on FUSE and network filesystems for more than that.
    """
    if hasattr(os, "posix_fadvise"):
        try:
            os.posix_fadvise(fd, offset, count, os.POSIX_FADV_WILLNEED)
        except OSError:  # a kind of file that has no pages
            pass


def forget(fd: int, offset: int, count: int) -> None:
    """Have the whole pages of a range leave the page cache (posix_fadvise(2)).

    Those that are dirty, mapped, or queued on a socket stay. It may wait for other CPUs
    to let go of pages that they have just touched.
    """
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(fd, offset, count, os.POSIX_FADV_DONTNEED)


def mapped(fd: int, offset: int, count: int) -> bool | None:
    """True if a range is in memory and up to date, None if that is not for us to know.

    mincore(2) on a mapping that nobody ever reads. It sees through overlayfs, whose
    mappings are of the file below, and starts no input. To a process that neither owns
    the file nor may write it, it says "in memory" of everything, even of a page beyond
    the end of the file: by that page it is found out.
    """
    if _libc is None:
        return None
    start = offset - offset % PAGE
    pages = -(-(offset + count - start) // PAGE)
    beyond = -(-os.fstat(fd).st_size // PAGE) * PAGE
    answer = ctypes.create_string_buffer(pages)
    if not _mincore(fd, start, pages, answer):
        return None
    witness = ctypes.create_string_buffer(1)
    if not _mincore(fd, beyond, 1, witness) or witness.raw[0] & 1:
        return None
    return b"\0" not in answer.raw


def _mincore(fd: int, start: int, pages: int, answer: ctypes.Array[Any]) -> bool:
    assert _libc is not None
    size = pages * PAGE
    address = _libc.mmap(None, size, _PROT_READ, _MAP_SHARED, fd, start)
    if address == _MAP_FAILED:
        return False
    try:
        return bool(_libc.mincore(address, size, answer) == 0)
    finally:
        _libc.munmap(address, size)


_PROT_READ: Final = 1
_MAP_SHARED: Final = 1
_MAP_FAILED: Final = ctypes.c_void_p(-1).value
PAGE: Final = os.sysconf("SC_PAGESIZE")


class _Range(ctypes.Structure):
    _fields_ = (("offset", ctypes.c_uint64), ("length", ctypes.c_uint64))


class _Found(ctypes.Structure):
    _fields_ = (
        ("cached", ctypes.c_uint64),
        ("dirty", ctypes.c_uint64),
        ("writeback", ctypes.c_uint64),
        ("evicted", ctypes.c_uint64),
        ("recently_evicted", ctypes.c_uint64),
    )


_SYS_CACHESTAT: Final = 451  # the same number on every architecture

if sys.platform == "linux":
    _libc = ctypes.CDLL(None, use_errno=True)
    _syscall = _libc.syscall
    _syscall.restype = ctypes.c_long
    _libc.mmap.restype = ctypes.c_void_p
    _libc.mmap.argtypes = (
        *(ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int),
        *(ctypes.c_int, ctypes.c_int64),
    )
    _libc.mincore.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p)
    _libc.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
else:
    _libc = _syscall = None

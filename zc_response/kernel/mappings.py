"""A file's pages at an address: mapped, warmed, and sent from. Never read here.

Who loads from a mapping beyond the end of a file, because that has shrunk meanwhile, is
sent SIGBUS (mmap(2)), which no Python process survives. The kernel itself is not: where
its copy out of the mapping cannot go on, send(2) ends short or fails with EFAULT. So a
mapping is a bare address here and no buffer: there is no object by which Python, or
OpenSSL, could load from it.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import sys
import warnings
from typing import Final

from zc_response.kernel.pages import PAGE

_PROT_READ: Final = 1
_MAP_SHARED: Final = 1
_MAP_FAILED: Final = ctypes.c_void_p(-1).value
_MADV_SEQUENTIAL: Final = 2
_MADV_POPULATE_READ: Final = 22
_NOSIGNAL: Final = int(getattr(socket, "MSG_NOSIGNAL", 0))
_MORE: Final = int(getattr(socket, "MSG_MORE", 0))


class Mapping:
    """A range of a file, mapped shared and for reading, until it is closed.

    `start` is the offset of its first byte, at most a page before the one that was
    asked for; `end` that after its last. It needs no descriptor to live. Raises
    OSError: ENODEV where a filesystem has no mappings, ENOMEM if there is no more room.
    """

    __slots__ = ("_address", "end", "start")

    def __init__(self, fd: int, offset: int, count: int) -> None:
        self._address: int | None = None
        self.start = offset - offset % PAGE
        self.end = offset + count
        self._address = _map(fd, self.start, self.end - self.start)

    def covers(self, offset: int, count: int) -> bool:
        """True if the range lies inside of it."""
        return self.start <= offset and offset + count <= self.end

    def warm(self, offset: int, count: int) -> None:
        """Have a range in memory and mapped (MADV_POPULATE_READ, Linux 5.14).

        It waits for the disk: here, and not inside of send(2), which holds the socket's
        lock meanwhile. What cannot be had (beyond the end of the file, from a broken
        disk, by an older kernel) is left for send(2) to find out.
        """
        start = offset - offset % PAGE
        _advise(self._at(start), offset + count - start, _MADV_POPULATE_READ)

    def send(self, out_fd: int, offset: int, count: int, *, more: bool) -> int:
        """Copy a range into a connected socket; how many bytes (send(2)).

        Fewer, where the socket is full. EFAULT where the file has become shorter, or
        its disk cannot be read: TCP gives up what it was filling, a segment of up to
        64 KiB, so good bytes before that page may be left out as well. What lies in the
        file's last page behind its end is zeros, and is sent.
        """
        flags = _NOSIGNAL | _MORE if more else _NOSIGNAL
        while True:
            sent = _send(out_fd, self._at(offset), count, flags)
            if sent >= 0:
                return int(sent)
            number = ctypes.get_errno()
            if number != errno.EINTR:
                raise OSError(number, os.strerror(number))

    def _at(self, offset: int) -> int:
        if self._address is None:
            raise ValueError("the mapping is closed")
        return self._address + offset - self.start

    def close(self) -> None:
        """Unmap it; once more is harmless."""
        address, self._address = self._address, None
        if address is not None:
            _unmap(address, self.end - self.start)

    def __del__(self) -> None:
        if self._address is not None:
            warnings.warn("unclosed mapping", ResourceWarning, stacklevel=2)
            self.close()


if sys.platform == "linux":
    _libc = ctypes.CDLL(None, use_errno=True)
    _libc.mmap.restype = ctypes.c_void_p
    _libc.mmap.argtypes = (
        *(ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int),
        *(ctypes.c_int, ctypes.c_int64),
    )
    _send = _libc.send
    _send.restype = ctypes.c_ssize_t
    _send.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    _unmap = _libc.munmap
    _unmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
    _advise = _libc.madvise
    _advise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)

    def _map(fd: int, start: int, size: int) -> int:
        """Map pages; what is read ahead of faults is what a sequential reader wants."""
        address = _libc.mmap(None, size, _PROT_READ, _MAP_SHARED, fd, start)
        if address == _MAP_FAILED:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        _advise(address, size, _MADV_SEQUENTIAL)
        return int(address)

else:
    _send = _unmap = _advise = None

    def _map(fd: int, start: int, size: int) -> int:
        """Decline: elsewhere nothing is known of what send(2) does at a file's end."""
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

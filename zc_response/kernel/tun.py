"""TUN devices: interfaces whose packets a program takes and gives (tun.rst)."""

from __future__ import annotations

import errno
import os
import struct
from typing import Final

try:
    import fcntl
except ImportError:  # not a POSIX system
    fcntl = None  # type: ignore[assignment]

DEVICE: Final = "/dev/net/tun"
_TUNSETIFF: Final = 0x400454CA  # linux/if_tun.h
_TUN: Final = 0x0001
_NO_HEADER: Final = 0x1000  # IFF_NO_PI
_REQUEST: Final = struct.Struct("16sH22x")  # struct ifreq


def open_tun(name: str) -> int:
    """A non-blocking descriptor of a new interface: each read and write is a packet.

    It lies in the network namespace of this process, and is gone when it is closed.
    """
    if fcntl is None:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
    fd = os.open(DEVICE, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        fcntl.ioctl(fd, _TUNSETIFF, _REQUEST.pack(name.encode(), _TUN | _NO_HEADER))
    except BaseException:
        os.close(fd)
        raise
    return fd

"""By reference out of memory: send(2) with MSG_ZEROCOPY, and the notices that follow.

The kernel takes no copy: it queues the very pages, and a network card reads them when
it sends, and once more if a segment was lost. So who lends memory must neither change
nor free it until the kernel says that it is done; for TCP that is when the peer has
acknowledged it. What changes before that changes on the wire, also after the last
close(2): a socket that was closed goes on to send what is queued.

Each call that took at least a byte has a number, counted for the socket from 0 with 32
bits. A notice on the socket's error queue names a range of them; neighbours are merged
(Documentation/networking/msg_zerocopy.rst). It also says whether the kernel has copied
after all: on the loopback, a veth pair, a TUN device, a card without scatter-gather.
Then the call cost more than a copy would have.

To poll(2) a queue that is not empty is an error, of which everybody is told who waits
for anything. To recv(2) and send(2) it is none.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import sys
from collections.abc import Iterable
from typing import Final, NamedTuple

from zc_response.kernel.sockets import Socket

_ZEROCOPY: Final = 0x4000000  # linux/socket.h
_LAST: Final = int(getattr(socket, "MSG_NOSIGNAL", 0)) | _ZEROCOPY
_MORE: Final = int(getattr(socket, "MSG_MORE", 0)) | _LAST
_SO_ZEROCOPY: Final = 60  # asm-generic/socket.h
_SOCKET: Final = int(socket.SOL_SOCKET)

_ERRQUEUE: Final = int(getattr(socket, "MSG_ERRQUEUE", 0x2000))
_NOTICE: Final = struct.Struct("=IBBBBII")  # struct sock_extended_err
_ORIGIN: Final = 5  # SO_EE_ORIGIN_ZEROCOPY
_COPIED: Final = 1  # SO_EE_CODE_ZEROCOPY_COPIED
_ANCILLARY: Final = 128
"""Bytes for one of them and the address behind it, of either family."""
_NUMBERS: Final = 1 << 32


class Notices(NamedTuple):
    """What the kernel has said since it was last asked."""

    calls: int
    """How many calls of `lend` it needs the memory of no more."""
    copied: bool
    """It had copied what one of them lent."""


def enable(sock: Socket) -> None:
    """Let memory be lent to a socket (SO_ZEROCOPY).

    Raises OSError where there is no such thing: before Linux 4.14, or on a UNIX socket
    (EOPNOTSUPP), or on another system.
    """
    if sys.platform != "linux":
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    sock.setsockopt(_SOCKET, _SO_ZEROCOPY, 1)


def lend(sock: Socket, data: memoryview, *, more: bool) -> int:
    """Queue `data` on a socket without a copy; how much of it, which a notice follows.

    Raises OSError: ENOBUFS if the process may not pin so much (RLIMIT_MEMLOCK), or too
    many notices are still to come (net.core.optmem_max).
    """
    return sock.send(data, _MORE if more else _LAST)


def notices(sock: Socket) -> Notices:
    """Take all that is in the error queue. Never waits. Raises OSError."""
    calls, copied = 0, False
    while True:
        try:
            _, ancillary, _, _ = sock.recvmsg(0, _ANCILLARY, _ERRQUEUE)
        except BlockingIOError:
            return Notices(calls, copied)
        one = read(data for _level, _type, data in ancillary)
        calls, copied = calls + one.calls, copied or one.copied


def read(messages: Iterable[bytes]) -> Notices:
    """What control messages say; those of somebody else (time stamps, ICMP) nothing."""
    calls, copied = 0, False
    for data in messages:
        if len(data) < _NOTICE.size:
            continue
        _errno, origin, _type, code, _pad, first, last = _NOTICE.unpack_from(data)
        if origin == _ORIGIN:
            calls += (last - first) % _NUMBERS + 1
            copied = copied or bool(code & _COPIED)
    return Notices(calls, copied)

"""What is done to a connected stream socket: send, sendfile, abort."""

from __future__ import annotations

import errno
import os
import socket
import struct
import sys
from typing import Final

# Plain numbers: the flags of the socket module are enumerations, slow to combine.
_LAST: Final = int(getattr(socket, "MSG_NOSIGNAL", 0))
_MORE: Final = int(getattr(socket, "MSG_MORE", 0)) | _LAST
_LINGER_ZERO: Final = struct.pack("ii", 1, 0)

SENDFILE_MAX: Final = 0x7FFFF000
"""One sendfile(2) moves this many bytes at the most, whatever it is asked for."""

PEER_GONE: Final = frozenset(
    (
        errno.EPIPE,
        errno.ECONNRESET,
        errno.ECONNABORTED,
        errno.ENOTCONN,
        errno.ESHUTDOWN,
        errno.ETIMEDOUT,
        errno.EHOSTUNREACH,
        errno.ENETUNREACH,
        errno.ENETDOWN,
    )
)
"""Errors that mean the peer or the way to it is lost, not that we did wrong."""

REFUSED: Final = frozenset(
    (
        errno.EINVAL,
        errno.ENOSYS,
        errno.EPERM,
        errno.EACCES,
        errno.EOPNOTSUPP,
        errno.ENOTSOCK,
        errno.ESPIPE,
    )
)
"""Errors by which a kernel, filesystem or seccomp filter declines a call for good."""


Socket = socket.SocketType
"""The bare type below `socket.socket`, which is twice as fast to make."""


def duplicate(fd: int) -> Socket:
    """A socket object of our own on the connection behind a non-blocking `fd`.

    A loop forbids watching the descriptor of its transport but not a duplicate of
    it, and the number of a duplicate cannot be closed, and so not be reused, by
    anybody else. Both share one open file description, O_NONBLOCK included.
    """
    copy = Socket(fileno=os.dup(fd))
    if copy.gettimeout() is not None:  # a default timeout would wait inside send()
        copy.setblocking(False)
    return copy


def send(sock: Socket, data: bytes | memoryview, *, more: bool) -> int:
    """Copy `data` into the socket; `more` says that bytes follow at once.

    MSG_MORE keeps a short segment back until the next call fills it, or 200 ms: so
    nobody may set it on the last bytes of a response.
    """
    return sock.send(data, _MORE if more else _LAST)


def abort(sock: Socket) -> None:
    """Make the last close send RST instead of FIN, and drop what is queued.

    SO_LINGER with a time of zero (socket(7)): even a client that reads until the end
    of the connection then sees that the response is not whole.
    """
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
    except OSError:  # gone already
        pass


if sys.platform == "linux":

    def sendfile(out_fd: int, in_fd: int, offset: int, count: int) -> int:
        """Queue up to `count` bytes of a file on a socket by reference (sendfile(2)).

        The pages are not copied: what changes in the file before the peer has taken
        them changes on the wire too. A short count is usual: the socket is full, or
        (Linux 4.3 and later) for no reason at all. 0 means end of file. It waits for
        the disk inside the call, also on a non-blocking socket.
        """
        return os.sendfile(out_fd, in_fd, offset, min(count, SENDFILE_MAX))

else:

    def sendfile(out_fd: int, in_fd: int, offset: int, count: int) -> int:
        """Decline: elsewhere the call has other semantics, so bodies are copied."""
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

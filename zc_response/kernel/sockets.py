"""What is done to a connected stream socket: send, sendfile, abort."""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
import sys
from functools import cache
from typing import Any, Final

from zc_response.native import original

try:
    import fcntl
except ImportError:  # not a POSIX system
    fcntl = None  # type: ignore[assignment]

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
    """A socket object of our own on the connection behind `fd`.

    A loop forbids watching the descriptor of its transport but not a duplicate of
    it, and the number of a duplicate cannot be closed, and so not be reused, by
    anybody else. Both share one open file description, O_NONBLOCK included.
    """
    return borrow(os.dup(fd))


def borrow(fd: int) -> Socket:
    """A socket object on somebody else's `fd`, for a moment.

    The number must stay theirs that long, and the object has to be detached after it.
    Family and type are said, not asked for: no call used here depends on them.
    """
    sock = Socket(_INET, _STREAM, 0, fd)
    if sock.gettimeout() is not None:  # a default timeout would wait inside send()
        sock.setblocking(False)
    return sock


_INET: Final = int(socket.AF_INET)
_STREAM: Final = int(socket.SOCK_STREAM)


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


def reset(sock: Socket) -> None:
    """Send RST now, though other descriptors of the connection are still open.

    connect(2) to AF_UNSPEC dissolves a TCP connection and drops what is queued. Nobody
    who still holds a descriptor can send on it any more. With kTLS newer kernels refuse
    that (EOPNOTSUPP); then nothing more can be sent, what is queued still leaves, and
    RST comes with the last close, after `abort`.
    """
    if _connect is not None:
        if _connect(sock.fileno(), bytes(16), 16) == 0:  # AF_UNSPEC is 0
            return
        try:
            sock.shutdown(socket.SHUT_RDWR)
        except OSError:  # it was not connected
            pass


def check(sock: Socket) -> None:
    """Raise the error that the connection has broken with, as OSError, if it has.

    SO_ERROR (socket(7)); nobody else is told of it any more.
    """
    number = sock.getsockopt(_SOCKET, socket.SO_ERROR)
    if number:
        raise OSError(number, os.strerror(number))


def limit_wait(sock: Socket, seconds: float) -> None:
    """Have calls that send on a blocking socket wait for the peer so long at the most.

    SO_SNDTIMEO (socket(7)): then they return what they have sent, or fail with EAGAIN.
    Each piece of a sendfile(2), which is sixteen pages, may wait anew. 0: no limit.
    """
    try:
        sock.setsockopt(_SOCKET, _SNDTIMEO, _timeval(seconds))
    except OSError:  # gone; the next call will say so
        pass


@cache
def _timeval(seconds: float) -> bytes:
    whole = int(seconds)
    return struct.pack("@ll", whole, round((seconds - whole) * 1_000_000))


_SOCKET: Final = int(socket.SOL_SOCKET)
_SNDTIMEO: Final = int(getattr(socket, "SO_SNDTIMEO", 21))
_SIOCOUTQ: Final = 0x5411  # linux/sockios.h; the same as TIOCOUTQ


def unacknowledged(fd: int) -> int:
    """Bytes that were written to the socket and the peer has not acknowledged.

    SIOCOUTQ (tcp(7)). It falls as the peer takes data, long before the socket becomes
    writable again. 0 where the kernel does not tell.
    """
    if fcntl is None:
        return 0
    try:
        answer = fcntl.ioctl(fd, _SIOCOUTQ, bytes(4))
    except OSError:
        return 0
    return int.from_bytes(answer, sys.byteorder)


def has_left(fd: int) -> bool:
    """True if the peer has closed its side of the connection, or it is broken.

    POLLRDHUP (poll(2)). A peer that will still read, and has said all it had to say,
    cannot be told from one that is gone, until something is sent to it.
    """
    if fd < 0:
        return True
    if sys.platform != "linux":
        return False
    poll = original("select", "poll")()  # gevent's own knows nothing of POLLRDHUP
    poll.register(fd, _POLLRDHUP)
    return bool(poll.poll(0))


_POLLRDHUP: Final = 0x2000


def peer(fd: int) -> tuple[int, bytes] | None:
    """Family and address of the other end; None if it is not an Internet address.

    An IPv4 address in the clothes of IPv6 comes as what it is. Raises OSError if there
    is no other end any more.
    """
    # Not `borrow`: with the wrong family Python reads past the end of a longer address.
    sock = Socket(fileno=fd)
    try:
        name = sock.getpeername()
    finally:
        sock.detach()
    return packed(name) if isinstance(name, tuple) else None


def packed(name: tuple[Any, ...]) -> tuple[int, bytes]:
    """Family and address of a name as Python writes it, for IPv4 or IPv6."""
    text = name[0].partition("%")[0]
    if len(name) == 2:
        return socket.AF_INET, socket.inet_aton(text)
    address = socket.inet_pton(socket.AF_INET6, text)
    if address.startswith(_MAPPED):
        return socket.AF_INET, address[len(_MAPPED) :]
    return socket.AF_INET6, address


_MAPPED: Final = bytes(10) + b"\xff\xff"

_NOTSENT_LOWAT: Final = 25  # linux/tcp.h; Python names it from 3.12 on


def unsent_limit(sock: Socket) -> int | None:
    """The socket's own bound on unsent bytes; 0 if it has none, None if it is not TCP.

    TCP_NOTSENT_LOWAT (tcp(7)): while more than this is queued and not yet sent, the
    socket counts as full. It does not bound what is sent and not yet acknowledged:
    that is the peer's window.
    """
    try:
        return sock.getsockopt(socket.IPPROTO_TCP, _NOTSENT_LOWAT)
    except OSError:
        return None


def limit_unsent(sock: Socket, count: int) -> None:
    """Bound what is queued on the socket and not yet sent, in bytes."""
    try:
        sock.setsockopt(socket.IPPROTO_TCP, _NOTSENT_LOWAT, count)
    except OSError:  # gone, or not TCP
        pass


_CORK: Final = int(getattr(socket, "TCP_CORK", 3))


def cork(sock: Socket, on: bool) -> None:
    """Have full segments sent only, until it is off again (TCP_CORK, tcp(7)).

    Each sendfile(2) ends with a push, and what it queued last is rarely a full segment.
    The kernel sends what is held back after 200 ms in any case.
    """
    try:
        sock.setsockopt(socket.IPPROTO_TCP, _CORK, int(on))
    except OSError:  # gone, or not TCP
        pass


_CONGESTION: Final = int(getattr(socket, "TCP_CONGESTION", 13))


def is_paced(sock: Socket) -> bool:
    """True if the connection's congestion control spaces segments by itself (BBR)."""
    try:
        return sock.getsockopt(socket.IPPROTO_TCP, _CONGESTION, 16).startswith(b"bbr")
    except OSError:
        return False


_MAX_PACING_RATE: Final = 47  # asm-generic/socket.h
_UNPACED: Final = struct.pack("Q", 2**64 - 1)


def pace(sock: Socket, rate: int) -> None:
    """Have the kernel send at most `rate` bytes a second; 0 for no limit.

    SO_MAX_PACING_RATE (socket(7)): TCP spaces its segments by itself, with or without
    the fq scheduler. A UNIX socket takes the option and does nothing.
    """
    value = struct.pack("Q", rate) if rate else _UNPACED
    try:
        sock.setsockopt(socket.SOL_SOCKET, _MAX_PACING_RATE, value)
    except OSError:
        pass


if sys.platform == "linux":
    _connect = ctypes.CDLL(None).connect

    def sendfile(out_fd: int, in_fd: int, offset: int, count: int) -> int:
        """Queue up to `count` bytes of a file on a socket by reference (sendfile(2)).

        The pages are not copied: what changes in the file before the peer has taken
        them changes on the wire too. A short count is usual: the socket is full, or
        (Linux 4.3 and later) for no reason at all. 0 means end of file. It waits for
        the disk inside the call, also on a non-blocking socket.
        """
        return os.sendfile(out_fd, in_fd, offset, min(count, SENDFILE_MAX))

else:
    _connect = None

    def sendfile(out_fd: int, in_fd: int, offset: int, count: int) -> int:
        """Decline: elsewhere the call has other semantics, so bodies are copied."""
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

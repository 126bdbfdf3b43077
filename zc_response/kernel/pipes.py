"""What is done to a pipe: splice, ask how much is in it, make it larger."""

from __future__ import annotations

import errno
import os
import sys
from typing import Final

from zc_response.native import original

try:
    import fcntl
except ImportError:  # not a POSIX system
    fcntl = None  # type: ignore[assignment]

_FIONREAD: Final = 0x541B  # asm-generic/ioctls.h; the same as TIOCINQ and SIOCINQ
_F_SETPIPE_SZ: Final = 1031  # linux/fcntl.h; Python names it from 3.10 on
_F_GETPIPE_SZ: Final = 1032
PAGE: Final = 4096
"""What each buffer of a pipe holds, on most machines."""


def waiting(fd: int) -> int:
    """Bytes that can be read from a pipe or socket at once (FIONREAD, pipe(7)).

    0 if there are none, also at the end. 0 where the kernel does not tell.
    """
    if fcntl is None:
        return 0
    answer = fcntl.ioctl(fd, _FIONREAD, bytes(4))
    return int.from_bytes(answer, sys.byteorder)


def is_over(fd: int) -> bool:
    """True if nobody can write to a pipe any more, and nothing is left in it.

    POLLHUP (poll(2)) comes with the last writer's end, be there bytes left or not. So
    first the writers are asked for, then the bytes: the other way round, some could
    come in between.
    """
    poll = original("select", "poll")()  # gevent's own knows nothing of POLLHUP
    poll.register(fd, _POLLIN)
    events = poll.poll(0)
    return bool(events and events[0][1] & _ENDED) and not waiting(fd)


_POLLIN: Final = 0x01
_ENDED: Final = 0x10 | 0x08 | 0x20  # POLLHUP, POLLERR, POLLNVAL


def widen(fd: int, count: int) -> None:
    """Have a pipe hold up to `count` bytes, if that may be (F_SETPIPE_SZ, pipe(7)).

    64 KiB is what it starts with; a writer waits when it is full, and each wait costs
    two switches. Without CAP_SYS_RESOURCE it may have /proc/sys/fs/pipe-max-size, and
    a user's pipes together pipe-user-pages-soft: EPERM beyond that.
    """
    if fcntl is None:
        return
    try:
        fcntl.fcntl(fd, _F_SETPIPE_SZ, count)
    except OSError:  # not allowed, or it holds more than that already
        pass


def size(fd: int) -> int:
    """Bytes that a pipe holds when it is full (F_GETPIPE_SZ, pipe(7)).

    0 where the kernel does not tell. Raises OSError if it is no pipe.
    """
    if fcntl is None:
        return 0
    return fcntl.fcntl(fd, _F_GETPIPE_SZ)


if sys.platform == "linux":
    # SPLICE_F_MOVE has done nothing since Linux 2.6.21, and is what one says.
    _FLAGS: Final = os.SPLICE_F_MOVE | os.SPLICE_F_NONBLOCK
    _MORE: Final = os.SPLICE_F_MORE

    def splice(source: int, target: int, count: int, *, more: bool) -> int:
        """Move up to `count` bytes by reference; one of the two is a pipe (splice(2)).

        SPLICE_F_NONBLOCK speaks of the pipe alone: whether the other one is waited for
        is its own O_NONBLOCK's affair. So BlockingIOError says either that the pipe is
        empty (or, as a target, full) or that the socket is full. 0 is the end.
        SPLICE_F_MORE is a socket's MSG_MORE: a short segment is kept back.

        What was written to the pipe is the pipe's own, and so nobody's to change. Only
        pages that were put there by reference (by vmsplice(2), or from a file) may
        still change until the peer has taken them.
        """
        flags = _FLAGS | _MORE if more else _FLAGS
        return os.splice(source, target, count, flags=flags)

else:

    def splice(source: int, target: int, count: int, *, more: bool) -> int:
        """Decline: there is no such call elsewhere."""
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))


def new_pipe() -> tuple[int, int]:
    """The ends of a new pipe, to read and to write, neither of which ever waits."""
    ends = os.pipe()
    for end in ends:
        os.set_blocking(end, False)
    return ends


def process_descriptor(pid: int) -> int:
    """A descriptor that becomes readable when a child has ended (pidfd_open(2)).

    -1 where there is none: before Linux 5.3, in a sandbox, or out of descriptors.
    """
    opened = getattr(os, "pidfd_open", None)
    if opened is None:
        return -1
    try:
        fd: int = opened(pid)
    except OSError:
        return -1
    return fd

"""Read leases: the kernel tells before a file is opened for writing (fcntl(2)).

While a process holds a read lease, nobody can open the file for writing or truncate(2)
it: whoever tries is made to wait, and the holder gets a signal, the *break*. The writer
goes on when the lease is given back, or after /proc/sys/fs/lease-break-time seconds,
when the kernel takes it away without another word.

What a lease does not see: rename, unlink, chmod; open(2) with O_RDONLY|O_TRUNC, which
truncates all the same; and on overlay whoever writes to the layers below.

Who may have one: the file's owner, or a process with CAP_LEASE (else EACCES), and only
while nobody has the file open for writing, or mapped shared and writable (EAGAIN).
"""

from __future__ import annotations

import ctypes
import errno
import math
import os
import select
import signal
import struct
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

try:
    import fcntl
except ImportError:  # not a POSIX system
    fcntl = None  # type: ignore[assignment]

IS_SUPPORTED: Final = sys.platform == "linux"

_F_SETSIG: Final = 10
_F_SETOWN_EX: Final = 15
_F_SETLEASE: Final = 1024
_F_GETLEASE: Final = 1025
_F_OWNER_TID: Final = 0

BREAK: Final = int(getattr(signal, "SIGRTMAX", 64)) - 1
"""The signal of a break. It is sent to one thread, which alone blocks it, so whatever
the application does with the same number elsewhere meets nobody."""


def take(fd: int, thread: int) -> None:
    """Take a read lease on a descriptor; its break is signalled to `thread` (a TID).

    The receiver is named before there is anything to receive: else the kernel would
    send SIGIO to the process, which ends it. Raises OSError with EACCES, EAGAIN, or
    EINVAL where leases are switched off or the filesystem has none.
    """
    if not IS_SUPPORTED:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    fcntl.fcntl(fd, _F_SETSIG, BREAK)
    fcntl.fcntl(fd, _F_SETOWN_EX, struct.pack("ii", _F_OWNER_TID, thread))
    fcntl.fcntl(fd, _F_SETLEASE, fcntl.F_RDLCK)


def give_back(fd: int) -> None:
    """Give the lease back; whoever waits to write goes on."""
    fcntl.fcntl(fd, _F_SETLEASE, fcntl.F_UNLCK)


def is_held(fd: int) -> bool:
    """False if the lease is being broken, or is gone.

    F_GETLEASE tells what the lease is to become. That is why nobody has to believe the
    number in a signal, which may be stale.
    """
    return int(fcntl.fcntl(fd, _F_GETLEASE)) == fcntl.F_RDLCK


def break_time() -> float:
    """Seconds after which the kernel takes a broken lease away; inf is never (proc(5)).

    The file says 0 for that.
    """
    try:
        seconds = float(Path("/proc/sys/fs/lease-break-time").read_text())
    except (OSError, ValueError):
        return 45.0
    return seconds or math.inf


_SIGINFO: Final = 128  # bytes of one struct signalfd_siginfo (signalfd(2))
_SFD_FLAGS: Final = os.O_CLOEXEC | getattr(os, "O_NONBLOCK", 0)


class Breaks:
    """The breaks that are signalled to the thread which makes this.

    `poll` is a new one of the kernel's own, where something else has taken its place.

    It blocks their signal, in this thread alone, and SIGIO, which the kernel sends in
    its place when there is no room for another signal (RLIMIT_SIGPENDING). Raises
    OSError where the kernel has no signalfd(2).
    """

    def __init__(self, poll: select.poll | None = None) -> None:
        if _libc is None:
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
        signals = (BREAK, signal.SIGIO)
        signal.pthread_sigmask(signal.SIG_BLOCK, signals)
        self._fd = _libc.signalfd(-1, _mask(signals), _SFD_FLAGS)
        if self._fd < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        try:
            self._woken, self._waker = os.pipe()
        except OSError:
            os.close(self._fd)
            raise
        self._poll = poll or select.poll()
        self._poll.register(self._fd, select.POLLIN)
        self._poll.register(self._woken, select.POLLIN)

    def wait(self, seconds: float) -> list[int | None] | None:
        """The descriptors whose leases are broken, after `seconds` at the latest.

        A None among them stands for any number of others. The answer is None after
        `wake`.
        """
        ready = dict(self._poll.poll(max(seconds, 0) * 1000))
        if self._woken in ready:
            return None
        return list(self._read()) if self._fd in ready else []

    def _read(self) -> Iterable[int | None]:
        """What is in the queue: the signal's number at offset 0, ssi_fd at 20."""
        while True:
            try:
                data = os.read(self._fd, 32 * _SIGINFO)
            except BlockingIOError:
                return
            for start in range(0, len(data), _SIGINFO):
                number, fd = struct.unpack_from("I16xi", data, start)
                yield fd if number == BREAK else None

    def wake(self) -> None:
        """Have `wait` return None at once; from any thread."""
        os.write(self._waker, b"\0")

    def close(self) -> None:
        """Close its descriptors."""
        for fd in (self._fd, self._woken, self._waker):
            os.close(fd)


def _mask(signals: Iterable[int]) -> bytes:
    """A sigset_t of glibc's or musl's: a bit for each signal, from 1 on."""
    bits = sum(1 << (number - 1) for number in signals)
    return bits.to_bytes(128, sys.byteorder)


_libc = ctypes.CDLL(None, use_errno=True) if IS_SUPPORTED else None

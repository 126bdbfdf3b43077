"""Private copies of a file: by reflink, or in memory."""

from __future__ import annotations

import errno
import os
import tempfile
from typing import Final

try:
    import fcntl
except ImportError:  # not a POSIX system
    fcntl = None  # type: ignore[assignment]

_FICLONE: Final = 0x40049409  # linux/fs.h
_SEALS: Final = 0x1 | 0x2 | 0x4 | 0x8  # F_SEAL_SEAL, _SHRINK, _GROW, _WRITE
_F_ADD_SEALS: Final = 1033
_MFD_NOEXEC_SEAL: Final = 0x8


def unnamed_file(directory: str) -> int:
    """A descriptor of a new file without a name (O_TMPFILE), which nobody can open.

    It lies on the filesystem of `directory`, which this process has to be allowed to
    write to, and is gone when it is closed. Raises OSError with EOPNOTSUPP or EISDIR
    where there is no such thing.
    """
    kind = getattr(os, "O_TMPFILE", None)
    if kind is None:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
    return os.open(directory, kind | os.O_RDWR | os.O_EXCL | os.O_CLOEXEC, 0o600)


def nameless_file(directory: str) -> int:
    """The same where there is no O_TMPFILE: a file that has lost its name at once."""
    try:
        return unnamed_file(directory)
    except OSError:
        fd, path = tempfile.mkstemp(dir=directory)
        try:
            os.unlink(path)
        except BaseException:
            os.close(fd)
            raise
        return fd


def clone(source: int, target: int) -> None:
    """Let `target` share all data of `source`, copy on write (ioctl_ficlone(2)).

    No bytes are copied, but what has been written and is not on the disk yet goes
    there first. Raises OSError with EOPNOTSUPP where the filesystem does not have it,
    and with EXDEV across filesystems.
    """
    if fcntl is None:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
    fcntl.ioctl(target, _FICLONE, source)


def memory_file(name: str) -> int:
    """A descriptor of a new file in memory, which can be sealed (memfd_create(2)).

    It says that nobody means to execute it: Linux 6.3 logs a complaint about files that
    leave that open, and refuses them with vm.memfd_noexec=2; an older one does not know
    the word. A seccomp filter may refuse the call (EPERM, ENOSYS), as may the kernel
    where memory is short (ENOMEM) or descriptors are (EMFILE).
    """
    create = getattr(os, "memfd_create", None)
    if create is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
    try:
        fd: int = create(name, flags | _MFD_NOEXEC_SEAL)
    except OSError as exc:
        if exc.errno != errno.EINVAL:
            raise
        fd = create(name, flags)
    return fd


def seal(fd: int) -> None:
    """Let nobody change a file in memory any more, nor its size (F_ADD_SEALS).

    That holds for every descriptor of it, in every process, and for ever (fcntl(2)):
    write(2) and truncate(2) get EPERM, and so does who maps it writable. So what
    sendfile(2) has queued of it stays what it was. Raises OSError with EBUSY while
    somebody has it mapped for writing, and with EINVAL if it cannot be sealed.
    """
    if fcntl is None:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
    fcntl.fcntl(fd, _F_ADD_SEALS, _SEALS)


def append(source: int, target: int, offset: int, count: int) -> int:
    """Copy up to `count` bytes from `offset` on to where `target` stands; how many.

    sendfile(2) between two files: the bytes stay inside the kernel, and are copied.
    """
    return os.sendfile(target, source, offset, count)

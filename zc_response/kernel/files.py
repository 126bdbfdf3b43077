"""Opening files so that no name can make the process wait or leave its root."""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from typing import Final

_READ: Final = (
    os.O_RDONLY
    | os.O_CLOEXEC
    | os.O_NOCTTY
    # open(2) of a FIFO waits for a writer unless O_NONBLOCK is given; for a regular
    # file the flag means nothing.
    | getattr(os, "O_NONBLOCK", 0)
)
DIRECTORY: Final = os.O_CLOEXEC | os.O_DIRECTORY | getattr(os, "O_PATH", os.O_RDONLY)


def open_for_reading(path: str | bytes | os.PathLike[str]) -> int:
    """A descriptor of whatever `path` names; the caller looks at what it got."""
    return os.open(path, _READ)


def open_directly(fd: int) -> int:
    """A new descriptor of the same file whose reads pass the page cache by (open(2)).

    By its link in /proc, whatever its name is by now. Offsets, counts and addresses
    have to be multiples of the disk's block. Raises OSError: EINVAL where a filesystem
    does not have O_DIRECT (some say so only when it is read), ENOENT without /proc.
    """
    flag = getattr(os, "O_DIRECT", None)
    if flag is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    return os.open(f"/proc/self/fd/{fd}", _READ | flag)


def read_into(fd: int, buffer: memoryview, offset: int) -> int:
    """Fill `buffer` from `offset` on; how many bytes: fewer at the end of the file."""
    return os.preadv(fd, (buffer,), offset)


def open_beneath(directory: int, path: str) -> int:
    """A descriptor of `path`, resolved without ever leaving `directory` (openat2(2)).

    RESOLVE_BENEATH refuses `..`, absolute paths and symbolic links that lead out
    (EXDEV), RESOLVE_NO_MAGICLINKS those of /proc (ELOOP). A rename during the walk
    can give EAGAIN; the manual page says to try again. Raises ENOSYS where the
    kernel (before 5.6) or a seccomp filter does not have the call.
    """
    if _openat2 is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    how = _OpenHow(flags=_READ, resolve=_RESOLVE_BENEATH | _RESOLVE_NO_MAGICLINKS)
    name = os.fsencode(path)
    if b"\0" in name:
        raise ValueError("embedded null byte")
    for _attempt in range(_RENAME_RACES):
        fd = _openat2(
            _SYS_OPENAT2, directory, name, ctypes.byref(how), ctypes.sizeof(how)
        )
        if fd >= 0:
            return int(fd)
        number = ctypes.get_errno()
        if number not in (errno.EAGAIN, errno.EINTR):
            break
    raise OSError(number, os.strerror(number), path)


def wait_for_writes(fd: int) -> None:
    """Return when every write(2) to the file that was under way has ended.

    A write holds the inode's lock from before it changes the timestamps until its last
    byte, and so do truncate(2) and fallocate(2). lseek(2) with SEEK_DATA asks for the
    same lock: on ext4, btrfs, tmpfs and overlay; on xfs a read itself does. So a writer
    that is in the middle makes it wait, for as long as that takes. Stores to a mapping,
    and O_DIRECT writes to ext4, hold no such lock.
    """
    if hasattr(os, "SEEK_DATA"):
        before = os.lseek(fd, 0, os.SEEK_CUR)
        try:
            os.lseek(fd, 0, os.SEEK_DATA)
        except OSError:  # no data at all, or a filesystem that does not know
            pass
        finally:
            os.lseek(fd, before, os.SEEK_SET)
    os.pread(fd, 1, 0)


class _OpenHow(ctypes.Structure):
    _fields_ = (
        ("flags", ctypes.c_uint64),
        ("mode", ctypes.c_uint64),
        ("resolve", ctypes.c_uint64),
    )


_SYS_OPENAT2: Final = 437  # the same number on every architecture
_RESOLVE_NO_MAGICLINKS: Final = 0x02
_RESOLVE_BENEATH: Final = 0x08
_RENAME_RACES: Final = 64

# statfs(2): `f_type` is a long at the start of the structure on every Linux; the
# whole of it fits into 120 bytes.
_STATFS_BYTES: Final = 256

FILESYSTEMS: Final[dict[int, str]] = {
    0xEF53: "ext4",  # ext2 and ext3 share the number
    0x58465342: "xfs",
    0x9123683E: "btrfs",
    0x01021994: "tmpfs",
    0x794C7630: "overlay",
    0x65735546: "fuse",
    0x6969: "nfs",
    0xFF534D42: "cifs",
    0xFE534D42: "smb2",
    0x00C36400: "ceph",
    0x01021997: "9p",
    0x73717368: "squashfs",
    0xE0F5E1E2: "erofs",
    0x2FC12FC1: "zfs",
    0xF2F52010: "f2fs",
    0x2011BAB0: "exfat",
    0x4D44: "vfat",
    0x9660: "iso9660",
}
MADE_UP: Final[dict[int, str]] = {
    # Files the kernel makes up as they are read: their size says nothing.
    0x9FA0: "proc",
    0x62656572: "sysfs",
    0x64626720: "debugfs",
    0x74726163: "tracefs",
    0x73636673: "securityfs",
    0x62656570: "configfs",
    0x0027E0EB: "cgroup",
    0x63677270: "cgroup2",
    0xDE5E81E4: "efivarfs",
    0xCAFE4A11: "bpf",
    0xF97CFF8C: "selinuxfs",
    0x6165676C: "pstore",
}


def filesystem(fd: int) -> str:
    """The name of the filesystem that `fd` lies on (fstatfs(2)), or `unknown`."""
    if _fstatfs is None:
        return "unknown"
    buffer = ctypes.create_string_buffer(_STATFS_BYTES)
    if _fstatfs(fd, buffer) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    magic = ctypes.c_long.from_buffer(buffer).value & 0xFFFFFFFF
    return FILESYSTEMS.get(magic) or MADE_UP.get(magic, "unknown")


if sys.platform == "linux":
    _libc = ctypes.CDLL(None, use_errno=True)
    _fstatfs = _libc.fstatfs
    _openat2 = _libc.syscall
    _openat2.restype = ctypes.c_long
else:
    _fstatfs = None
    _openat2 = None

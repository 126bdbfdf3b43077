"""A regular file, open for reading, and the one owner of its descriptor."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import warnings
from functools import partial
from typing import Any, Final, NamedTuple

from zc_response.errors import NotRegularFileError, source_error
from zc_response.kernel import files
from zc_response.native import new_lock
from zc_response.sources.places import LOCAL
from zc_response.threads import lane

_MEMO_ENTRIES: Final = 8


class Facts(NamedTuple):
    """What fstat(2) and fstatfs(2) say of an open file. Times in nanoseconds."""

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int
    device: int
    filesystem: str = "unknown"

    @classmethod
    def of(cls, status: os.stat_result, filesystem: str = "unknown") -> Facts:
        """The facts in what stat(2) returned."""
        return cls(
            status.st_size,
            status.st_mtime_ns,
            status.st_ctime_ns,
            status.st_ino,
            status.st_dev,
            filesystem,
        )

    def are_of(self, status: os.stat_result) -> bool:
        """True if stat(2) has seen the same file, unchanged since."""
        return (
            self.inode == status.st_ino
            and self.mtime_ns == status.st_mtime_ns
            and self.ctime_ns == status.st_ctime_ns
            and self.size == status.st_size
            and self.device == status.st_dev
        )

    def are_still(self, status: os.stat_result) -> bool:
        """True if the open file has not been written to since.

        Whether it has been renamed, or its mode changed, does not matter.
        """
        return self.mtime_ns == status.st_mtime_ns and self.size == status.st_size


class Fixed(NamedTuple):
    """What keeps everybody from changing a file, as reports name it.

    `guard` is SEALED (the kernel refuses), PRIVATE (it has no name, and nobody else has
    opened it) or SNAPSHOT (it is such a copy of a file that has one). `reason` says why
    it is not sealed, or how the copy was made.
    """

    guard: str
    reason: str = ""


SEALED: Final = "sealed"
PRIVATE: Final = "private"
SNAPSHOT: Final = "snapshot"


class Validators(NamedTuple):
    """A whole entity-tag, and the last modification in seconds since the epoch."""

    etag: str | None
    last_modified: int | None


class FileSource:
    """A regular file that is open for reading, shared by those who retain it.

    Whoever opened it holds one share, and each transfer takes one of its own; the
    descriptor is closed when the last is released. So it cannot be closed, nor its
    number reused, while anything can still send from it. A closed source has the
    descriptor -1: a number that no call can mistake for another file.

    `status` is what fstat(2) said when it was opened. `memo` is for what callers work
    out from the facts, and would work out again. A source that `is_kept` is one of
    those that stay open for the next response. What is done to a descriptor that
    `is_borrowed`, such as moving its offset, is done to somebody else's too. One that
    is `fixed` cannot change; its `path` leads nowhere, and names it in reports only.
    `validators` are there if they do not follow from the facts.
    """

    __slots__ = (
        "_fd",
        "_lock",
        "_shares",
        "facts",
        "fixed",
        "is_borrowed",
        "is_kept",
        "memo",
        "path",
        "status",
        "validators",
    )

    def __init__(
        self,
        fd: int,
        path: str,
        fixed: Fixed | None = None,
        validators: Validators | None = None,
    ) -> None:
        """Take over `fd`. Raises `SourceError` (and closes `fd`) if it cannot serve."""
        self._fd = fd
        self._lock = new_lock()
        self._shares = 1
        self.is_borrowed = self.is_kept = False
        self.path = path
        self.fixed = fixed
        self.validators = validators
        self.memo: dict[object, Any] = {}
        try:
            self.status = os.fstat(fd)
            self.facts = _facts(fd, path, self.status)
        except OSError as exc:
            self.release()
            raise source_error(exc, path) from exc

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> FileSource:
        """Open what `path` names now. Raises `SourceError` if it cannot be served."""
        try:
            fd = files.open_for_reading(path)
        except (OSError, ValueError) as exc:
            raise source_error(exc, path) from exc
        return cls(fd, os.fspath(path))

    @classmethod
    def borrow(cls, fd: int) -> FileSource:
        """A source on a duplicate of somebody else's descriptor, which stays theirs."""
        path = f"<descriptor {fd}>"
        try:
            copy = os.dup(fd)
        except OSError as exc:
            raise source_error(exc, path) from exc
        source = cls(copy, path)
        source.is_borrowed = True
        return source

    @classmethod
    def of_descriptor(cls, fd: int, path: str = "") -> FileSource:
        """A source on the file behind somebody else's descriptor, which stays theirs.

        The file is opened once more, so that nothing is shared with them, not even the
        offset. Where that cannot be done, the descriptor is borrowed.
        """
        try:
            again = files.open_for_reading(f"/proc/self/fd/{fd}")
        except OSError:
            return cls.borrow(fd)
        source = cls(again, path or f"<descriptor {fd}>")
        theirs = os.fstat(fd)
        if (theirs.st_dev, theirs.st_ino) == (source.facts.device, source.facts.inode):
            return source
        source.release()
        return cls.borrow(fd)

    def fileno(self) -> int:
        """The open descriptor. Raises ValueError after the last share is released."""
        if self._fd < 0:
            raise ValueError(f"the source {self.path!r} is closed")
        return self._fd

    @property
    def closed(self) -> bool:
        """True when the last share has been released."""
        return self._fd < 0

    def retain(self) -> FileSource:
        """Take one more share. Raises ValueError if the source is closed."""
        with self._lock:
            if self._shares == 0:
                raise ValueError(f"the source {self.path!r} is closed")
            self._shares += 1
        return self

    def release(self) -> None:
        """Give one share back; the last one closes the descriptor."""
        with self._lock:
            if self._shares == 0:
                return
            self._shares -= 1
            if self._shares:
                return
            fd, self._fd = self._fd, -1
        self.memo.clear()
        if self._closes_at_once:
            _close(fd)
        else:
            lane(self.facts.device).submit(partial(_close, fd))

    @property
    def is_local(self) -> bool:
        """False where a look at it may have to wait for a server or a daemon."""
        return self.facts.filesystem in LOCAL

    @property
    def _closes_at_once(self) -> bool:
        """False where a close has to tell a server or a daemon, and waits for it."""
        return not hasattr(self, "facts") or self.is_local

    def remember(self, key: object, value: object) -> None:
        """Put `value` into the memo, which stays small whatever the keys are."""
        if len(self.memo) >= _MEMO_ENTRIES:
            self.memo.clear()
        self.memo[key] = value

    def close_after_fork(self) -> None:
        """Close it in a child, whoever held shares, or the lock, in the parent."""
        fd, self._fd, self._shares = self._fd, -1, 0
        if fd >= 0:
            _close(fd)

    def renew_lock_after_fork(self) -> None:
        """Keep it in a child, where nobody can let go of a lock held in the parent.

        A share that another thread of the parent had is lost with that thread.
        """
        self._lock = new_lock()

    def is_unchanged(self) -> bool:
        """True if nobody has written to the file since it was opened (fstat(2))."""
        return self.facts.are_still(os.fstat(self.fileno()))

    def read(self, offset: int, count: int) -> bytes:
        """Up to `count` bytes from `offset` on; fewer only at the end of the file."""
        return os.pread(self.fileno(), count, offset)

    def unbuffered(self) -> FileSource:
        """The same file, opened once more, to be read around the page cache.

        It is the caller's to release. Raises OSError where that cannot be had.
        """
        return FileSource(files.open_directly(self.fileno()), self.path)

    def __enter__(self) -> FileSource:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.release()

    def __repr__(self) -> str:
        return f"<FileSource {self.path!r} fd={self._fd} shares={self._shares}>"

    def __del__(self) -> None:
        if self._fd >= 0:
            warnings.warn(f"unreleased {self!r}", ResourceWarning, stacklevel=2)
            _close(self._fd)
            self._fd = -1


def _close(fd: int) -> None:
    """Close a descriptor; on Linux its number is free whatever close(2) says."""
    with contextlib.suppress(OSError):
        os.close(fd)


def _facts(fd: int, path: str, status: os.stat_result) -> Facts:
    if not stat.S_ISREG(status.st_mode):
        raise NotRegularFileError(errno.EINVAL, _not_regular(status.st_mode), path)
    filesystem = files.filesystem(fd)
    if filesystem in files.MADE_UP.values():
        message = f"a file of {filesystem}, which has no length of its own"
        raise NotRegularFileError(errno.EINVAL, message, path)
    return Facts.of(status, filesystem)


_KINDS = (
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a character device"),
    (stat.S_ISBLK, "a block device"),
)


def _not_regular(mode: int) -> str:
    kind = next((name for test, name in _KINDS if test(mode)), "something else")
    return f"{kind}, not a regular file"

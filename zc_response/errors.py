"""What can go wrong, sorted by what the caller can do about it.

Every error is a `ZCResponseError`, and also the built-in that code which knows
nothing of this package would already catch.
"""

from __future__ import annotations

import errno
import os
from typing import ClassVar


class ZCResponseError(Exception):
    """Base of every error this package raises on purpose."""


class PolicyError(ZCResponseError, ValueError):
    """A setting has a value that makes no sense; the message names it."""


class SourceError(ZCResponseError, OSError):
    """A file cannot be served. `status` is the HTTP status that says so."""

    status: ClassVar[int] = 500


class FileMissingError(SourceError, FileNotFoundError):
    """No file has that name (404)."""

    status = 404


class FileForbiddenError(SourceError, PermissionError):
    """The process may not read the file, or the name leads out of its root (403)."""

    status = 403


class NotRegularFileError(SourceError):
    """A directory, FIFO, socket, device, or a file the kernel makes up (404)."""

    status = 404


class OutOfDescriptorsError(SourceError):
    """The process or the system has no descriptor left; try again later (503)."""

    status = 503


class FilesystemTimeoutError(SourceError, TimeoutError):
    """A filesystem did not answer in time: a server that is gone, a dead disk (503)."""

    status = 503


class FileChangedError(SourceError):
    """A file changed between the look at it and the first byte; ask again (503)."""

    status = 503

    @classmethod
    def of(cls, path: str) -> FileChangedError:
        """The error that names `path`."""
        return cls(errno.EAGAIN, "changed while it was looked at", path)


class NoSnapshotError(SourceError):
    """No private copy of a file can be had: it is larger than `snapshot_bytes`, other
    copies take the room, or there is no memory or descriptor for it (503)."""

    status = 503


class NotStreamError(ZCResponseError, ValueError):
    """What was to be streamed is neither a pipe nor a connected stream socket."""


class TransferError(ZCResponseError, RuntimeError):
    """A body could not be sent whole; its connection has been aborted."""


class StartsAnewError(TransferError):
    """A body is sent from its beginning, in another way: this attempt is none."""


class TruncatedError(TransferError):
    """A file or a stream ended before the bytes that had been promised of it."""


class ProducerError(TransferError):
    """Who writes a body could not be started, failed, or wrote more than promised."""


class ChangedError(TransferError):
    """A file was written to while it was sent, and no copy of the old bytes is left."""


class DisconnectedError(TransferError):
    """The client closed or reset the connection before the body was through."""


class StalledError(TransferError):
    """The client took nothing for as long as the stall timeout allows."""


_BY_ERRNO: dict[int, type[SourceError]] = {
    errno.ENOENT: FileMissingError,
    errno.ENOTDIR: FileMissingError,
    errno.ENAMETOOLONG: FileMissingError,
    errno.ELOOP: FileMissingError,
    errno.EACCES: FileForbiddenError,
    errno.EPERM: FileForbiddenError,
    errno.EXDEV: FileForbiddenError,  # openat2: the name leads out of the root
    errno.ENXIO: NotRegularFileError,  # a socket, or a device without a driver
    errno.ENODEV: NotRegularFileError,
    errno.EISDIR: NotRegularFileError,
    errno.EMFILE: OutOfDescriptorsError,
    errno.ENFILE: OutOfDescriptorsError,
}


def source_error(
    exc: OSError | ValueError, path: str | bytes | os.PathLike[str]
) -> SourceError:
    """What the kernel said about opening `path`, as the error that names it."""
    if isinstance(exc, SourceError):
        return exc
    if isinstance(exc, OSError):
        number = exc.errno or 0
        kind = _BY_ERRNO.get(number, SourceError)
        return kind(number, exc.strerror, os.fspath(path))
    # An embedded NUL byte: no file can have that name.
    return FileMissingError(errno.ENOENT, str(exc), os.fspath(path))

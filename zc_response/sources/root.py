"""A directory that is served, and the promise that no name leads out of it."""

from __future__ import annotations

import errno
import os

from zc_response.errors import FileForbiddenError, source_error
from zc_response.kernel import files
from zc_response.sources.file import FileSource


class Root:
    """Opens files by their path below one directory.

    The kernel resolves the path (openat2 with RESOLVE_BENEATH), so there is no moment
    between check and use in which a symbolic link could be put in the way. Where the
    call is missing, the path is resolved first and then opened without following a
    link at its end.
    """

    __slots__ = ("directory",)

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        # Kept as it was given: a deploy may point the link at another directory.
        self.directory = os.fspath(directory)

    def open(self, path: str) -> FileSource:
        """Open the regular file at `path`, relative to the root.

        Symbolic links are followed as long as they stay inside. Raises
        `FileForbiddenError` for a path that leads out, and `SourceError` as
        `FileSource.open` does.
        """
        full = os.path.join(self.directory, path)
        try:
            descriptor = os.open(self.directory, files.DIRECTORY)
            try:
                fd = self._open(descriptor, path)
            finally:
                os.close(descriptor)
        except (OSError, ValueError) as exc:
            raise source_error(exc, full) from exc
        return FileSource(fd, full)

    def _open(self, descriptor: int, path: str) -> int:
        try:
            return files.open_beneath(descriptor, path)
        except OSError as exc:
            if exc.errno == errno.EXDEV:
                # An absolute link may still point inside: resolve it, ask once more.
                return files.open_beneath(descriptor, self._inside(path))
            if exc.errno in (errno.ENOSYS, errno.EPERM):
                return self._open_resolved(path)
            raise

    def _inside(self, path: str) -> str:
        """`path` without its links, relative to the root, if it lies below it."""
        root = os.path.realpath(self.directory)
        real = os.path.realpath(os.path.join(root, path))
        if os.path.commonpath([real, root]) != root:
            raise FileForbiddenError(errno.EXDEV, "leads out of the root", path)
        return os.path.relpath(real, root)

    def _open_resolved(self, path: str) -> int:
        inside = self._inside(path)
        resolved = os.path.join(os.path.realpath(self.directory), inside)
        fd = files.open_for_reading(resolved)
        if os.path.realpath(resolved) != resolved:  # a link came in between
            os.close(fd)
            raise FileForbiddenError(errno.ELOOP, "changed while it was opened", path)
        return fd

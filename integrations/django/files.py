"""The file behind a file object, and the source that its bytes can be sent from.

Whatever is not plainly a file of the operating system, standing at its beginning, has
no source: its bytes are had by reading it, as in stock Django.
"""

from __future__ import annotations

import io
from functools import lru_cache
from typing import Any

from django.core.exceptions import SuspiciousFileOperation
from django.core.files.storage import FileSystemStorage
from django.db.models.fields.files import FieldFile
from django.utils._os import safe_join

from zc_response.errors import SourceError
from zc_response.policy import Policy
from zc_response.sources import FileSource, MemoryFile, open_files
from zc_response.wsgi import source_behind


class KeptFile(io.RawIOBase):
    """A file object over a source. It reads at a place of its own, and has no fileno:

    the descriptor belongs to whoever else sends from the source, too.
    """

    memory: MemoryFile | None = None
    """That it was made of."""

    def __init__(self, source: FileSource) -> None:
        """Take `source` over."""
        self.source = source
        self.name = source.path
        self._position = 0

    @classmethod
    def of(cls, memory: MemoryFile) -> KeptFile:
        """A share of a memory file."""
        file = cls(memory.share())
        file.memory, file.name = memory, memory.name
        return file

    def readable(self) -> bool:
        """It can be read."""
        return True

    def seekable(self) -> bool:
        """It can be sought."""
        return True

    def tell(self) -> int:
        """Where it stands."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move, as `io.IOBase.seek` does."""
        starts = {
            io.SEEK_SET: 0,
            io.SEEK_CUR: self._position,
            io.SEEK_END: self.source.facts.size,
        }
        self._position = max(starts[whence] + offset, 0)
        return self._position

    def readinto(self, buffer: Any) -> int:
        """Read as many bytes as there are, and as fit."""
        data = self.source.read(self._position, len(buffer))
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)

    def reopen(self) -> io.BufferedReader:
        """The same file for somebody who wants a descriptor. Raises OSError."""
        return open(f"/proc/self/fd/{self.source.fileno()}", "rb")

    def close(self) -> None:
        """Give the source back."""
        if not self.closed:
            self.source.release()
        super().close()


def stored(value: Any, policy: Policy) -> KeptFile | None:
    """The file of a FileField, by its path, if its storage is a plain directory.

    None for whatever else, for one that is open already, and for one that cannot be
    opened: Django's own way says why.
    """
    if not isinstance(value, FieldFile) or value._file is not None or not value.name:
        return None
    storage, kind = value.storage, value.storage.__class__
    if not issubclass(kind, FileSystemStorage) or any(
        getattr(kind, name) is not getattr(FileSystemStorage, name)
        for name in ("open", "_open", "path")
    ):
        return None
    try:
        return KeptFile(open_files(policy).open(_path(storage.location, value.name)))
    except (SourceError, SuspiciousFileOperation):
        return None


@lru_cache(maxsize=4096)
def _path(location: str, name: str) -> str:
    """The path of a name, which may not lead out of the storage (as it says itself)."""
    path: str = safe_join(location, name)
    return path


def require_binary(filelike: Any) -> None:
    """Raise ValueError for a file that gives text: no body can be made of that."""
    own = getattr(getattr(filelike, "read", None), "__self__", None)
    if isinstance(own, io.TextIOBase):
        raise ValueError(
            f"{filelike!r} is opened in text mode, but a body is made of bytes; "
            "open it with mode 'rb'"
        )


def source_of(filelike: Any, policy: Policy) -> FileSource | None:
    """A share of the source of all that `filelike` would give; None if there is none.

    It may wait for a disk. One that is kept open is used if it is that very file.
    """
    if isinstance(filelike, KeptFile):
        return filelike.source.retain()
    return source_behind(filelike, policy)

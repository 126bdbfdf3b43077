"""Files that are kept open between responses, and never a stale one.

Opening a file, looking at it and closing it costs several times what sending a small
one does. So a file stays open for a while after its last use. Whether the entry is
still the file of that name is asked anew for each response, by stat(2) of the path: a
file that was replaced by rename, or rewritten in place, differs in device, inode,
size, mtime or ctime, and is opened again.

Entries are bounded in number and in time, and what has to be closed is closed outside
the lock. A thread that lives as long as there are entries closes the idle ones, so
that descriptors return to what they were, and deleted files to the filesystem.
"""

from __future__ import annotations

import os
import resource
import threading
import time
from collections import OrderedDict
from collections.abc import Iterable
from typing import Final

from zc_response.errors import source_error
from zc_response.sources.file import FileSource

_SHARE_OF_LIMIT: Final = 8
"""At most one in so many of the descriptors that the process may have."""


class OpenFiles:
    """A cache of open files by path.

    `capacity` is a number of files, 0 for none; no more than an eighth of
    RLIMIT_NOFILE is taken in any case. A file that nobody asked for during
    `idle_seconds` is closed within about as much again.
    """

    def __init__(self, capacity: int, idle_seconds: float) -> None:
        self._capacity = capacity
        self._idle_seconds = idle_seconds
        self._reset()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._forget_after_fork)

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._entries: OrderedDict[str, tuple[FileSource, float]] = OrderedDict()
        self._wake = threading.Event()
        self._housekeeper: threading.Thread | None = None

    def open(self, path: str) -> FileSource:
        """A share of the file that `path` names now; raises as `FileSource.open`."""
        try:
            status = os.stat(path)
        except (OSError, ValueError) as exc:
            raise source_error(exc, path) from exc
        with self._lock:
            entry = self._entries.get(path)
            if entry is not None and entry[0].facts.are_of(status):
                source = entry[0].retain()
                self._entries[path] = (source, time.monotonic())
                self._entries.move_to_end(path)
                return source
        source = FileSource.open(path)
        self._keep(path, source)
        return source

    def _keep(self, path: str, source: FileSource) -> None:
        limit = min(self._capacity, _descriptor_limit() // _SHARE_OF_LIMIT)
        if limit < 1:
            return
        with self._lock:
            stale = [self._entries.pop(path)] if path in self._entries else []
            self._entries[path] = (source.retain(), time.monotonic())
            while len(self._entries) > limit:
                stale.append(self._entries.popitem(last=False)[1])
            self._start_housekeeper()
        _release(stale)

    def clear(self) -> None:
        """Close all that nobody is using, and let go of the rest."""
        with self._lock:
            stale = list(self._entries.values())
            self._entries.clear()
            housekeeper = self._housekeeper
            self._wake.set()
        _release(stale)
        if housekeeper is not None:
            housekeeper.join()

    def __len__(self) -> int:
        return len(self._entries)

    # Housekeeping ------------------------------------------------------------------

    def _start_housekeeper(self) -> None:
        if self._housekeeper is None:
            self._housekeeper = threading.Thread(
                target=self._keep_house, name="zc_response-open-files", daemon=True
            )
            self._housekeeper.start()

    def _keep_house(self) -> None:
        while True:
            if self._wake.wait(self._idle_seconds):
                self._wake.clear()
            with self._lock:
                stale = self._take_idle()
                done = not self._entries
                if done:
                    self._housekeeper = None
            _release(stale)
            if done:
                return

    def _take_idle(self) -> list[tuple[FileSource, float]]:
        """The entries that have been idle too long; the oldest come first."""
        oldest = time.monotonic() - self._idle_seconds
        idle = []
        for path, entry in list(self._entries.items()):
            if entry[1] > oldest:
                break
            idle.append(self._entries.pop(path))
        return idle

    def _forget_after_fork(self) -> None:
        """In a child: the lock may be held, and the housekeeper is not there."""
        entries = self._entries
        self._reset()
        for source, _used in entries.values():
            source.close_after_fork()


_caches: dict[tuple[int, float], OpenFiles] = {}


def open_files(capacity: int, idle_seconds: float) -> OpenFiles:
    """The cache of this process with these settings."""
    key = (capacity, idle_seconds)
    if key not in _caches:
        _caches.setdefault(key, OpenFiles(capacity, idle_seconds))
    return _caches[key]


def clear_all() -> None:
    """Close every file that is kept open and not in use."""
    for cache in tuple(_caches.values()):
        cache.clear()


def _release(entries: Iterable[tuple[FileSource, float]]) -> None:
    for source, _used in entries:
        source.release()


def _descriptor_limit() -> int:
    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return soft if soft != resource.RLIM_INFINITY else 1 << 20

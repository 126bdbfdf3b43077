"""Files that are kept open between responses, and never a stale one.

Opening a file, looking at it and closing it costs several times what sending a small
one does. So a file stays open for a while after its last use. Whether the entry is
still the file of that name is asked anew for each response, by stat(2) of the path: a
file that was replaced by rename, or rewritten in place, differs in device, inode,
size, mtime or ctime, and is opened again. What could not be opened is not kept.

`fresh` never waits: it answers for files that are at hand on a local filesystem, whose
names the kernel has in memory because the file is open. `open` may wait for a disk or
a server, and belongs into a thread.

Entries are bounded in number and in time, and what has to be closed is closed outside
the lock. A thread that lives as long as there are entries closes the idle ones, so
that descriptors return to what they were, and deleted files to the filesystem. When
something is mounted or unmounted it lets go of all: a path may now lead elsewhere.
"""

from __future__ import annotations

import contextlib
import os
import resource
import select
import threading
import time
from collections import OrderedDict
from collections.abc import Iterable
from typing import Final

from zc_response.errors import OutOfDescriptorsError, SourceError
from zc_response.kernel.mounts import TABLE
from zc_response.policy import Policy
from zc_response.sources import places
from zc_response.sources.file import FileSource
from zc_response.sources.root import Root

_SHARE_OF_LIMIT: Final = 8
"""At most one in so many of the descriptors that the process may have."""

Key = tuple[str, str]
"""A path, and the directory it may not lead out of (or nothing)."""


class _Entry:
    """A file that is kept open; `local` if its path may be asked about on a loop."""

    __slots__ = ("local", "source", "used")

    def __init__(self, source: FileSource, *, local: bool) -> None:
        self.source = source
        self.local = local
        self.used = time.monotonic()


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
        self._entries: OrderedDict[Key, _Entry] = OrderedDict()
        self._housekeeper: _Housekeeper | None = None

    def fresh(self, path: str, root: str = "") -> FileSource | None:
        """A share of the file that `path` names now, if that can be told at once.

        It never waits for a disk or a server. None says that `open` has to be asked.
        """
        key = (path, root)
        entry = self._entries.get(key)
        if entry is None or not entry.local:
            return None
        try:
            if not entry.source.facts.are_of(os.stat(path)):
                return None
            with self._lock:
                self._entries.move_to_end(key)
                entry.used = time.monotonic()
                return entry.source.retain()
        except (OSError, KeyError, ValueError):  # gone, or closed in between
            return None

    def open(self, path: str, root: str = "") -> FileSource:
        """A share of the file that `path` names now; it may wait for a disk.

        With `root`, `path` must lie below that directory, and may not lead out of it.
        Raises as `FileSource.open` and `Root.open`.
        """
        source = self.fresh(path, root)
        if source is None:
            try:
                source = _open(path, root)
            except OutOfDescriptorsError:
                self.clear()  # those kept open may be what is in the way
                source = _open(path, root)
            self._keep((path, root), source)
        return source

    def of_descriptor(self, fd: int, path: str) -> FileSource:
        """A share of the file behind somebody else's descriptor, which stays theirs.

        If it has been opened by a `path` that still names it, it will be kept open.
        Raises as `FileSource.of_descriptor`.
        """
        if path:
            with contextlib.suppress(SourceError):
                source = self.open(path)
                if source.facts.are_of(os.fstat(fd)):
                    return source
                source.release()
        return FileSource.of_descriptor(fd, path)

    def _keep(self, key: Key, source: FileSource) -> None:
        limit = min(self._capacity, descriptor_limit() // _SHARE_OF_LIMIT)
        if limit < 1:
            return
        local = places.is_local(key[0], source.facts.filesystem)
        with self._lock:
            if not self._has_housekeeper():
                return
            stale = [self._entries.pop(key)] if key in self._entries else []
            self._entries[key] = _Entry(source.retain(), local=local)
            source.is_kept = True
            while len(self._entries) > limit:
                stale.append(self._entries.popitem(last=False)[1])
        _release(stale)

    def clear(self) -> threading.Thread | None:
        """Close all that nobody is using, and let go of the rest.

        Returns the thread that ends with it, if there was one.
        """
        with self._lock:
            stale = self._take_all()
            housekeeper, self._housekeeper = self._housekeeper, None
            if housekeeper is not None:
                housekeeper.dismiss()
        _release(stale)
        return housekeeper

    def __len__(self) -> int:
        return len(self._entries)

    # Housekeeping ------------------------------------------------------------------

    def _has_housekeeper(self) -> bool:
        """Start the housekeeper, unless it is there; False if that cannot be done."""
        if self._housekeeper is None:
            try:
                housekeeper = _Housekeeper(self)
            except OSError:  # no descriptors left
                return False
            try:
                housekeeper.start()
            except RuntimeError:  # no threads left
                housekeeper.close()
                return False
            self._housekeeper = housekeeper
        return True

    def keep_house(self, housekeeper: _Housekeeper, *, mounts_changed: bool) -> bool:
        """Close what is idle, or everything; False when nothing is left to look after.

        Called by the housekeeper alone, which ends after that.
        """
        with self._lock:
            if self._housekeeper is not housekeeper:
                return False
            stale = self._take_all() if mounts_changed else self._take_idle()
            done = not self._entries
            if done:
                self._housekeeper = None
        _release(stale)
        return not done

    def _take_all(self) -> list[_Entry]:
        entries = list(self._entries.values())
        self._entries.clear()
        return entries

    def _take_idle(self) -> list[_Entry]:
        """The entries that have been idle too long; the oldest come first."""
        oldest = time.monotonic() - self._idle_seconds
        idle = []
        for key, entry in list(self._entries.items()):
            if entry.used > oldest:
                break
            idle.append(self._entries.pop(key))
        return idle

    @property
    def idle_seconds(self) -> float:
        """Seconds that a file stays open after its last use."""
        return self._idle_seconds

    def _forget_after_fork(self) -> None:
        """In a child: the lock may be held, and the housekeeper is not there."""
        entries, housekeeper = self._entries, self._housekeeper
        self._reset()
        for entry in entries.values():
            entry.source.close_after_fork()
        if housekeeper is not None:
            housekeeper.close()


class _Housekeeper(threading.Thread):
    """Looks after one cache from time to time, and when the mounts have changed."""

    def __init__(self, files: OpenFiles) -> None:
        super().__init__(name="zc_response-open-files", daemon=True)
        self._files = files
        self._woken, self._waker = os.pipe()
        self._poll = select.poll()
        self._poll.register(self._woken, select.POLLIN)
        self._mounts = -1
        with contextlib.suppress(OSError):  # no /proc: nothing is local there anyway
            self._mounts = os.open(TABLE, os.O_RDONLY | os.O_CLOEXEC)
            self._poll.register(self._mounts, select.POLLPRI)

    def run(self) -> None:
        try:
            wait = self._files.idle_seconds * 1000
            while True:
                changed = self._mounts in dict(self._poll.poll(wait))
                if not self._files.keep_house(self, mounts_changed=changed):
                    return
        finally:
            self.close()

    def dismiss(self) -> None:
        """Let it end at once; called under the lock, while it is still in service."""
        os.write(self._waker, b"\0")

    def close(self) -> None:
        """Close its descriptors; in a child after fork nobody else does."""
        for fd in (self._woken, self._waker, self._mounts):
            if fd >= 0:
                os.close(fd)


_caches: dict[tuple[int, float], OpenFiles] = {}


def open_files(policy: Policy) -> OpenFiles:
    """The cache of this process with a policy's settings."""
    key = (policy.open_files, policy.open_files_idle)
    found = _caches.get(key)
    if found is None:
        found = _caches.setdefault(key, OpenFiles(*key))
    return found


def clear_all() -> None:
    """Close every file that is kept open and not in use."""
    for housekeeper in [cache.clear() for cache in tuple(_caches.values())]:
        if housekeeper is not None:
            housekeeper.join()


def _open(path: str, root: str) -> FileSource:
    if root:
        source = Root(root).open(os.path.relpath(path, root))
    else:
        source = FileSource.open(path)
    _read_map(source)
    return source


def _read_map(source: FileSource) -> None:
    """Have the filesystem read where on the disk the file lies.

    ext4 reads that piece by piece when it is needed: inside a call that would not wait
    for the data. Looking for the first hole (lseek(2)) makes it read all of it.
    """
    if source.facts.filesystem == "ext4" and source.facts.size:
        with contextlib.suppress(OSError):
            os.lseek(source.fileno(), 0, os.SEEK_HOLE)


def _release(entries: Iterable[_Entry]) -> None:
    for entry in entries:
        entry.source.release()


def descriptor_limit() -> int:
    """How many descriptors the process may have (RLIMIT_NOFILE)."""
    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return soft if soft != resource.RLIM_INFINITY else 1 << 20

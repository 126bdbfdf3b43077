"""Compressed variants of files, made once and kept in sealed memory.

Nobody waits for one: `get` never waits, and whoever finds it missing sends the file as
it is. It is made in a thread of its filesystem, of which each has one for this: so one
that hangs takes nothing from another, and compressing takes no more of the processors.
However many ask meanwhile, it is made once.

A variant belongs to one state of one file: device, inode, both times and size. Its
entity-tag comes from its own bytes and names the coding, because another version of a
library makes other bytes of the same file (RFC 9110 section 8.8.3.3). It has the file's
Last-Modified.

The cache is bounded in bytes and in descriptors; what was asked for least lately goes
first. What does not shrink by a tenth, or not below a quarter of the cache, is
remembered as such and not tried again.
"""

from __future__ import annotations

import logging
import os
from collections import OrderedDict
from functools import partial
from typing import Final

from zc_response.derived.codings import CODINGS
from zc_response.errors import FileChangedError, ZCResponseError
from zc_response.native import new_lock
from zc_response.planning import SUFFIXES
from zc_response.policy import Policy
from zc_response.representation import validators
from zc_response.sources import FileSource, MemoryFile, descriptor_limit
from zc_response.threads import lane
from zc_response.transmit import read_whole

logger: Final = logging.getLogger("zc_response")

Key = tuple[int, int, int, int, int, str]
"""Device, inode, mtime_ns, ctime_ns, size, coding."""

_SHARE_OF_BYTES: Final = 4
"""A variant takes at most one in so many bytes of the cache."""
_SHARE_OF_LIMIT: Final = 16
"""The cache takes at most one in so many of the descriptors the process may have."""
_MOST_WAITING: Final = 32
"""Variants that are made or wait for that, at once; each keeps its file open."""
_WORTH: Final = 0.9
"""Of the file's size; a variant that has more bytes is of no use."""


class Variants:
    """A cache of at most `capacity` bytes."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._lock = new_lock()
        self._kept: OrderedDict[Key, MemoryFile | None] = OrderedDict()
        self._bytes = 0
        self._making: set[Key] = set()

    def get(self, source: FileSource, coding: str, policy: Policy) -> FileSource | None:
        """A share of the variant of an open file; it never waits.

        None if it is not there yet; then it will be made, unless that is known to be of
        no use.
        """
        facts = source.facts
        key = (
            *(facts.device, facts.inode, facts.mtime_ns, facts.ctime_ns),
            *(facts.size, coding),
        )
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                file = self._kept[key]
                return None if file is None else file.share()
            if key in self._making or len(self._making) >= _MOST_WAITING:
                return None
            self._making.add(key)
        make = partial(self._make, key, source.retain(), coding, policy)
        try:
            lane(("compress", facts.device), width=1).submit(make)
        except RuntimeError:  # the system has no more threads
            self._making.discard(key)
            source.release()
        return None

    def _make(self, key: Key, source: FileSource, coding: str, policy: Policy) -> None:
        """Make a variant and keep it, in a thread."""
        try:
            with source:
                most = self._capacity // _SHARE_OF_BYTES
                made = _compressed(source, coding, policy, most)
        except FileChangedError:  # whoever asks for it as it is now has another key
            self._making.discard(key)
        except (ZCResponseError, OSError) as exc:
            logger.warning("%s is not compressed: %s", source.path, exc)
            self._making.discard(key)
        except BaseException:
            self._making.discard(key)
            logger.exception("%s is not compressed", source.path)
        else:
            self._keep(key, made)

    def _keep(self, key: Key, made: MemoryFile | None) -> None:
        most = max(descriptor_limit() // _SHARE_OF_LIMIT, 1)
        gone: list[MemoryFile | None] = []
        with self._lock:
            self._making.discard(key)
            self._kept[key] = made
            self._bytes += _size(made)
            while self._bytes > self._capacity or len(self._kept) > most:
                gone.append(self._kept.popitem(last=False)[1])
                self._bytes -= _size(gone[-1])
        for each in gone:
            if each is not None:
                each.close()

    @property
    def total(self) -> int:
        """Bytes that are kept."""
        return self._bytes

    def __len__(self) -> int:
        return len(self._kept)

    def clear(self) -> None:
        """Give back what is kept; transfers under way go on."""
        with self._lock:
            gone = list(self._kept.values())
            self._kept.clear()
            self._bytes = 0
        for each in gone:
            if each is not None:
                each.close()

    def renew_after_fork(self) -> None:
        """In a child: what is kept is shared, but the threads are not there."""
        self._lock = new_lock()
        self._making = set()


def _size(file: MemoryFile | None) -> int:
    return 0 if file is None else file.size


def _compressed(
    source: FileSource, coding: str, policy: Policy, most: int
) -> MemoryFile | None:
    """The variant; None if it is of no use.

    Raises FileChangedError if the file is no longer what it was when it was opened.
    """
    compressor = CODINGS[coding]()
    most = min(most, int(source.facts.size * _WORTH))
    known = source.validators or validators(source.facts, policy)
    draft = MemoryFile.open(
        name=source.path + SUFFIXES[coding],
        last_modified=known.last_modified,
        coding=coding,
    )

    def take(data: bytes) -> None:
        draft.write(compressor.compress(data))
        if draft.tell() > most:
            raise _TooLargeError

    try:
        with draft:
            read_whole(source, policy, take)
            draft.write(compressor.flush())
            if draft.tell() > most:
                raise _TooLargeError
            if not source.facts.are_of(os.fstat(source.fileno())):
                raise FileChangedError.of(source.path)
    except _TooLargeError:
        return None
    return draft.memory_file


class _TooLargeError(Exception):
    """It is of no use."""


_caches: dict[int, Variants] = {}


def kept_variants(policy: Policy) -> Variants:
    """The cache of this process with a policy's size."""
    capacity = policy.compress_bytes
    found = _caches.get(capacity)
    if found is None:
        found = _caches.setdefault(capacity, Variants(capacity))
    return found


def clear_all() -> None:
    """Give back what every cache keeps."""
    for each in tuple(_caches.values()):
        each.clear()


def _renew_after_fork() -> None:
    for each in _caches.values():
        each.renew_after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_after_fork)

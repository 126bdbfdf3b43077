"""A file as it is now, whatever happens to it later.

By reflink where its filesystem can share data copy on write: a moment's work, whatever
the size. Elsewhere its bytes are copied into sealed memory, of which all copies
together take `snapshot_bytes` at most; what finds no room there is refused. Nothing is
ever sent from the file itself instead: whoever asks for a snapshot means it.

The copy is made under a hold as for `strict`, so it is of one state of the file. Who
wants to write waits for it, where there is a lease; else a write that was under way
makes it be made anew. Whoever asks for the same state, while a copy of it is still in
use, gets a share of that one.
"""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress
from dataclasses import replace
from errno import ENOSPC
from typing import Final

from zc_response.errors import ChangedError, FileChangedError, NoSnapshotError
from zc_response.guards import Hold, Snapshot, make_snapshot
from zc_response.planning import is_young
from zc_response.policy import Policy
from zc_response.representation import validators
from zc_response.sources import Facts, FileSource, grain_ns

_ATTEMPTS: Final = 4
"""How often it is tried, of a file that is written to in that very moment."""
_SECONDS: Final = 5.0
"""That copying into memory may take where nobody waits to write; 128 MiB take 0.1."""


_Key = tuple[Facts, str, str]
_in_use: dict[_Key, FileSource] = {}
"""Copies that can be shared, by the state of the file and what the tag is made of."""
_locks: dict[int, threading.Lock] = {}


def snapshot_of(source: FileSource, policy: Policy, coding: str = "") -> FileSource:
    """A private copy of an open file, whose share the caller has; it may wait.

    It has the validators of the file, with `coding` in the tag if the file's bytes are
    a variant. Raises NoSnapshotError if there is no room for it, and FileChangedError
    if the file does not stand still.
    """
    if source.fixed is not None or not source.facts.size:
        return source.retain()
    with _lock_of(source.facts.device):
        latest = source.retain()
        try:
            for _attempt in range(1, _ATTEMPTS):
                try:
                    return _shared_or_made(latest, policy, coding)
                except FileChangedError:
                    again = FileSource.of_descriptor(source.fileno(), source.path)
                    latest.release()
                    latest = again
            return _shared_or_made(latest, policy, coding)
        finally:
            latest.release()


def _shared_or_made(source: FileSource, policy: Policy, coding: str) -> FileSource:
    facts, now = source.facts, time.time_ns()
    key = (facts, policy.etag, coding)
    known = _in_use.get(key)
    if known is not None:
        with suppress(ValueError):  # nobody needs it any more
            return known.retain()
    made = _make(source, policy, coding)
    latest_change = max(facts.mtime_ns, facts.ctime_ns)
    if not is_young(latest_change, now, grain_ns(facts.filesystem)):
        for each in [key for key, copy in list(_in_use.items()) if copy.closed]:
            _in_use.pop(each, None)
        _in_use[key] = made  # who has a share closes it; this is none
    return made


def _make(source: FileSource, policy: Policy, coding: str) -> FileSource:
    known = validators(source.facts, policy, coding)
    needs = [(0, source.facts.size)]
    made: list[Snapshot | None] = []
    hold = Hold(source, replace(policy, integrity="strict"))

    def copy(source: FileSource) -> bool:
        until = time.monotonic() + _SECONDS
        made.append(make_snapshot(source, needs, policy.snapshot_bytes, until))
        return True

    try:
        hold.begin()
        if not hold.look(copy):  # somebody waits to write
            raise FileChangedError.of(source.path)
    except BaseException as exc:
        for each in made:
            if each is not None:
                each.source.release()
        if isinstance(exc, ChangedError):
            raise FileChangedError.of(source.path) from exc
        raise
    finally:
        hold.close()
    (snapshot,) = made
    if snapshot is None:
        limit = policy.snapshot_bytes
        reason = f"no reflink, and no room for {needs[0][1]} bytes in {limit} of memory"
        raise NoSnapshotError(ENOSPC, reason, source.path)
    snapshot.source.validators = known
    return snapshot.source


def _lock_of(device: int) -> threading.Lock:
    """Held while a copy is made: two at once would only take longer."""
    return _locks.setdefault(device, threading.Lock())


def _forget_after_fork() -> None:
    """In a child: the copies are the parent's, and a lock may be held for ever."""
    _locks.clear()
    while _in_use:
        _in_use.popitem()[1].close_after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)

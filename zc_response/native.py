"""Locks and threads of the operating system, also where gevent has replaced them.

gevent's monkey patching makes greenlets of threads: fine for an application, but a
greenlet that waits in the kernel keeps all the others waiting. What must wait outside
of everything else, for a disk or for a signal to one thread, needs the real thing.
"""

from __future__ import annotations

import _thread
import importlib
import sys
import threading
from collections.abc import Callable
from typing import Any, Protocol


class Lock(Protocol):
    """What a lock can do."""

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Take it; False if that was not possible."""

    def release(self) -> None:
        """Let it go."""

    def __enter__(self) -> bool: ...

    def __exit__(self, *_exc: object) -> None: ...


class Thread(Protocol):
    """What a thread can do."""

    @property
    def native_id(self) -> int | None:
        """Its id in the operating system (TID), once it runs."""

    def start(self) -> None:
        """Let it run. Raises RuntimeError if the system has no more."""

    def join(self, timeout: float | None = None) -> None:
        """Wait for its end."""

    def is_alive(self) -> bool:
        """True while it runs."""


def original(module: str, name: str) -> Any:
    """What a module of the standard library had by that name."""
    monkey = sys.modules.get("gevent.monkey")
    if monkey is not None and monkey.is_module_patched(module):
        return monkey.get_original(module, name)
    return getattr(importlib.import_module(module), name)


def new_lock() -> Lock:
    """A lock that is held by a thread, not by a greenlet."""
    allocate: Any = _thread.allocate_lock
    if "gevent.monkey" in sys.modules:  # else there is no need to ask: locks are many
        allocate = original("_thread", "allocate_lock")
    lock: Lock = allocate()
    return lock


def new_thread(target: Callable[[], object], name: str) -> Thread:
    """A daemon thread, yet to be started."""
    monkey = sys.modules.get("gevent.monkey")
    if monkey is not None and monkey.is_module_patched("_thread"):
        return _RawThread(target)
    return threading.Thread(target=target, name=name, daemon=True)


class _RawThread:
    """A thread that the module `threading`, which gevent has changed, does not know."""

    def __init__(self, target: Callable[[], object]) -> None:
        self._target = target
        self._end = new_lock()
        self._has_begun = new_lock()
        self._is_alive = False
        self.native_id: int | None = None

    def start(self) -> None:
        self._end.acquire()
        self._has_begun.acquire()
        self._is_alive = True
        try:
            original("_thread", "start_new_thread")(self._run, ())
        except RuntimeError:
            self._is_alive = False
            self._end.release()
            raise
        self._has_begun.acquire()

    def _run(self) -> None:
        self.native_id = original("_thread", "get_native_id")()
        self._has_begun.release()
        try:
            self._target()
        finally:
            self._is_alive = False
            self._end.release()

    def join(self, timeout: float | None = None) -> None:
        if self._end.acquire(timeout=-1 if timeout is None else timeout):
            self._end.release()

    def is_alive(self) -> bool:
        return self._is_alive

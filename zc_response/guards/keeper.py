"""The keeper: the one thread that hears when somebody wants to write to a leased file.

A thread of its own, because the signal of a break has to be blocked by whoever receives
it, and nobody else's signal mask is ours to change. It decides nothing, and believes no
signal: it has the registry look at all leases when it hears of one, and from time to
time, so that a lost signal costs a moment and not lease-break-time.
"""

from __future__ import annotations

import logging
from typing import Final, Protocol

from zc_response.kernel import leases as kernel
from zc_response.native import new_lock, new_thread, original

logger: Final = logging.getLogger("zc_response")


class Registry(Protocol):
    """Whom it reports to."""

    def look_around(self) -> float | None:
        """Do what is due; seconds until the next time, None if the keeper can go."""

    def lost(self, keeper: Keeper) -> None:
        """The keeper has died."""


class Keeper:
    """Hears of breaks until the registry lets it go, or `dismiss`."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._thread = new_thread(self._run, "zc_response-leases")
        self._is_getting_ready = new_lock()
        self._breaks: kernel.Breaks | None = None
        self._refusal: OSError | None = None

    def start(self) -> None:
        """Let it listen. Raises RuntimeError if there is no thread left, and OSError
        if breaks cannot be heard of."""
        self._is_getting_ready.acquire()
        self._thread.start()
        with self._is_getting_ready:
            if self._breaks is None:
                raise self._refusal or RuntimeError("the keeper did not start")

    @property
    def is_alive(self) -> bool:
        """True as long as it listens."""
        return self._thread.is_alive()

    @property
    def tid(self) -> int:
        """The thread that breaks are to be signalled to."""
        assert self._thread.native_id is not None
        return self._thread.native_id

    def _run(self) -> None:
        try:
            self._breaks = breaks = kernel.Breaks(original("select", "poll")())
        except OSError as exc:
            self._refusal = exc
            return
        finally:
            self._is_getting_ready.release()
        try:
            self._listen(breaks)
        except Exception:
            logger.exception("the thread that looks after leases has died")
        finally:
            self._registry.lost(self)
            breaks.close()

    def _listen(self, breaks: kernel.Breaks) -> None:
        while (seconds := self._registry.look_around()) is not None:
            if breaks.wait(seconds) is None:
                return

    def dismiss(self) -> None:
        """Have it end, and wait for that."""
        if self._breaks is not None:
            self._breaks.wake()
        self._thread.join()

    def close_after_fork(self) -> None:
        """Close its descriptors in a child, in which it does not run."""
        if self._breaks is not None:
            self._breaks.close()

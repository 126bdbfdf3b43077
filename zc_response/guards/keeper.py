"""The keeper: the one thread that hears when somebody wants to write to a leased file.

A thread of its own, because the signal of a break has to be blocked by whoever receives
it, and nobody else's signal mask is ours to change. It decides nothing, and believes no
signal: it has the registry look at all leases when it hears of one, and from time to
time, so that a lost signal costs a moment and not lease-break-time.
"""

from __future__ import annotations

import logging
import threading
from typing import Final, Protocol

from zc_response.kernel import leases as kernel

logger: Final = logging.getLogger("zc_response")


class Registry(Protocol):
    """Whom it reports to."""

    def look_around(self) -> float | None:
        """Do what is due; seconds until the next time, None if the keeper can go."""

    def lost(self, keeper: Keeper) -> None:
        """The keeper has died."""


class Keeper(threading.Thread):
    """Hears of breaks until the registry lets it go, or `dismiss`."""

    def __init__(self, registry: Registry) -> None:
        super().__init__(name="zc_response-leases", daemon=True)
        self._registry = registry
        self._is_ready = threading.Event()
        self._breaks: kernel.Breaks | None = None
        self._refusal: OSError | None = None

    def tid(self) -> int:
        """Its thread id, once it listens. Raises OSError if it cannot."""
        self._is_ready.wait()
        if self._refusal is not None:
            raise self._refusal
        assert self.native_id is not None
        return self.native_id

    def run(self) -> None:
        """Listen until it is over."""
        try:
            self._breaks = breaks = kernel.Breaks()
        except OSError as exc:
            self._refusal = exc
            return
        finally:
            self._is_ready.set()
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
        self.join()

    def close_after_fork(self) -> None:
        """Close its descriptors in a child, in which it does not run."""
        if self._breaks is not None:
            self._breaks.close()

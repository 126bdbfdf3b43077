"""What happened to each body: one report, to the log and to whoever listens.

The transfer fills in a tally as it goes; when the body has ended, well or badly, the
tally becomes a report, exactly once. Reports go to the logger `zc_response.transfer`
(complete ones at DEBUG, those of clients that left or stalled at INFO, failures at
ERROR).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from types import TracebackType
from typing import Final

from zc_response.errors import (
    ChangedError,
    DisconnectedError,
    FileChangedError,
    StalledError,
    StartsAnewError,
    TruncatedError,
)

logger: Final = logging.getLogger("zc_response.transfer")


IN_MEMORY: Final = "in memory"
"""What stands for the path of a body that comes from no file."""


class Outcome(str, Enum):
    """How a body ended."""

    UNDER_WAY = "under way"
    COMPLETE = "complete"
    DISCONNECTED = "disconnected"
    """The client left; that is its right and nobody's error."""
    STALLED = "stalled"
    """The client took nothing for too long; the connection was aborted."""
    TRUNCATED = "truncated"
    """The file became shorter than promised; the connection was aborted."""
    CHANGED = "changed"
    """Somebody wrote to the file meanwhile; the connection was aborted."""
    CANCELLED = "cancelled"
    """The server or the application gave up; the connection was aborted."""
    FAILED = "failed"
    """Anything else, such as a disk error; the connection was aborted."""

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What happened to one body.

    `sent` and `promised` count body bytes; `sent` is what the kernel (or the server,
    where the body was copied) has accepted. `seconds` run from the first step to the
    end; `cpu_seconds` are those that were spent on its steps while anybody listened, or
    None where the server does the sending and nobody can tell its share. `reason` says
    why this strategy was taken, `guard` what kept the file honest at the end (`count`,
    `stat`, `lease` or `snapshot`; `sealed` or `private` if it cannot change at all),
    `guard_reason` why that was not a lease.
    """

    path: str
    status: int
    promised: int
    sent: int
    strategy: str
    reason: str
    guard: str
    outcome: Outcome
    seconds: float
    cpu_seconds: float | None
    error: str = ""
    guard_reason: str = ""


Listener = Callable[[Report], None]

_listeners: list[Listener] = []
_under_way: dict[int, Tally] = {}


def add_listener(listener: Listener) -> None:
    """Call `listener` with each report, in the thread that sent the body.

    It must not block; an exception it raises is logged and harms no response.
    """
    _listeners.append(listener)


def remove_listener(listener: Listener) -> None:
    """Take back `add_listener`. Raises ValueError if it is not there."""
    _listeners.remove(listener)


def is_wanted(level: int = logging.DEBUG) -> bool:
    """True if anybody would see a report of that level: by default a whole body's."""
    return bool(_listeners) or logger.isEnabledFor(level)


def under_way() -> list[Report]:
    """The bodies that are being sent now, as they stand."""
    return [tally.report() for tally in list(_under_way.values())]


class Tally:
    """The running account of one body; a context manager that ends in one report."""

    __slots__ = (
        "_started",
        "cpu_seconds",
        "error",
        "guard",
        "guard_reason",
        "outcome",
        "path",
        "promised",
        "reason",
        "sent",
        "status",
        "strategy",
    )

    def __init__(
        self,
        *,
        path: str,
        status: int,
        promised: int,
        strategy: str,
        reason: str,
        guard: str,
        guard_reason: str = "",
    ) -> None:
        self.path = path
        self.status = status
        self.promised = promised
        self.strategy = strategy
        self.reason = reason
        self.guard = guard
        self.guard_reason = guard_reason
        self.sent = 0
        self.cpu_seconds: float | None = None
        self.outcome = Outcome.UNDER_WAY
        self.error = ""
        self._started = time.monotonic()

    def report(self) -> Report:
        """The account as it stands now."""
        return Report(
            path=self.path,
            status=self.status,
            promised=self.promised,
            sent=self.sent,
            strategy=self.strategy,
            reason=self.reason,
            guard=self.guard,
            outcome=self.outcome,
            seconds=time.monotonic() - self._started,
            cpu_seconds=self.cpu_seconds,
            error=self.error,
            guard_reason=self.guard_reason,
        )

    def __enter__(self) -> Tally:
        self.begin()
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self.end(error)

    def begin(self) -> None:
        """From now on it is under way. For who cannot use it as a context."""
        _under_way[id(self)] = self

    def end(self, error: BaseException | None) -> None:
        """It has ended, well or because of an error: make the report."""
        del _under_way[id(self)]
        if isinstance(error, FileChangedError | StartsAnewError):  # nothing was sent
            return
        self.outcome = next(end for kind, end in _ENDS if isinstance(error, kind))
        self.error = repr(error) if error is not None else ""
        _publish(self)


_ENDS: Final = (
    (type(None), Outcome.COMPLETE),
    (TruncatedError, Outcome.TRUNCATED),
    (ChangedError, Outcome.CHANGED),
    (DisconnectedError, Outcome.DISCONNECTED),
    (StalledError, Outcome.STALLED),
    (Exception, Outcome.FAILED),
    (BaseException, Outcome.CANCELLED),
)
_LEVELS: Final = {
    Outcome.COMPLETE: logging.DEBUG,
    Outcome.DISCONNECTED: logging.INFO,
    Outcome.STALLED: logging.INFO,
    Outcome.CHANGED: logging.WARNING,
    Outcome.CANCELLED: logging.WARNING,
    Outcome.TRUNCATED: logging.ERROR,
    Outcome.FAILED: logging.ERROR,
}


def _publish(tally: Tally) -> None:
    level = _LEVELS[tally.outcome]
    if not is_wanted(level):
        return
    report = tally.report()
    logger.log(
        level,
        "%s: %s after %d of %d bytes by %s (%s), guard %s%s, %.3f s%s",
        report.path,
        report.outcome,
        report.sent,
        report.promised,
        report.strategy,
        report.reason,
        report.guard,
        f" ({report.guard_reason})" if report.guard_reason else "",
        report.seconds,
        f": {report.error}" if report.error else "",
    )
    for listener in tuple(_listeners):
        try:
            listener(report)
        except Exception:
            logger.exception("a listener of transfer reports failed")

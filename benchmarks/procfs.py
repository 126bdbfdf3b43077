"""What a server has used: its own process and all that descend from it.

This module reads other processes' accounts, and changes nothing but the mark of their
peak memory.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final

_PROC: Final = Path("/proc")


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """The account of a server between two moments."""

    cpu_seconds: float
    rss_before: int
    rss_peak: int


class Meter:
    """Measures a server for as long as its `with` block runs."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._usage: Usage | None = None
        self._cpu = 0.0
        self._rss = 0

    def __enter__(self) -> Meter:
        """Begin."""
        pids = family(self._pid)
        for pid in pids:
            _forget_peak(pid)
        # With its peak forgotten, a process's peak is what it holds now. Where it may
        # not be forgotten, growth is counted from the older peak on.
        self._rss = sum(map(_peak, pids))
        self._cpu = sum(map(cpu_seconds, pids))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End."""
        pids = family(self._pid)
        self._usage = Usage(
            cpu_seconds=sum(map(cpu_seconds, pids)) - self._cpu,
            rss_before=self._rss,
            rss_peak=sum(map(_peak, pids)),
        )

    @property
    def usage(self) -> Usage:
        """What was used; known once the block is left."""
        if self._usage is None:
            raise RuntimeError("the meter has not been stopped")
        return self._usage


# CPU time --------------------------------------------------------------------------


def cpu_seconds(pid: int) -> float:
    """User and system time of a process, all its threads, dead ones included."""
    try:
        # The same account as utime + stime in /proc/PID/stat, but in nanoseconds
        # instead of ticks of 10 ms. The clock's number is built as the macro
        # MAKE_PROCESS_CPUCLOCK(pid, CPUCLOCK_SCHED) of the kernel builds it.
        return time.clock_gettime(~pid << 3 | 2)
    except OSError:
        return _cpu_ticks(pid) / os.sysconf("SC_CLK_TCK")


def _cpu_ticks(pid: int) -> int:
    try:
        return parse_cpu_ticks((_PROC / str(pid) / "stat").read_text())
    except OSError:
        return 0  # gone


def parse_cpu_ticks(stat: str) -> int:
    """Fields utime and stime of /proc/PID/stat, added."""
    fields = stat[stat.rindex(")") + 2 :].split()  # the name may hold blanks
    return int(fields[11]) + int(fields[12])


# Memory ----------------------------------------------------------------------------


def _peak(pid: int) -> int:
    try:
        return parse_peak((_PROC / str(pid) / "status").read_text())
    except OSError:
        return 0


def parse_peak(status: str) -> int:
    """Field VmHWM of /proc/PID/status, in bytes."""
    match = re.search(r"^VmHWM:\s+([0-9]+) kB$", status, re.MULTILINE)
    return int(match[1]) * 1024 if match else 0


def _forget_peak(pid: int) -> None:
    try:
        (_PROC / str(pid) / "clear_refs").write_text("5")  # proc(5): resets VmHWM
    except OSError:
        pass  # a process that has changed its user


# Family ----------------------------------------------------------------------------


def family(pid: int) -> list[int]:
    """A process and all that descend from it."""
    return descendants(pid, _parents())


def descendants(pid: int, parents: Mapping[int, int]) -> list[int]:
    """`pid` and its descendants, by a map of each process to its parent."""
    found = [pid]
    for ancestor in found:  # grows while it is walked
        found += [child for child, parent in parents.items() if parent == ancestor]
    return found


def _parents() -> dict[int, int]:
    return {pid: parent for pid, parent in map(_parent, _pids()) if parent}


def _pids() -> Iterable[int]:
    return (int(entry.name) for entry in _PROC.iterdir() if entry.name.isdigit())


def _parent(pid: int) -> tuple[int, int]:
    try:
        stat = (_PROC / str(pid) / "stat").read_text()
    except OSError:
        return pid, 0
    return pid, int(stat[stat.rindex(")") + 2 :].split()[1])

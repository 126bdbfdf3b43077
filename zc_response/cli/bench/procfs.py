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
    return parse_field(_status(pid), "VmHWM")


def parse_field(status: str, name: str) -> int:
    """A field of /proc/PID/status that is given in kB, in bytes."""
    match = re.search(rf"^{name}:\s+([0-9]+) kB$", status, re.MULTILINE)
    return int(match[1]) * 1024 if match else 0


def resident(pid: int) -> int:
    """What a server and its descendants hold in memory, in bytes."""
    return sum(parse_field(_status(member), "VmRSS") for member in family(pid))


def _status(pid: int) -> str:
    try:
        return (_PROC / str(pid) / "status").read_text()
    except OSError:
        return ""  # gone


def _forget_peak(pid: int) -> None:
    try:
        (_PROC / str(pid) / "clear_refs").write_text("5")  # proc(5): resets VmHWM
    except OSError:
        pass  # a process that has changed its user


# Descriptors and TCP ---------------------------------------------------------------


def descriptors(pid: int) -> int:
    """How many descriptors a server and its descendants have open."""
    return sum(map(_open_descriptors, family(pid)))


def _open_descriptors(pid: int) -> int:
    try:
        return sum(1 for _ in (_PROC / str(pid) / "fd").iterdir())
    except OSError:
        return 0  # gone


def tcp_memory() -> int:
    """What TCP holds on this machine for all sockets, in bytes."""
    sockstat = (_PROC / "net/sockstat").read_text()
    return parse_tcp_pages(sockstat) * os.sysconf("SC_PAGE_SIZE")


def parse_tcp_pages(sockstat: str) -> int:
    """Field mem of the line TCP of /proc/net/sockstat, in pages."""
    match = re.search(r"^TCP: .*\bmem ([0-9]+)", sockstat, re.MULTILINE)
    return int(match[1]) if match else 0


def tcp_aborts_on_memory() -> int:
    """How many connections the kernel has aborted for want of memory."""
    return parse_netstat((_PROC / "net/netstat").read_text(), "TCPAbortOnMemory")


def parse_netstat(netstat: str, name: str) -> int:
    """A counter of /proc/net/netstat: a line of names, then one of numbers."""
    lines = [line.split() for line in netstat.splitlines()]
    for names, numbers in zip(lines[::2], lines[1::2], strict=False):
        if name in names:
            return int(numbers[names.index(name)])
    return 0


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

"""The commands: each measures or reads, then prints and keeps what came out."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks import report
from benchmarks.candidates import CANDIDATES, DEFAULT, Candidate, named, why_not
from benchmarks.environment import describe
from benchmarks.errors import BenchmarkError
from benchmarks.files import format_size, make_files
from benchmarks.load import SMALL, choose_load, find_wrk
from benchmarks.records import Kind, Record, default_path, load, newest, save
from benchmarks.rounds import TINY, Bench, Pins, measure_memory, measure_throughput


def throughput(options: argparse.Namespace) -> int:
    """Measure speed and CPU cost."""
    wrk = find_wrk(options.wrk)
    loads = {
        size: choose_load(size, options.seconds, options.connections, wrk)
        for size in options.sizes
    }
    if wrk is None and min(options.sizes) < SMALL:
        say("wrk is not installed (Debian: apt install wrk): a slower client is used")
    chosen = [
        candidate
        for candidate in _chosen(options.candidates)
        if any(map(candidate.serves, options.sizes))
    ]
    settings = {
        "rounds": options.rounds,
        "seconds": options.seconds,
        "pinned": options.pin,
    }
    record = _record("throughput", chosen, settings, options.directory, wrk)
    pins = _pins(options.pin)
    if record.environment.get("congestion control") == "bbr":
        say("TCP's congestion control is bbr, which slows loopback: see README.md")
    turns = options.rounds * len(chosen) * len(loads)
    say(f"{turns} turns of {options.seconds:g} s")

    def measure(bench: Bench) -> None:
        measure_throughput(bench, record, chosen, loads, options.rounds)

    _measure(options, record, options.sizes, pins, measure)
    return 1 if record.failures else 0


def memory(options: argparse.Namespace) -> int:
    """Check that a large file does not pass through a server's memory."""
    chosen = [
        candidate
        for candidate in _chosen(options.candidates)
        if candidate.serves(options.size)
    ]
    settings = {"limit": options.limit}
    record = _record("memory", chosen, settings, options.directory, None)

    def measure(bench: Bench) -> None:
        measure_memory(bench, record, chosen, options.size)

    _measure(options, record, [TINY, options.size], Pins(), measure)
    grown = [s for s in record.samples if s.rss_growth > options.limit]
    return 1 if record.failures or grown else 0


def show(options: argparse.Namespace) -> int:
    """Print a record."""
    _print(load(options.record or newest()), markdown=options.markdown)
    return 0


def candidates(options: argparse.Namespace) -> int:
    """List the candidates."""
    for candidate in CANDIDATES.values():
        note = "" if candidate.name in DEFAULT else " (not by default)"
        if candidate.largest is not None:
            note += f" (up to {format_size(candidate.largest)})"
        obstacle = why_not(candidate)
        print(f"{candidate.name:<16} {candidate.title}{note}")
        if obstacle:
            print(f"{'':<16} cannot run: {obstacle}")
    return 0


# What they share -------------------------------------------------------------------


def _measure(
    options: argparse.Namespace,
    record: Record,
    sizes: list[int],
    pins: Pins,
    measure: Callable[[Bench], None],
) -> None:
    """Make the files, measure, and keep and print what there is, come what may."""
    try:
        with _temporary(options.directory) as name:
            files, scratch = Path(name, "files"), Path(name, "servers")
            files.mkdir()
            say(f"making files: {', '.join(map(format_size, sizes))}")
            make_files(files, list(dict.fromkeys(sizes)))
            measure(Bench(files=files, scratch=scratch, pins=pins, say=say))
    finally:
        if record.samples or record.failures:
            path = options.output or default_path(record)
            save(record, path)
            say(f"kept in {path}")
            _print(record, markdown=options.markdown)


def _temporary(directory: Path) -> tempfile.TemporaryDirectory[str]:
    try:
        return tempfile.TemporaryDirectory(prefix="zc-bench-", dir=directory)
    except OSError as exc:
        raise BenchmarkError(f"--directory {directory}: {exc.strerror}") from exc


def _chosen(names: list[str] | None) -> list[Candidate]:
    """The candidates that were named, or all of the default ones that can run."""
    if names is not None:
        return named(names)
    chosen = []
    for candidate in map(CANDIDATES.__getitem__, DEFAULT):
        obstacle = why_not(candidate)
        if obstacle:
            say(f"{candidate.name} is left out: {obstacle}")
        else:
            chosen.append(candidate)
    return chosen


def _record(
    kind: Kind,
    chosen: Sequence[Candidate],
    settings: dict[str, Any],
    directory: Path,
    wrk: str | None,
) -> Record:
    if sys.platform != "linux":
        raise BenchmarkError("this needs Linux: MSG_TRUNC, and /proc for the accounts")
    if not chosen:
        raise BenchmarkError("there is nothing to measure")
    return Record(
        kind=kind,
        titles={candidate.name: candidate.title for candidate in chosen},
        environment=describe(directory, wrk),
        settings=settings,
    )


def _pins(wanted: bool) -> Pins:
    if not wanted:
        return Pins()
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < 2:
        raise BenchmarkError("--pin needs two CPUs")
    return Pins(server=cpus[0], client=cpus[1])


def _print(record: Record, *, markdown: bool) -> None:
    print(report.markdown(record) if markdown else f"\n{report.terminal(record)}")


_started: Final = time.monotonic()


def say(line: str) -> None:
    """Tell how things go."""
    print(f"[{time.monotonic() - _started:6.1f} s] {line}", file=sys.stderr, flush=True)

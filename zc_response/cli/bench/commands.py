"""What the commands do: each measures, then keeps and shows what came out."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

from zc_response.cli.bench import disks, plots, relay
from zc_response.cli.bench.candidates import (
    CANDIDATES,
    DEFAULT,
    LATENCY,
    Candidate,
    named,
    why_not,
)
from zc_response.cli.bench.charts import charts
from zc_response.cli.bench.churn import Churn, measure_churn, stack_candidates
from zc_response.cli.bench.cold import Cold, measure_cold
from zc_response.cli.bench.console import Teller, say, show, telling
from zc_response.cli.bench.crowd import Crowd, measure_crowd
from zc_response.cli.bench.environment import describe
from zc_response.cli.bench.errors import BenchmarkError
from zc_response.cli.bench.files import MIB, format_size, make_files, make_sparse_file
from zc_response.cli.bench.lending import (
    TITLES as LENDING_WAYS,
    Lending,
    measure_lending,
    number_of_turns as number_of_lendings,
    why_not as why_no_link,
)
from zc_response.cli.bench.load import SMALL, choose_load, find_wrk
from zc_response.cli.bench.markdown import markdown
from zc_response.cli.bench.page import page
from zc_response.cli.bench.page_cache import WAYS, PageCache, measure_page_cache
from zc_response.cli.bench.ranges import Ranges, measure_ranges
from zc_response.cli.bench.records import (
    Kind,
    Record,
    default_directory,
    in_directory,
    load,
    newest,
    path_in,
    save,
)
from zc_response.cli.bench.rounds import (
    TINY,
    Bench,
    Pins,
    measure_memory,
    measure_throughput,
)
from zc_response.cli.bench.stalled import Stalled, measure_stalled
from zc_response.cli.bench.strategies import (
    TITLES,
    Strategies,
    measure_strategies,
    number_of_turns,
)
from zc_response.cli.bench.writers import Writers, level_candidates, measure_writers

PAGE: Final = "report.html"
WRITTEN: Final = ("ext4", "xfs", "btrfs", "tmpfs", "overlay")
"""Filesystems with leases."""
FAR_SECONDS: Final = 100_000.0
"""The most that a connection to another host may last: the longest churn."""
ROOM: Final = 512 * MIB
"""A disk of that size, which is sparse, suits every filesystem."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Common:
    """What all scenarios are told."""

    names: Sequence[str] | None
    """The candidates; None for the scenario's own choice."""
    directory: Path
    """Where files are made, and removed again."""
    output: Path
    """The directory of the records."""
    markdown: bool = False


def output_directory() -> Path:
    """Where records go unless the user says otherwise."""
    return default_directory(datetime.now(), Path())


# The scenarios ---------------------------------------------------------------------


def throughput(
    common: Common,
    *,
    sizes: Sequence[int],
    rounds: int,
    seconds: float,
    connections: int,
    wrk: str | None,
    pin: bool,
) -> int:
    """Measure speed and CPU cost."""
    program = find_wrk(wrk)
    loads = {size: choose_load(size, seconds, connections, program) for size in sizes}
    if program is None and min(sizes) < SMALL:
        say("wrk is not installed (Debian: apt install wrk): a slower client is used")
    chosen = _able(common, DEFAULT, lambda each: any(map(each.serves, sizes)))
    settings = {"rounds": rounds, "seconds": seconds, "pinned": pin}
    record = _record("throughput", chosen, settings, common, program)
    pins = _pins(pin)
    _warn_of_pacing(record)

    def measure(bench: Bench) -> None:
        _make_files(bench, sizes)
        measure_throughput(bench, record, chosen, loads, rounds)

    turns = rounds * sum(each.serves(size) for each in chosen for size in sizes)
    _measure(common, record, turns, measure, pins)
    return 1 if record.failures else 0


def ranges(
    common: Common,
    *,
    last: int,
    size: int,
    seconds: float,
    rounds: int,
    wrk: str | None,
) -> int:
    """Measure ranges at the end of a large file."""
    if last > size:
        raise BenchmarkError("--last: the file is not that large")
    program = find_wrk(wrk)
    if program is None:
        raise BenchmarkError("this needs wrk (Debian: apt install wrk)")
    chosen = _able(common, LATENCY, lambda each: each.serves(size))
    record = _record("ranges", chosen, {"rounds": rounds}, common, program)
    setup = Ranges(wrk=program, last=last, size=size, seconds=seconds, rounds=rounds)

    def measure(bench: Bench) -> None:
        _make_files(bench, [size])
        measure_ranges(bench, record, chosen, setup)

    return _measure(common, record, rounds * len(chosen), measure)


def memory(common: Common, *, size: int, limit: int) -> int:
    """Check that a large file does not pass through a server's memory."""
    chosen = _able(common, DEFAULT, lambda each: each.serves(size))
    record = _record("memory", chosen, {"limit": limit}, common)

    def measure(bench: Bench) -> None:
        _make_files(bench, [TINY, size])
        measure_memory(bench, record, chosen, size)

    _measure(common, record, len(chosen), measure)
    grown = [each for each in record.samples if each.rss_growth > limit]
    return 1 if record.failures or grown else 0


def cold(
    common: Common,
    *,
    filesystems: Sequence[str] | None,
    size: int,
    rate: float,
    rounds: int,
) -> int:
    """Measure what quick requests notice of a slow disk."""
    usable = _usable(filesystems)
    setup = Cold(filesystems=usable, size=size, rate=rate, rounds=rounds)
    chosen = _able(common, LATENCY)
    settings = {
        "file": format_size(size),
        "disk MB/s": rate / 1e6,
        "rounds": rounds,
    }
    record = _record("cold", chosen, settings, common)

    def measure(bench: Bench) -> None:
        _make_files(bench, [TINY])
        measure_cold(bench, record, chosen, setup, common.directory)

    turns = rounds * len(chosen) * len(usable)
    return _measure(common, record, turns, measure)


def crowd(
    common: Common, *, downloads: int, size: int, seconds: float, rounds: int
) -> int:
    """Measure whether a server shares its time fairly."""
    setup = Crowd(downloads=downloads, size=size, seconds=seconds, rounds=rounds)
    chosen = _able(common, LATENCY, lambda each: each.serves(size))
    settings = {"file": format_size(size), "seconds": seconds, "rounds": rounds}
    record = _record("crowd", chosen, settings, common)
    _warn_of_pacing(record)

    def measure(bench: Bench) -> None:
        _make_files(bench, [TINY, size])
        measure_crowd(bench, record, chosen, setup)

    return _measure(common, record, rounds * len(chosen), measure)


def stalled(
    common: Common,
    *,
    clients: int,
    size: int,
    seconds: float,
    rounds: int,
    read: int,
) -> int:
    """Measure what clients cost that read nothing."""
    setup = Stalled(
        clients=clients, size=size, seconds=seconds, rounds=rounds, read=read
    )
    chosen = _able(common, LATENCY, lambda each: each.serves(size))
    settings = {"file": format_size(size), "rounds": rounds}
    record = _record("stalled", chosen, settings, common)

    def measure(bench: Bench) -> None:
        _make_files(bench, [TINY, size] if read else [TINY])
        if not read:
            make_sparse_file(bench.files, size)
        measure_stalled(bench, record, chosen, setup)

    return _measure(common, record, rounds * len(chosen), measure)


def churn(
    common: Common,
    *,
    stacks: Sequence[str],
    responses: int,
    seconds: float,
    integrity: str,
    sizes: Sequence[int],
    filesystem: str | None,
    remote: bool,
) -> int:
    """Count what clients get of files that are written to."""
    missing = filesystem and disks.why_not(filesystem, slow=False)
    if missing:
        raise BenchmarkError(f"{filesystem}: {missing}")
    _check_remote(remote)
    setup = Churn(
        responses=-(-responses // len(stacks)),
        seconds=seconds / len(stacks),
        sizes=sizes,
        integrity=integrity,
    )
    chosen = stack_candidates(stacks, integrity)
    settings = {"files": ", ".join(map(format_size, sizes))}
    record = _record("churn", chosen, settings, common)

    def measure(bench: Bench) -> None:
        with (
            _place(bench, filesystem, common.directory, sum(sizes)) as (there, name),
            _far_away(there, remote) as (server_side, inside),
        ):
            _make_files(there, [TINY])
            far = replace(setup, inside=inside)
            measure_churn(server_side, record, chosen, far, name)

    return _measure(common, record, len(chosen), measure)


def writers(
    common: Common,
    *,
    stalled: int,
    downloads: int,
    levels: Sequence[str],
    filesystems: Sequence[str] | None,
    size: int,
    seconds: float,
    rounds: int,
    remote: bool,
) -> int:
    """Measure how long a writer waits for a file that is being sent."""
    kinds: Sequence[str | None] = (None,)  # the directory, where no disk can be made
    if filesystems or any(not disks.why_not(each, slow=False) for each in WRITTEN):
        kinds = _usable(filesystems, WRITTEN, slow=False)
    _check_remote(remote)
    chosen = level_candidates(levels)
    setup = Writers(
        stalled=stalled,
        downloads=downloads,
        size=size,
        seconds=seconds,
        rounds=rounds,
    )
    settings = {"file": format_size(size), "rounds": rounds}
    record = _record("writers", chosen, settings, common)

    def measure(bench: Bench) -> None:
        for kind in kinds:
            with (
                _place(bench, kind, common.directory, size) as (there, name),
                _far_away(there, remote) as (server_side, inside),
            ):
                _make_files(there, [TINY, size])
                far = replace(setup, inside=inside)
                measure_writers(server_side, record, chosen, far, name)

    turns = (rounds + 1) * len(chosen) * len(kinds)
    return _measure(common, record, turns, measure)


def strategies(
    common: Common, *, sizes: Sequence[int], rounds: int, seconds: float
) -> int:
    """Measure the strategies themselves, without a server."""
    setup = Strategies(sizes=sizes, rounds=rounds, seconds=seconds)
    record = Record(
        kind="strategies",
        titles=dict(TITLES),
        environment=describe(common.directory, None),
        settings={"rounds": rounds, "seconds": seconds},
    )
    _warn_of_pacing(record)

    def measure(bench: Bench) -> None:
        _make_files(bench, sizes)
        measure_strategies(bench, record, setup)

    return _measure(common, record, number_of_turns(setup), measure)


def page_cache(common: Common, *, size: int, rounds: int) -> int:
    """Measure what a huge download leaves in the page cache, without a server."""
    record = Record(
        kind="page-cache",
        titles={name: way.title for name, way in WAYS.items()},
        environment=describe(common.directory, None),
        settings={"rounds": rounds},
    )
    _warn_of_pacing(record)
    measure = partial(
        measure_page_cache,
        record=record,
        setup=PageCache(size=size, rounds=rounds),
    )
    return _measure(common, record, rounds * len(WAYS), measure)


def lending(
    common: Common,
    *,
    sizes: Sequence[int],
    links: Sequence[str],
    rounds: int,
    seconds: float,
) -> int:
    """Measure what it costs to lend memory to the kernel, and to have it copied."""
    for link in links:
        if missing := why_no_link(link):
            raise BenchmarkError(f"--links {link}: {missing}")
    setup = Lending(sizes=sizes, links=links, rounds=rounds, seconds=seconds)
    record = Record(
        kind="lending",
        titles=dict(LENDING_WAYS),
        environment=describe(common.directory, None),
        settings={"rounds": rounds, "seconds": seconds},
    )
    _warn_of_pacing(record)

    def measure(bench: Bench) -> None:
        measure_lending(bench, record, setup)

    return _measure(common, record, number_of_lendings(setup), measure)


@contextmanager
def _far_away(bench: Bench, wanted: bool) -> Iterator[tuple[Bench, Sequence[str]]]:
    """The bench, and what clients are run by: on another host, if that is wanted."""
    if not wanted:
        yield bench, ()
        return
    with relay.remote(FAR_SECONDS) as there:
        yield replace(bench, host=there.host), there.inside


def _check_remote(wanted: bool) -> None:
    if wanted and (missing := relay.why_not()):
        raise BenchmarkError(f"--remote: {missing}")


@contextmanager
def _place(
    bench: Bench, filesystem: str | None, directory: Path, size: int
) -> Iterator[tuple[Bench, str]]:
    """The bench with its files on a filesystem of that kind, and its name."""
    if filesystem is None:
        yield bench, describe(directory, None).get("filesystem", "files")
        return
    bench.say(f"making a disk with {filesystem}")
    with disks.plain_disk(filesystem, ROOM + 4 * size, directory) as disk:
        yield replace(bench, files=disk.path), filesystem


# Reports ---------------------------------------------------------------------------


def report(
    paths: Sequence[Path],
    *,
    baselines: Sequence[str] | None,
    as_markdown: bool,
    html: Path | None,
    svg: Path | None,
) -> int:
    """Show records, and write what else is asked for."""
    records = read_all(paths or [newest(Path())])
    for record in records:
        record.baselines = list(baselines or record.baselines)
    for record in records:
        _print(record, as_markdown=as_markdown)
    if html is not None:
        write_page(records, html)
        say(f"written: {html}")
    if svg is not None:
        write_plots(records, svg)
    return 0


def read_all(paths: Sequence[Path]) -> list[Record]:
    """The records of these files and directories."""
    files = [
        file
        for path in paths
        for file in (in_directory(path) if path.is_dir() else [path])
    ]
    if not files:
        raise BenchmarkError(f"there is no record in {', '.join(map(str, paths))}")
    return list(map(load, files))


def write_page(records: Sequence[Record], path: Path) -> None:
    """Write the HTML page of some records."""
    draw = plots.draw if plots.available() else None
    path.write_text(page(records, draw))


def write_plots(records: Sequence[Record], directory: Path) -> None:
    """Write each plot of some records as an SVG file."""
    if not plots.available():
        raise BenchmarkError("--svg needs matplotlib: pip install 'zc-response[bench]'")
    if len({record.kind for record in records}) < len(records):
        raise BenchmarkError("--svg needs records of different scenarios")
    directory.mkdir(parents=True, exist_ok=True)
    for chart in charts(records):
        path = directory / f"{chart.name}.svg"
        path.write_text(plots.standalone(plots.draw(chart)))
        say(f"written: {path}")


def list_candidates() -> int:
    """List the candidates."""
    for candidate in CANDIDATES.values():
        note = "" if candidate.name in DEFAULT else " (not by default)"
        if candidate.largest is not None:
            note += f" (up to {format_size(candidate.largest)})"
        obstacle = why_not(candidate)
        print(f"{candidate.name:<24} {candidate.title}{note}")
        if obstacle:
            print(f"{'':<24} cannot run: {obstacle}")
    return 0


# What they share -------------------------------------------------------------------


def _measure(
    common: Common,
    record: Record,
    turns: int,
    measure: Callable[[Bench], None],
    pins: Pins | None = None,
) -> int:
    """Measure, then keep and show what there is, come what may."""
    try:
        with (
            _temporary(common.directory) as name,
            telling(record.kind, turns) as teller,
        ):
            measure(_bench(Path(name), teller, pins or Pins()))
    finally:
        if not record.is_empty():
            _keep(common, record)
    return 1 if record.failures else 0


def _bench(temporary: Path, teller: Teller, pins: Pins) -> Bench:
    files = temporary / "files"
    files.mkdir()
    return Bench(
        files=files,
        scratch=temporary / "servers",
        pins=pins,
        say=teller.say,
        advance=teller.advance,
    )


def _make_files(bench: Bench, sizes: Sequence[int]) -> None:
    bench.say(f"making files: {', '.join(map(format_size, sizes))}")
    make_files(bench.files, list(dict.fromkeys(sizes)))


def _keep(common: Common, record: Record) -> None:
    path = path_in(common.output, record)
    save(record, path)
    write_page(read_all([common.output]), common.output / PAGE)
    _print(record, as_markdown=common.markdown)
    say(f"kept in {path}, with {PAGE} beside it")


def _print(record: Record, *, as_markdown: bool) -> None:
    if as_markdown:
        print(markdown(record), end="\n\n")
    else:
        show(record)


def _temporary(directory: Path) -> tempfile.TemporaryDirectory[str]:
    try:
        return tempfile.TemporaryDirectory(prefix="zc-bench-", dir=directory)
    except OSError as exc:
        raise BenchmarkError(f"--directory {directory}: {exc.strerror}") from exc


def _able(
    common: Common,
    default: Sequence[str],
    fits: Callable[[Candidate], bool] = lambda candidate: True,
) -> list[Candidate]:
    return [each for each in _chosen(common.names, default) if fits(each)]


def _chosen(names: Sequence[str] | None, default: Sequence[str]) -> list[Candidate]:
    """The candidates that were named, or all of the default ones that can run."""
    if names is not None:
        return named(names)
    chosen = []
    for candidate in map(CANDIDATES.__getitem__, default):
        obstacle = why_not(candidate)
        if obstacle:
            say(f"{candidate.name} is left out: {obstacle}")
        else:
            chosen.append(candidate)
    return chosen


def _usable(
    filesystems: Sequence[str] | None,
    kinds: Sequence[str] = disks.KINDS,
    *,
    slow: bool = True,
) -> tuple[str, ...]:
    """The filesystems that were named, or all of `kinds` that can be had here.

    FUSE, which sleeps by itself, stands in where no other can be made slow.
    """
    obstacles = {kind: disks.why_not(kind, slow=slow) for kind in filesystems or kinds}
    usable = tuple(kind for kind, obstacle in obstacles.items() if not obstacle)
    lines = [f"{kind}: {obstacle}" for kind, obstacle in obstacles.items() if obstacle]
    if not usable or (filesystems and lines):
        raise BenchmarkError("; ".join(lines))
    for line in lines:
        say(f"left out: {line}")
    return usable


def _record(
    kind: Kind,
    chosen: Sequence[Candidate],
    settings: dict[str, Any],
    common: Common,
    wrk: str | None = None,
) -> Record:
    if sys.platform != "linux":
        raise BenchmarkError("this needs Linux: MSG_TRUNC, and /proc for the accounts")
    if not chosen:
        raise BenchmarkError("there is nothing to measure")
    return Record(
        kind=kind,
        titles={candidate.name: candidate.title for candidate in chosen},
        environment=describe(common.directory, wrk),
        settings=settings,
    )


def _warn_of_pacing(record: Record) -> None:
    if record.environment.get("congestion control") == "bbr":
        say("bbr paces loopback, too: --congestion-control reno shows more")


def _pins(wanted: bool) -> Pins:
    if not wanted:
        return Pins()
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < 2:
        raise BenchmarkError("--pin needs two CPUs")
    return Pins(server=cpus[0], client=cpus[1])

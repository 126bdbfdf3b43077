"""The command line of `zc-response bench`: its options and its exit status.

0: all went well; 1: a candidate failed or grew too much; 2: nothing was measured.
"""

from __future__ import annotations

import functools
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import click

from zc_response.cli.bench import commands
from zc_response.cli.bench.churn import STACKS, WORKERS
from zc_response.cli.bench.commands import Common
from zc_response.cli.bench.errors import BenchmarkError
from zc_response.cli.bench.files import GIB, KIB, MIB, format_size, parse_size
from zc_response.cli.bench.namespace import use
from zc_response.cli.bench.writers import LEVELS

SIZES: Final = "1GiB,1MiB,64KiB,4KiB"
NOTHING_MEASURED: Final = 2
INTERRUPTED: Final = 130
Command = Callable[..., Any]


# Options and what they hold --------------------------------------------------------


def _size(context: click.Context, option: click.Parameter, text: str) -> int:
    """A size such as 64KiB, in bytes."""
    try:
        return parse_size(text)
    except ValueError as exc:
        raise click.BadParameter(str(exc)) from None


def _sizes(
    context: click.Context, option: click.Parameter, text: str
) -> tuple[int, ...]:
    """Sizes that are separated by commas, each of them once."""
    parts = _names(context, option, text) or ()
    return tuple(dict.fromkeys(_size(context, option, part) for part in parts))


def _names(
    context: click.Context, option: click.Parameter, text: str | None
) -> tuple[str, ...] | None:
    """Words that are separated by commas, each of them once."""
    if text is None:
        return None
    return tuple(dict.fromkeys(part.strip() for part in text.split(",")))


def size_option(name: str, default: int, text: str) -> Callable[[Command], Command]:
    """An option that takes a size."""
    shown = format_size(default).replace(" ", "")
    return click.option(
        name,
        callback=_size,
        default=shown,
        metavar="SIZE",
        show_default=True,
        help=text,
    )


def number_option(
    name: str, default: float, low: float, high: float, text: str
) -> Callable[[Command], Command]:
    """An option that takes a number: whole ones if its bounds are."""
    kind: click.IntRange | click.FloatRange = (
        click.IntRange(int(low), int(high))
        if isinstance(default, int)
        else click.FloatRange(low, high)
    )
    return click.option(name, type=kind, default=default, show_default=True, help=text)


integrity_option = click.option(
    "--integrity",
    type=click.Choice(("strict", "safe", "fast")),
    default="strict",
    show_default=True,
    help="What the servers promise.",
)

remote_option = click.option(
    "--remote", is_flag=True, help="Clients on another host, behind a TUN device."
)


# What all scenarios share ----------------------------------------------------------


def scenario(command: Command, *, compares: bool = True) -> Command:
    """Give a command the common options, and have it exit with its status.

    One that `compares` lets the user choose the candidates.
    """

    @functools.partial(_common_options, compares=compares)
    @functools.wraps(command)
    def run(
        *,
        candidates: tuple[str, ...] | None = None,
        directory: Path,
        output: Path | None,
        markdown: bool,
        congestion_control: str | None,
        **options: Any,
    ) -> None:
        with explained():
            use(congestion_control)
            common = Common(
                names=candidates,
                directory=directory,
                output=output or commands.output_directory(),
                markdown=markdown,
            )
            status = command(common, **options)
        raise click.exceptions.Exit(status)

    return run


own_scenario: Final = functools.partial(scenario, compares=False)
"""For a command that measures this package alone."""


def _common_options(
    command: Callable[..., None], *, compares: bool
) -> Callable[..., None]:
    options = (
        click.option(
            "--candidates",
            callback=_names,
            metavar="NAME,...",
            help="What to compare; `candidates` lists them.",
        ),
        click.option(
            "--directory",
            type=click.Path(file_okay=False, exists=True, path_type=Path),
            default=tempfile.gettempdir(),
            show_default=True,
            help="Where the files are made, and removed again.",
        ),
        click.option(
            "--output",
            type=click.Path(file_okay=False, path_type=Path),
            metavar="DIRECTORY",
            help="Where the records go.  [default: ./zc-bench-<date>]",
        ),
        click.option("--markdown", is_flag=True, help="Print Markdown tables."),
        click.option(
            "--congestion-control",
            metavar="NAME",
            help="Run in a network namespace with this one, for example reno.",
        ),
    )
    for option in reversed(options if compares else options[1:]):
        command = option(command)
    return command


@contextmanager
def explained() -> Iterator[None]:
    """Turn errors into a line and an exit status; stop servers on SIGTERM, too."""
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    except BenchmarkError as exc:
        print(f"error: {exc}", file=sys.stderr)
        raise click.exceptions.Exit(NOTHING_MEASURED) from exc
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        raise click.exceptions.Exit(INTERRUPTED) from None
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt  # so that servers are stopped and samples kept


# The commands ----------------------------------------------------------------------


@click.group()
def bench() -> None:
    """Measure how fast, and how cheaply, a file leaves each server.

    \b
    zc-response bench all                           everything, some thirty minutes
    zc-response bench all --quick                   a first impression, some minutes
    zc-response bench throughput --sizes 1MiB,1GiB --candidates nginx,stock,response
    zc-response bench report                        the newest records once more

    Each run leaves its samples as JSON and a page with plots, report.html, in a
    directory of its own. Figures from a busy or virtual machine vary; the ratios
    within a round vary less.
    """


@bench.command()
@click.option(
    "--sizes",
    callback=_sizes,
    default=SIZES,
    metavar="SIZE,...",
    show_default=True,
    help="The sizes of the files.",
)
@number_option("--rounds", 7, 1, 1000, "How often each candidate has its turn.")
@number_option("--seconds", 2.0, 0.05, 600.0, "The length of one turn.")
@number_option("--connections", 1, 1, 64, "Connections for files of 1MiB and more.")
@click.option("--wrk", metavar="PROGRAM", help="Where wrk is, if not on PATH.")
@click.option("--pin", is_flag=True, help="Servers and clients on one CPU each.")
@scenario
def throughput(common: Common, **options: Any) -> int:
    """Speed and CPU cost, the files in the page cache."""
    return commands.throughput(common, **options)


@bench.command()
@size_option("--last", 64 * KIB, "How many bytes are asked for.")
@size_option("--size", GIB, "The size of the file that they are the end of.")
@number_option("--seconds", 5.0, 1.0, 600.0, "The length of one turn.")
@number_option("--rounds", 3, 1, 1000, "How often each candidate has its turn.")
@click.option("--wrk", metavar="PROGRAM", help="Where wrk is, if not on PATH.")
@scenario
def ranges(common: Common, **options: Any) -> int:
    """Ranges at the end of a large file: does a server read what lies before?"""
    return commands.ranges(common, **options)


@bench.command()
@size_option("--size", GIB, "The size of the file.")
@size_option("--limit", 8 * MIB, "The growth that is too much.")
@scenario
def memory(common: Common, **options: Any) -> int:
    """Memory growth while one large file is served."""
    return commands.memory(common, **options)


@bench.command()
@click.option(
    "--filesystems",
    callback=_names,
    metavar="NAME,...",
    help="Of ext4, xfs, btrfs, overlay and fuse.  [default: all that can be had]",
)
@size_option("--size", 32 * MIB, "The size of the cold file.")
@number_option("--rate", 10.0, 0.1, 10_000.0, "The disk's rate, in MB/s.")
@number_option("--rounds", 3, 1, 1000, "How often each candidate has its turn.")
@scenario
def cold(common: Common, *, rate: float, **options: Any) -> int:
    """Quick requests while a file comes from a slow disk.

    Needs root and cgroups to slow a disk down; without them, a FUSE filesystem that
    sleeps.
    """
    return commands.cold(common, rate=rate * 1e6, **options)


@bench.command()
@number_option("--downloads", 100, 1, 1000, "How many downloads at once.")
@size_option("--size", GIB, "The size of the file.")
@number_option("--seconds", 10.0, 0.1, 600.0, "The length of one turn.")
@number_option("--rounds", 3, 1, 1000, "How often each candidate has its turn.")
@scenario
def crowd(common: Common, **options: Any) -> int:
    """Quick requests amid many downloads; whether a download starves."""
    return commands.crowd(common, **options)


@bench.command()
@number_option("--stalled", 10_000, 1, 100_000, "How many clients.")
@size_option("--size", 64 * MIB, "The size of the file, sparse if none is read.")
@number_option("--seconds", 3.0, 0.1, 600.0, "How long quick requests are made.")
@number_option("--rounds", 1, 1, 1000, "How often each candidate has its turn.")
@number_option("--read", 0, 0, 100_000, "How many read to the end at last.")
@scenario
def stalled(common: Common, *, stalled: int, **options: Any) -> int:
    """Clients that ask for a large file and read nothing: what each one costs.

    With thousands of them some servers use up the memory that the kernel grants TCP:
    other connections of this machine can then be aborted.
    """
    return commands.stalled(common, clients=stalled, **options)


@bench.command()
@click.option(
    "--stacks",
    callback=_names,
    default=",".join(STACKS),
    metavar="NAME,...",
    show_default=True,
    help=f"uvicorn's protocols and loops; also gunicorn's {', '.join(WORKERS)}.",
)
@number_option("--responses", 1_000_000, 1, 100_000_000, "How many, over all stacks.")
@number_option("--seconds", 3600.0, 0.5, 100_000.0, "The most time it may take.")
@integrity_option
@click.option(
    "--sizes",
    callback=_sizes,
    default="4KiB,64KiB,300KiB,4MiB",
    metavar="SIZE,...",
    show_default=True,
    help="The sizes of the files.",
)
@click.option(
    "--filesystem",
    metavar="NAME",
    help="Of ext4, xfs, btrfs, tmpfs and overlay.  [default: that of --directory]",
)
@remote_option
@own_scenario
def churn(common: Common, **options: Any) -> int:
    """What clients get of files that others write to: is any of it a mixture?

    Files are overwritten, truncated, punched and replaced all the time; every byte of
    every body is checked.
    """
    return commands.churn(common, **options)


@bench.command()
@number_option("--stalled", 1000, 1, 100_000, "How many clients that read nothing.")
@number_option("--downloads", 1, 1, 1000, "How many clients that take what comes.")
@click.option(
    "--levels",
    callback=_names,
    default=",".join(LEVELS),
    metavar="NAME,...",
    show_default=True,
    help="Levels of integrity.",
)
@click.option(
    "--filesystems",
    callback=_names,
    metavar="NAME,...",
    help="Of ext4, xfs, btrfs, tmpfs and overlay.  [default: all that can be had]",
)
@size_option("--size", 64 * MIB, "The size of the file.")
@number_option("--seconds", 20.0, 0.1, 600.0, "How long it is opened amid downloads.")
@number_option("--rounds", 3, 1, 1000, "How often it is opened amid stalled clients.")
@remote_option
@own_scenario
def writers(common: Common, **options: Any) -> int:
    """How long somebody waits who opens a file for writing that is being sent.

    Makes a disk of each filesystem as root; else there is only --directory.
    """
    return commands.writers(common, **options)


@bench.command()
@click.option(
    "--sizes",
    callback=_sizes,
    default="4KiB,64KiB,1MiB,16MiB,1GiB",
    metavar="SIZE,...",
    show_default=True,
    help="The sizes of the files.",
)
@number_option("--rounds", 5, 1, 1000, "How often each strategy has its turn.")
@number_option("--seconds", 0.5, 0.01, 600.0, "The length of one turn.")
@own_scenario
def strategies(common: Common, **options: Any) -> int:
    """Each strategy against read and write: speed and CPU cost, hot and cold."""
    return commands.strategies(common, **options)


@bench.command(name="page-cache")
@size_option("--size", 10 * GIB, "The size of the file.")
@number_option("--rounds", 3, 1, 1000, "How often each way has its turn.")
@own_scenario
def page_cache(common: Common, **options: Any) -> int:
    """What a huge download leaves in the page cache: direct, cache=drop, sendfile."""
    return commands.page_cache(common, **options)


@bench.command()
@click.option(
    "--sizes",
    callback=_sizes,
    default="64KiB,1MiB,16MiB,256MiB",
    metavar="SIZE,...",
    show_default=True,
    help="The sizes of the bodies.",
)
@click.option(
    "--links",
    callback=_names,
    default="loopback,veth",
    metavar="LINK,...",
    show_default=True,
    help="What is between the two ends.",
)
@number_option("--rounds", 5, 1, 1000, "How often each way has its turn.")
@number_option("--seconds", 0.5, 0.01, 600.0, "The length of one turn.")
@own_scenario
def lending(common: Common, **options: Any) -> int:
    """Memory lent to the kernel (MSG_ZEROCOPY) against memory that it copies."""
    return commands.lending(common, **options)


@bench.command(name="all")
@click.option("--quick", is_flag=True, help="One short round of each.")
@scenario
def everything(common: Common, *, quick: bool) -> int:
    """Every scenario, into one directory and one page."""
    worst = 0
    chosen = [throughput, memory, cold, crowd, stalled]
    if not common.names:
        chosen += [churn, writers]  # of this package alone
    for command in chosen:
        own = (QUICK if quick else FULL).get(command.name or "", ())
        status: int = command.main([*own, *_as_given(common)], standalone_mode=False)
        worst = max(worst, status)
        if status == INTERRUPTED:
            break
    return worst


FULL: Final = {"churn": ("--responses=100000",)}
"""The options of everything, where they are not the command's own."""
QUICK: Final = {
    "throughput": ("--rounds=1", "--seconds=0.5", "--sizes=256MiB,1MiB,64KiB,4KiB"),
    "memory": ("--size=256MiB",),
    "cold": ("--rounds=1", "--size=8MiB"),
    "crowd": ("--rounds=1", "--seconds=2", "--size=256MiB"),
    "stalled": ("--stalled=500",),
    "churn": ("--responses=10000",),
    "writers": ("--stalled=200", "--rounds=1", "--seconds=2", "--size=16MiB"),
}
"""The options of a first impression."""


def _as_given(common: Common) -> list[str]:
    """The common options, as a command line has them."""
    return [
        f"--directory={common.directory}",
        f"--output={common.output}",
        *([f"--candidates={','.join(common.names)}"] if common.names else []),
        *(["--markdown"] if common.markdown else []),
    ]


@bench.command()
@click.argument("records", nargs=-1, type=click.Path(exists=True, path_type=Path))
@click.option("--markdown", is_flag=True, help="Print Markdown tables.")
@click.option(
    "--baselines",
    callback=_names,
    metavar="NAME,...",
    help="Whom to compare the others with.  [default: nginx,stock,in-memory]",
)
@click.option(
    "--html",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write one page with all of it.",
)
@click.option(
    "--svg",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIRECTORY",
    help="Write each plot as a file.",
)
def report(records: tuple[Path, ...], *, markdown: bool, **options: Any) -> None:
    """Show RECORDS, files or directories, once more; the newest if none is named."""
    with explained():
        commands.report(records, as_markdown=markdown, **options)


@bench.command()
def candidates() -> None:
    """List what can be compared, and what is missing."""
    with explained():
        commands.list_candidates()

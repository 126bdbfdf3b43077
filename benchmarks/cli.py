"""The command line: its options and its exit status."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

from benchmarks.candidates import DEFAULT
from benchmarks.commands import candidates, memory, show, throughput
from benchmarks.errors import BenchmarkError
from benchmarks.files import parse_size

T = TypeVar("T", int, float)

SIZES: Final = "1GiB,1MiB,64KiB,4KiB"
EPILOG: Final = """\
examples:
  python -m benchmarks                                  everything, some five minutes
  python -m benchmarks throughput --rounds 1 --sizes 1MiB
  python -m benchmarks throughput --sizes 1MiB,1GiB --candidates nginx,stock,response
  python -m benchmarks memory
  python -m benchmarks report --markdown                the newest record, for a README

Figures from a busy or virtual machine vary; the ratios within a round vary less.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit status.

    0: all went well; 1: a candidate failed or grew too much; 2: nothing was measured.
    """
    signal.signal(signal.SIGTERM, _interrupt)
    given = sys.argv[1:] if arguments is None else list(arguments)
    options = parser().parse_args(given or ["throughput"])
    command: Callable[[argparse.Namespace], int] = options.command
    try:
        return command(options)
    except BenchmarkError as exc:
        print(f"error: {exc}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt  # so that servers are stopped and samples kept


# Options ---------------------------------------------------------------------------


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measures how fast, and how cheaply, a file leaves each server.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = top.add_subparsers(metavar="COMMAND", required=True)
    _add_throughput(commands)
    _add_memory(commands)
    _add_report(commands)
    _add_candidates(commands)
    return top


def _add_throughput(commands: Any) -> None:
    add = _command(commands, "throughput", throughput, "speed and cost; the default")
    add(
        "--sizes",
        type=_sizes,
        default=SIZES,
        metavar="SIZE,...",
        help=f"file sizes {_default(SIZES)}",
    )
    _add_common(add)
    _add_number(add, "--rounds", int, 7, 1, 1000, "how often each has its turn")
    _add_number(add, "--seconds", float, 2.0, 0.05, 600.0, "length of one turn")
    _add_number(
        add, "--connections", int, 1, 1, 64, "keep-alive connections for 1MiB and more"
    )
    add("--wrk", metavar="PROGRAM", help="where wrk is (default: on PATH)")
    add(
        "--pin",
        action="store_true",
        help="bind the servers to one CPU and the clients to another",
    )


def _add_memory(commands: Any) -> None:
    add = _command(commands, "memory", memory, "memory growth while a file is served")
    add(
        "--size",
        type=_size,
        default="1GiB",
        metavar="SIZE",
        help=f"file size {_default('1GiB')}",
    )
    add(
        "--limit",
        type=_size,
        default="8MiB",
        metavar="SIZE",
        help=f"growth that is too much {_default('8MiB')}",
    )
    _add_common(add)


def _add_report(commands: Any) -> None:
    add = _command(commands, "report", show, "print a record again")
    add("record", nargs="?", type=Path, help="a JSON file (default: the newest)")
    _add_markdown(add)


def _add_candidates(commands: Any) -> None:
    _command(commands, "candidates", candidates, "list what can be compared")


def _command(
    commands: Any, name: str, function: Callable[..., int], text: str
) -> Callable[..., object]:
    own: argparse.ArgumentParser = commands.add_parser(
        name, help=text, description=text[0].upper() + text[1:]
    )
    own.set_defaults(command=function)
    return own.add_argument


def _add_common(add: Callable[..., object]) -> None:
    add(
        "--candidates",
        type=lambda text: text.split(","),
        metavar="NAME,...",
        help=f"what to compare {_default(','.join(DEFAULT))}",
    )
    add(
        "--directory",
        type=Path,
        default=Path(tempfile.gettempdir()),
        help="where the files are made, and removed again (default: %(default)s)",
    )
    add("--output", type=Path, help="the JSON record (default: in benchmarks/results)")
    _add_markdown(add)


def _add_markdown(add: Callable[..., object]) -> None:
    add("--markdown", action="store_true", help="print Markdown tables")


def _add_number(
    add: Callable[..., object],
    name: str,
    kind: type[T],
    default: T,
    low: T,
    high: T,
    text: str,
) -> None:
    def parse(given: str) -> T:
        number = kind(given)
        if not low <= number <= high:
            raise argparse.ArgumentTypeError(f"must be from {low} to {high}")
        return number

    parse.__name__ = "number"
    help_text = f"{text} {_default(default)}"
    add(name, type=parse, default=default, metavar="N", help=help_text)


def _default(value: object) -> str:
    return f"(default: {value})"


def _size(text: str) -> int:
    try:
        return parse_size(text)
    except ValueError as exc:
        raise argparse.ArgumentTypeError(str(exc)) from None


def _sizes(text: str) -> list[int]:
    return list(dict.fromkeys(_size(part) for part in text.split(",")))

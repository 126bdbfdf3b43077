"""Runs the benchmark again in a network namespace with another congestion control.

BBR paces each connection, on loopback too, and hides the differences between servers.
A namespace of one's own may use another algorithm, and nothing else notices.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NoReturn

from zc_response.cli.bench.errors import BenchmarkError, MissingError

VARIABLE: Final = "ZC_BENCH_NAMESPACE"
"""Set inside: the algorithm, so that it is entered only once."""
ALLOWED: Final = Path("/proc/sys/net/ipv4/tcp_allowed_congestion_control")
"""What a namespace may use: others are the machine's own only."""
SCRIPT: Final = """\
ip link set lo up || exit 2
echo "$1" >/proc/sys/net/ipv4/tcp_congestion_control || {
  echo "error: this system does not let us choose congestion control $1" >&2
  exit 2
}
shift
exec "$@"
"""


def use(algorithm: str | None) -> None:
    """Go on with this congestion control; does not return if it has to begin anew."""
    if algorithm is None or os.environ.get(VARIABLE) == algorithm:
        return
    check(algorithm, _allowed())
    for program in ("unshare", "ip", "sh"):
        if shutil.which(program) is None:
            raise MissingError(f"--congestion-control needs the program {program!r}")
    _enter(algorithm)


def check(algorithm: str, allowed: Sequence[str]) -> None:
    """Raise BenchmarkError for an algorithm that a namespace may not use."""
    if allowed and algorithm not in allowed:
        raise BenchmarkError(
            f"--congestion-control {algorithm}: allowed are {', '.join(allowed)} "
            f"({ALLOWED})"
        )


def _allowed() -> list[str]:
    try:
        return ALLOWED.read_text().split()
    except OSError:
        return []  # there is no telling


def _enter(algorithm: str) -> NoReturn:
    again = [sys.executable, "-m", "zc_response.cli", *sys.argv[1:]]
    line = command(algorithm, again, as_root=os.geteuid() == 0)
    try:
        os.execvpe(line[0], line, {**os.environ, VARIABLE: algorithm})
    except OSError as exc:
        raise BenchmarkError(f"unshare cannot run: {exc.strerror}") from exc


def command(algorithm: str, again: Sequence[str], *, as_root: bool) -> list[str]:
    """What makes the namespace and runs `again` in it."""
    new = "-n" if as_root else "-rn"
    return ["unshare", new, "sh", "-c", SCRIPT, "sh", algorithm, *again]

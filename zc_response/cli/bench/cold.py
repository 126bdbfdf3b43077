"""Quick requests while a file comes from a slow disk.

The file is on a disk that is held to a rate, and not in the page cache. What quick
requests notice of the download shows whether the server waits for the disk with its
event loop; the download's rate over the disk's shows what that costs.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from zc_response.cli.bench.candidates import Candidate
from zc_response.cli.bench.disks import Disk, slow_disk
from zc_response.cli.bench.files import MIB, make_cold_file
from zc_response.cli.bench.load import Discard, Target
from zc_response.cli.bench.probe import Quick, summary
from zc_response.cli.bench.procfs import Meter
from zc_response.cli.bench.records import Record
from zc_response.cli.bench.rounds import TINY, Bench, blaming, measure_each
from zc_response.cli.bench.servers import Server

DISK_SIZE: Final = 512 * MIB
"""Every filesystem can be made in so much; it is sparse."""
NAME: Final = "cold.bin"
TOO_SLOW: Final = 0.1
"""A download at less than this share of the disk's rate counts as hanging."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cold:
    """A cold download: from which filesystems, how large, and the disk's bytes/s."""

    filesystems: tuple[str, ...]
    size: int
    rate: float
    rounds: int


def measure_cold(
    bench: Bench,
    record: Record,
    candidates: Sequence[Candidate],
    cold: Cold,
    directory: Path,
) -> None:
    """Add to `record` what quick requests notice, on each filesystem."""
    for kind in cold.filesystems:
        bench.say(f"making a slow disk with {kind}")
        room = DISK_SIZE + 2 * cold.size
        with slow_disk(kind, room, int(cold.rate), directory) as disk:
            run = _Run(bench, cold, disk)
            run.make_file()
            measure_each(bench, record, candidates, cold.rounds, kind, run.measure)


class _Run:
    """The runs on one disk."""

    def __init__(self, bench: Bench, cold: Cold, disk: Disk) -> None:
        self._bench = bench
        self._cold = cold
        self._file = disk.path / NAME
        self._disk = disk

    def make_file(self) -> None:
        """Put the file on the slow disk; a link to it among the files that are served.

        The quick requests' file stays where it is fast.
        """
        make_cold_file(self._file, self._cold.size)
        link = self._bench.files / NAME
        link.unlink(missing_ok=True)
        link.symlink_to(self._file)

    def measure(self, candidate: Candidate, number: int) -> dict[str, float]:
        """Measure one download."""
        with self._bench.warm(candidate) as server:
            self._disk.drop_caches(self._file)
            with blaming(server):
                return self._download(server)

    def _download(self, server: Server) -> dict[str, float]:
        cold = self._cold
        slowest = cold.rate * TOO_SLOW
        meter = Meter(server.pid)
        quick = Quick(
            target=self._bench.target(server, TINY), seconds=cold.size / slowest
        )
        load = Discard(seconds=0, warm_up=False, slowest=slowest)
        target = Target(port=server.port, path=server.path(NAME), size=cold.size)
        with closing(quick.helper()) as probe:
            probe.wait_until_ready()
            probe.go()
            traffic = load.run(target, meter)
            probe.go()
            found = summary(probe.result())
        return {
            **found,
            "share": traffic.body_bytes / traffic.seconds / cold.rate,
            "seconds": traffic.seconds,
            "cpu": meter.usage.cpu_seconds,
        }

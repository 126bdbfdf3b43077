"""What was measured: samples, and the JSON file they are kept in.

The file holds every sample; every table is made from it, so no figure is typed by hand.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Final, Literal, get_args

from zc_response.cli.bench.candidates import BASELINES
from zc_response.cli.bench.errors import BenchmarkError

FORMAT: Final = 1

Kind = Literal[
    "throughput",
    "ranges",
    "memory",
    "cold",
    "crowd",
    "stalled",
    "churn",
    "writers",
    "strategies",
    "page-cache",
    "lending",
]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
PREFIX: Final = "zc-bench-"
"""How the directory of a run begins."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One run of one candidate with one file."""

    candidate: str
    size: int
    round: int
    client: str
    connections: int
    requests: int
    body_bytes: int
    seconds: float
    """As the client saw it."""
    cpu_seconds: float
    """The server's, user and system, over all its processes."""
    rss_before: int
    rss_peak: int

    @property
    def megabytes_per_second(self) -> float:
        """Throughput; a megabyte is a million bytes."""
        return self.body_bytes / 1e6 / self.seconds

    @property
    def requests_per_second(self) -> float:
        """Requests per second."""
        return self.requests / self.seconds

    @property
    def cpu_per_gigabyte(self) -> float:
        """The server's CPU seconds for a thousand million bytes of bodies."""
        return self.cpu_seconds / (self.body_bytes / 1e9)

    @property
    def cpu_per_request(self) -> float:
        """The server's CPU microseconds for one request."""
        return self.cpu_seconds * 1e6 / self.requests

    @property
    def rss_growth(self) -> int:
        """How far the server's memory rose during the run, in bytes."""
        return max(0, self.rss_peak - self.rss_before)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One run of one candidate with many clients: what was counted in it."""

    candidate: str
    place: str
    """Where or with how many it ran: a filesystem, "100 downloads"."""
    round: int
    values: dict[str, float]
    """Seconds, bytes or counts, by the keys of `figures.GROUPS`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A candidate that could not be measured to the end, and why."""

    candidate: str
    size: int | None
    """None if its server did not even start."""
    reason: str


@dataclass(slots=True, kw_only=True)
class Record:
    """One benchmark: where it ran, how, and what came out."""

    kind: Kind
    titles: dict[str, str]
    """What each candidate is called in tables, in their order."""
    environment: dict[str, str]
    settings: dict[str, Any]
    date: str = field(
        default_factory=lambda: datetime.now(timezone.utc).isoformat(timespec="seconds")
    )
    baselines: list[str] = field(default_factory=lambda: list(BASELINES))
    """Whom its tables compare the others with."""
    samples: list[Sample] = field(default_factory=list)
    measurements: list[Measurement] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)

    def sizes(self) -> list[int]:
        """The sizes that were measured, in their order."""
        return list(dict.fromkeys(sample.size for sample in self.samples))

    def places(self) -> list[str]:
        """The places that were measured, in their order."""
        return list(dict.fromkeys(each.place for each in self.measurements))

    def values(self, candidate: str, place: str, key: str) -> list[float]:
        """One quantity of one candidate, over the rounds."""
        found = self.at(candidate, place)
        return [each.values[key] for each in found if key in each.values]

    def at(self, candidate: str, place: str) -> list[Measurement]:
        """The measurements of one candidate at one place."""
        return [
            each
            for each in self.measurements
            if (each.candidate, each.place) == (candidate, place)
        ]

    def is_empty(self) -> bool:
        """True if it tells nothing."""
        return not (self.samples or self.measurements or self.failures)

    def fail(self, candidate: str, size: int | None, reason: str) -> None:
        """Note a failure."""
        failure = Failure(candidate=candidate, size=size, reason=reason)
        self.failures.append(failure)

    def of(self, candidate: str, size: int) -> list[Sample]:
        """The samples of one candidate with one file."""
        return [
            sample
            for sample in self.samples
            if (sample.candidate, sample.size) == (candidate, size)
        ]

    def with_size(self, size: int) -> list[Sample]:
        """The samples with one file."""
        return [sample for sample in self.samples if sample.size == size]


def save(record: Record, path: Path) -> None:
    """Write a record."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"format": FORMAT, **asdict(record)}, indent=1) + "\n")


def load(path: Path) -> Record:
    """Read a record. Raises BenchmarkError if it is not one."""
    try:
        document = json.loads(path.read_text())
        if document.pop("format") != FORMAT:
            raise BenchmarkError(f"{path} is of another version")
        document["samples"] = [Sample(**sample) for sample in document["samples"]]
        document["measurements"] = [
            Measurement(**each) for each in document.get("measurements", [])
        ]
        document["failures"] = [Failure(**item) for item in document["failures"]]
        return Record(**document)
    except OSError as exc:
        raise BenchmarkError(f"{path}: {exc.strerror}") from exc
    except (AttributeError, KeyError, TypeError, ValueError) as exc:
        raise BenchmarkError(f"{path} is not a benchmark's record") from exc


def default_directory(moment: datetime, beside: Path) -> Path:
    """Where records go unless the user says otherwise."""
    return beside / f"{PREFIX}{moment:%Y-%m-%dT%H%M%S}"


def path_in(directory: Path, record: Record) -> Path:
    """Where a record lies among those of one run."""
    return directory / f"{record.kind}.json"


def in_directory(directory: Path) -> list[Path]:
    """The records of one run, in the order of `KINDS`."""
    paths = [directory / f"{kind}.json" for kind in KINDS]
    return [path for path in paths if path.is_file()]


def newest(beside: Path) -> Path:
    """The directory of the last run."""
    runs = [path for path in beside.glob(f"{PREFIX}*") if in_directory(path)]
    if not runs:
        raise BenchmarkError(f"there is no record in {beside}: name one")
    return max(runs, key=lambda path: path.name)

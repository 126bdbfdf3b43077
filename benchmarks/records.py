"""What was measured: samples, and the JSON file they are kept in.

The file holds every sample; every table is made from it, so no figure is typed by hand.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Final, Literal

from benchmarks.errors import BenchmarkError

FORMAT: Final = 1
RESULTS: Final = Path(__file__).with_name("results")

Kind = Literal["throughput", "memory"]


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
    samples: list[Sample] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)

    def sizes(self) -> list[int]:
        """The sizes that were measured, in their order."""
        return list(dict.fromkeys(sample.size for sample in self.samples))

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
        document["failures"] = [Failure(**item) for item in document["failures"]]
        return Record(**document)
    except OSError as exc:
        raise BenchmarkError(f"{path}: {exc.strerror}") from exc
    except (AttributeError, KeyError, TypeError, ValueError) as exc:
        raise BenchmarkError(f"{path} is not a benchmark's record") from exc


def default_path(record: Record) -> Path:
    """Where a record goes unless the user says otherwise."""
    moment = datetime.fromisoformat(record.date)
    return RESULTS / f"{record.kind}-{moment:%Y-%m-%dT%H%M%S}.json"


def newest(records: Iterable[Path] | None = None) -> Path:
    """The record written last."""
    known = RESULTS.glob("*.json") if records is None else records
    try:
        return max(known, key=lambda path: path.stat().st_mtime)
    except ValueError:
        raise BenchmarkError(f"there is no record in {RESULTS} yet") from None

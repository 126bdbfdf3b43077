"""Records such as the benchmark makes, in figures that are easy to check."""

from __future__ import annotations

from typing import Any

from zc_response.cli.bench.files import GIB, KIB, MIB
from zc_response.cli.bench.records import Kind, Measurement, Record, Sample

NAMES = ("nginx", "stock", "response")


def sample(candidate: str = "stock", **changes: Any) -> Sample:
    """One second of a MB/s for a tenth of a CPU second, unless told otherwise."""
    facts: dict[str, Any] = {
        "candidate": candidate,
        "size": MIB,
        "round": 0,
        "client": "discarding client",
        "connections": 1,
        "requests": 1,
        "body_bytes": 1_000_000,
        "seconds": 1.0,
        "cpu_seconds": 0.1,
        "rss_before": 10 * MIB,
        "rss_peak": 11 * MIB,
    }
    return Sample(**{**facts, **changes})


def record(kind: Kind = "throughput", **changes: Any) -> Record:
    """A record of all candidates without a sample."""
    facts: dict[str, Any] = {
        "kind": kind,
        "titles": {name: f"the {name} one" for name in NAMES},
        "environment": {"kernel": "Linux 6", "cpu": "a CPU <fast>"},
        "settings": {"rounds": 2, "pinned": False, "limit": 8 * MIB},
        "date": "2026-01-02T03:04:05+00:00",
    }
    return Record(**{**facts, **changes})


def throughput() -> Record:
    """Two rounds: `response` is four, then six times as fast as `stock`."""
    samples = [
        sample(name, size=size, round=number, body_bytes=int(speed * 1e6))
        for size in (GIB, 4 * KIB)
        for name, speeds in {"stock": (100, 50), "response": (400, 300)}.items()
        for number, speed in enumerate(speeds)
    ]
    return record(samples=samples)


def latency(kind: Kind, place: str = "ext4") -> Record:
    """One round of all candidates with many clients; latencies of 1, 5 and 9 ms."""
    values = {"p50": 0.001, "p99": 0.005, "max": 0.009, "share": 0.9, "cpu": 0.2}
    values |= {"rate": 5e8, "least": 0.75, "cpu_per_byte": 1e-10}
    values |= {
        "stalled": 100,
        "descriptors": 1.0,
        "resident": 20.0 * KIB,
        "tcp": 250.0 * KIB,
    }
    values |= {"resident": 20.0 * KIB, "tcp": 250.0 * KIB, "back": 0.5}
    values |= {"client_tcp": 100.0 * KIB}
    values |= {"whole": 90, "spoilt": 0}
    values |= {"responses": 1_234_567, "mixtures": 0, "openings": 3}
    measurements = [
        Measurement(candidate=name, place=place, round=0, values=values)
        for name in NAMES
    ]
    return record(kind, measurements=measurements)


def everything() -> list[Record]:
    """A record of each kind."""
    memory = record("memory", samples=[sample(name) for name in NAMES])
    kinds: tuple[Kind, ...] = (
        *("cold", "crowd", "stalled", "churn", "writers", "strategies"),
        *("page-cache", "lending"),
    )
    others = [latency(kind) for kind in kinds]
    return [throughput(), latency("ranges"), memory, *others]

"""Pure functions of numbers: no clock, no file, no process.

The figures of one round belong together: its runs followed each other closely, so they
met the same mood of the machine. Ratios are therefore taken within a round, and their
median is reported; a ratio of medians would compare runs that are minutes apart.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """The middle and the ends of some figures."""

    median: float
    low: float
    high: float


def summarize(figures: Iterable[float]) -> Summary | None:
    """The median, the least and the greatest; None of nothing."""
    known = list(figures)
    if not known:
        return None
    return Summary(median=statistics.median(known), low=min(known), high=max(known))


def percentile(figures: Sequence[float], share: float) -> float:
    """The least of the figures that `share` of them (0 to 1) do not exceed."""
    ordered = sorted(figures)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def least_share(figures: Sequence[float]) -> float:
    """The least figure over their mean: 1 if all are alike, 0 if one got nothing."""
    mean = statistics.fmean(figures)
    return min(figures) / mean if mean else 0.0


def ratios(ours: Mapping[int, float], theirs: Mapping[int, float]) -> list[float]:
    """The ratio ours / theirs of each round that holds both."""
    return [
        figure / theirs[number] for number, figure in ours.items() if theirs.get(number)
    ]


def median_ratio(
    ours: Mapping[int, float], theirs: Mapping[int, float]
) -> float | None:
    """The median of the ratios within the rounds; None if no round holds both."""
    found = ratios(ours, theirs)
    return statistics.median(found) if found else None


def rotated(items: Sequence[T], turn: int) -> list[T]:
    """The items in the order of round `turn`: each comes first equally often."""
    if not items:
        return []
    start = turn % len(items)
    return [*items[start:], *items[:start]]

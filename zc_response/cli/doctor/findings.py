"""What the doctor says: findings, in sections, and an exit status."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum


class Grade(str, Enum):
    """How good something is."""

    GOOD = "good"
    SO_SO = "so-so"
    BAD = "bad"

    def __str__(self) -> str:
        return self.value

    @property
    def status(self) -> int:
        """The exit status that says so."""
        return list(Grade).index(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What is so, why it matters, and what to do about it.

    `topic` and `case` are words for machines; they do not change with the prose.
    """

    topic: str
    case: str
    grade: Grade
    what: str
    why: str = ""
    advice: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """Findings about one thing. Its grade, if it has one, counts in the exit status."""

    title: str
    grade: Grade | None
    findings: tuple[Finding, ...]


def exit_status(sections: Iterable[Section]) -> int:
    """That of the worst section."""
    grades = [each.grade for each in sections if each.grade is not None]
    return max((grade.status for grade in grades), default=0)

"""Findings for people, in lines that fit a terminal, and for machines; knows rich."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from textwrap import TextWrapper
from typing import Any, Final

from rich.console import Console
from rich.text import Text

from zc_response.cli.doctor.findings import Finding, Grade, Section, exit_status

WIDTH: Final = 80
_STYLES: Final = {Grade.GOOD: "green", Grade.SO_SO: "yellow", Grade.BAD: "bold red"}
_HEAD: Final = "  {grade:<5}  {topic:<10}  "
_INDENT: Final = " " * len(_HEAD.format(grade="", topic=""))


def show(sections: Sequence[Section]) -> None:
    """Print them; in colours on a terminal."""
    console = Console(highlight=False, soft_wrap=True)
    for number, section in enumerate(sections):
        if number:
            console.print()
        console.print(_title(section))
        for finding in section.findings:
            for line in _lines(finding):
                console.print(line)


def show_json(sections: Sequence[Section], **more: Any) -> None:
    """Print them as one JSON object."""
    found = {
        "status": exit_status(sections),
        **more,
        "sections": [asdict(section) for section in sections],
    }
    print(json.dumps(found, indent=2))


def _title(section: Section) -> Text:
    text = Text(clean(section.title), style="bold")
    if section.grade is not None:
        text.append(": ").append(section.grade.value, _STYLES[section.grade])
    return text


def _lines(finding: Finding) -> Iterator[Text]:
    """The finding; why and what to do only where something is to be done."""
    head = _HEAD.format(grade=finding.grade.value, topic=finding.topic)
    for line in _wrapped(finding.what, head):
        text = Text(line)
        if line.startswith(head):
            text.stylize(_STYLES[finding.grade], 2, 2 + len(finding.grade.value))
        yield text
    if finding.grade is Grade.GOOD:
        return
    for line in _wrapped(finding.why, _INDENT):
        yield Text(line, style="dim")
    for advice in finding.advice:
        yield from map(Text, _wrapped(advice, f"{_INDENT}> ", f"{_INDENT}  "))


def _wrapped(text: str, first: str, further: str = _INDENT) -> Iterable[str]:
    wrapper = TextWrapper(
        width=WIDTH,
        initial_indent=first,
        subsequent_indent=further,
        break_long_words=False,  # paths are to be copied from the screen
        break_on_hyphens=False,
    )
    return wrapper.wrap(clean(text))


def clean(text: str) -> str:
    """The text without what a terminal would obey, or could not show."""
    shown = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode("ascii")
        for each in shown
    )

"""The board tells every viewer of every transfer, and lets them go at the end."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from example_apps.media.transfers import KEPT, Board
from zc_response import Outcome, Report
from zc_response.report import Tally

FOLDER = Path("/library")


def report(path: str = "/library/file") -> Report:
    return Report(
        path=path,
        status=200,
        promised=10,
        sent=10,
        strategy="sendfile",
        reason="plain socket",
        guard="count",
        outcome=Outcome.COMPLETE,
        seconds=1.0,
        cpu_seconds=0.5,
    )


def tally() -> Tally:
    return Tally(
        path="/library/large",
        status=206,
        promised=10,
        strategy="sendfile",
        reason="plain socket",
        guard="count",
    )


async def following(events: Any) -> dict[str, Any]:
    """The next event, if one comes within two seconds."""
    text: str = await asyncio.wait_for(anext(events), 2)
    assert text.startswith("data: ")
    assert text.endswith("\n\n")
    found: dict[str, Any] = json.loads(text[6:])
    return found


def names(rows: list[dict[str, Any]]) -> list[str]:
    return [row["name"] for row in rows]


def test_a_late_viewer_is_told_of_the_past() -> None:
    """As far as the board remembers."""

    async def run() -> None:
        board = Board(FOLDER)
        for number in range(KEPT + 1):
            board.add(report(f"/library/{number}"))
        first = await following(board.events())
        assert names(first["finished"]) == [str(n) for n in range(1, KEPT + 1)]

    asyncio.run(run())


def test_each_viewer_is_told_of_what_is_new_once() -> None:
    """However many there are."""

    async def run() -> None:
        board = Board(FOLDER)
        viewers = [board.events(), board.events()]
        for viewer in viewers:
            assert await following(viewer) == {"finished": [], "under_way": []}
        board.add(report())
        for viewer in viewers:
            assert names((await following(viewer))["finished"]) == ["file"]
        board.add(report("/library/second"))
        assert names((await following(viewers[0]))["finished"]) == ["second"]

    asyncio.run(run())


def test_a_transfer_under_way_is_followed_while_it_moves() -> None:
    """And leaves the list when it has ended."""

    async def run() -> None:
        viewer = Board(FOLDER).events()
        with tally() as moving:
            assert names((await following(viewer))["under_way"]) == ["large"]
            moving.sent = 5
            assert (await following(viewer))["under_way"][0]["sent"] == 5
        assert (await following(viewer))["under_way"] == []

    asyncio.run(run())


def test_files_of_other_folders_are_not_shown() -> None:
    """Those of the page itself, above all."""

    async def run() -> None:
        board = Board(FOLDER)
        board.add(report("/elsewhere/file"))
        board.add(report("/library-2/file"))
        assert (await following(board.events()))["finished"] == []

    asyncio.run(run())


def test_closing_the_board_ends_every_stream() -> None:
    """At once: the server waits for them."""

    async def run() -> None:
        board = Board(FOLDER)
        viewer = board.events()
        await following(viewer)
        waiting = asyncio.ensure_future(anext(viewer, "the end"))
        await asyncio.sleep(0)
        board.close()
        assert await asyncio.wait_for(waiting, 0.2) == "the end"

    asyncio.run(run())

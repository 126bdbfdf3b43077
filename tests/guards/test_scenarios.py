"""What each level of integrity promises, tried out with a writer in another process.

All of what a writer may do is in `tests/guards/scenarios.py`; docs/integrity.md has the
whole table.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.filesystems import DISK_KINDS
from tests.guards.scenarios import (
    RECEIVE_BUFFER,
    SCENARIOS,
    Group,
    Outcome,
    Result,
    classify,
    old_content,
    trial,
)
from tests.guards.served import BREAK_BUDGET, served, served_by_nobody
from tests.guards.writer import new_content

Disk = Callable[[str], Path]
Serve = Callable[..., contextlib.AbstractContextManager[int]]

LATE_MS = (BREAK_BUDGET + 0.45) * 1000
"""A busy machine's allowance on top of what a writer may be made to wait."""

BUFFERED = 2 * RECEIVE_BUFFER
"""What a client's buffer holds: the kernel doubles what it is asked for (socket(7))."""

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become nobody")


def play(
    directory: Path,
    integrity: str,
    *groups: Group,
    kind: str = "",
    serve: Serve = served,
    is_stalled: bool = False,
) -> dict[str, Result]:
    """What comes of the scenarios of these groups, by deed.

    A client that `is_stalled` reads nothing until the writer is through.
    """
    deeds = [
        each.deed
        for each in SCENARIOS
        if each.group in groups and (not each.kinds or kind in each.kinds)
    ]
    with serve(directory, integrity) as port:
        return {
            deed: trial(port, directory, deed, is_stalled=is_stalled) for deed in deeds
        }


def play_one(directory: Path, integrity: str, deed: str) -> Result:
    with served(directory, integrity) as port:
        return trial(port, directory, deed, is_stalled=True)


def unlike(results: dict[str, Result], *allowed: Outcome) -> dict[str, Result]:
    """Those that came out otherwise, or in which the writer was refused something."""
    return {
        deed: result
        for deed, result in results.items()
        if result.outcome not in allowed or result.error
    }


# strict -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", DISK_KINDS)
def test_strict_lets_no_new_byte_out(disk: Disk, kind: str) -> None:
    groups = (Group.OPENS, Group.TELLS, Group.BACKDATED, Group.HARMLESS)

    results = play(disk(kind), "strict", *groups, kind=kind)

    assert unlike(results, Outcome.OLD, Outcome.CUT) == {}


@needs_root
def test_strict_lets_no_new_byte_out_of_a_file_of_another_owner(disk: Disk) -> None:
    groups = (Group.OPENS, Group.TELLS, Group.BACKDATED)

    results = play(disk("ext4"), "strict", *groups, serve=served_by_nobody)

    assert unlike(results, Outcome.CUT) == {}


@pytest.mark.parametrize("kind", ["ext4", "xfs"])
def test_under_strict_who_opens_the_file_waits_for_no_client(
    disk: Disk, kind: str
) -> None:
    """And a client that reads nothing meanwhile gets all of the old file."""
    results = play(disk(kind), "strict", Group.OPENS, is_stalled=True)

    assert unlike(results, Outcome.OLD) == {}
    assert max(result.waited_ms for result in results.values()) < BREAK_BUDGET * 1000


def test_stores_to_pages_stored_to_before_are_hidden_also_from_strict(
    disk: Disk,
) -> None:
    """The one exception for writers with no ill intent: no lease is granted for a file
    that is mapped for writing, and such a store changes no timestamp.

    On tmpfs never; elsewhere until the page has been written to the disk.
    """
    result = play_one(disk("tmpfs"), "strict", "store_again")

    assert result.outcome is Outcome.MIXED


def test_no_write_is_hidden_from_strict_by_a_chmod_and_an_old_mtime(
    disk: Disk,
) -> None:
    """Though the writer was there before us, and there is no lease."""
    result = play_one(disk("ext4"), "strict", "overwrite_old_disguised")

    assert result.outcome is Outcome.CUT


# safe ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", DISK_KINDS)
def test_safe_goes_on_from_a_snapshot_when_somebody_opens_the_file(
    disk: Disk, kind: str
) -> None:
    """Should the writer be faster than the client, the client's own buffer is new."""
    results = play(disk(kind), "safe", Group.OPENS)

    assert unlike(results, Outcome.OLD, Outcome.MIXED) == {}
    assert all(result.not_old <= BUFFERED for result in results.values())
    assert max(result.waited_ms for result in results.values()) < LATE_MS


@pytest.mark.parametrize("kind", ["ext4", "overlay"])
def test_safe_cuts_a_stalled_client_off_and_lets_the_writer_go(
    disk: Disk, kind: str
) -> None:
    """All that can be new is what had left the server: the client's own buffer."""
    results = play(disk(kind), "safe", Group.OPENS, is_stalled=True)

    assert unlike(results, Outcome.CUT, Outcome.MIXED_CUT) == {}
    for result in results.values():
        assert BREAK_BUDGET * 1000 <= result.waited_ms < LATE_MS
        assert result.not_old <= BUFFERED


@pytest.mark.parametrize("kind", ["ext4", "btrfs", "overlay"])
def test_safe_cuts_off_without_a_lease(disk: Disk, kind: str) -> None:
    """All that can be new is what the kernel had accepted as the writer came."""
    results = play(disk(kind), "safe", Group.TELLS, kind=kind, is_stalled=True)

    assert unlike(results, Outcome.CUT, Outcome.MIXED_CUT) == {}
    assert all(result.not_old <= result.accepted for result in results.values())


@needs_root
def test_safe_cuts_off_when_a_file_of_another_owner_changes(disk: Disk) -> None:
    results = play(
        disk("ext4"),
        "safe",
        *(Group.OPENS, Group.TELLS),
        serve=served_by_nobody,
        is_stalled=True,
    )

    backdated = results.pop("overwrite_backdated")
    assert unlike(results, Outcome.CUT, Outcome.MIXED_CUT) == {}
    assert all(result.not_old <= result.accepted for result in results.values())
    assert backdated.outcome is Outcome.MIXED


def test_without_a_lease_safe_believes_the_mtime(disk: Disk) -> None:
    groups = (Group.BACKDATED, Group.HIDDEN)

    results = play(disk("ext4"), "safe", *groups, is_stalled=True)

    assert unlike(results, Outcome.MIXED) == {}


@pytest.mark.parametrize(
    ("integrity", "outcome"), [("safe", Outcome.MIXED), ("strict", Outcome.OLD)]
)
def test_a_body_that_the_kernel_had_accepted_can_change_under_safe(
    disk: Disk, integrity: str, outcome: Outcome
) -> None:
    """It is too large to be copied, and fits into the buffers of this client."""
    root = disk("ext4")
    with served(root, integrity) as port:
        result = trial(
            port,
            root,
            "overwrite",
            is_stalled=True,
            size=100_000,
            receive_buffer=1 << 20,
        )

    assert result.outcome is outcome


# fast ---------------------------------------------------------------------------------


def test_fast_counts_the_bytes_and_holds_no_writer_up(disk: Disk) -> None:
    results = play(disk("ext4"), "fast", Group.OPENS, Group.TELLS)

    cut_off = {name for name, result in results.items() if not result.is_complete}
    assert cut_off == {"truncate", "truncate_by_reader"}
    assert results["overwrite"].outcome is Outcome.MIXED
    assert max(result.waited_ms for result in results.values()) < BREAK_BUDGET * 1000


# All of them --------------------------------------------------------------------------


@pytest.mark.parametrize("integrity", ["fast", "safe", "strict"])
def test_what_leaves_the_bytes_alone_harms_nobody(disk: Disk, integrity: str) -> None:
    results = play(disk("ext4"), integrity, Group.HARMLESS)

    assert unlike(results, Outcome.OLD) == {}
    assert max(result.waited_ms for result in results.values()) < BREAK_BUDGET * 1000


@needs_root
@pytest.mark.parametrize(
    ("integrity", "suspicious"),
    [("safe", {"touch"}), ("strict", {"touch", "rename_away", "link", "chmod"})],
)
def test_without_a_lease_new_times_alone_are_suspicious(
    disk: Disk, integrity: str, suspicious: set[str]
) -> None:
    """Renaming sets the ctime alone, as does a write whose mtime has been set back."""
    results = play(disk("ext4"), integrity, Group.HARMLESS, serve=served_by_nobody)

    assert unlike(results, Outcome.OLD).keys() == suspicious
    assert unlike(results, Outcome.OLD, Outcome.CUT) == {}


# The trials themselves ----------------------------------------------------------------

OLD = old_content(10_000)
NEW = new_content(OLD)


@pytest.mark.parametrize(
    ("body", "complete", "outcome", "not_old"),
    [
        (OLD, True, Outcome.OLD, 0),
        (OLD[:5000], False, Outcome.CUT, 0),
        (b"", False, Outcome.CUT, 0),
        (NEW, True, Outcome.NEW, 10_000),
        (OLD[:5000] + NEW[5000:], True, Outcome.MIXED, 5000),
        (OLD[:5000] + bytes(10), False, Outcome.MIXED_CUT, 10),
        (OLD[4096:], False, Outcome.GARBLED, 0),
        (OLD[:5000] + b"HTTP/1.1 200 OK\r\n", False, Outcome.GARBLED, 0),
    ],
)
def test_a_body_is_told_by_its_content(
    body: bytes, complete: bool, outcome: Outcome, not_old: int
) -> None:
    assert classify(body, len(OLD), complete=complete) == (outcome, not_old)

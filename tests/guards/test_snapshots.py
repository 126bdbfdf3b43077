from __future__ import annotations

import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from tests.filesystems import DISK_KINDS
from tests.guards.test_leases import CONTENT, opened
from tests.kernel.test_leases import refusal
from zc_response.guards import snapshots
from zc_response.guards.snapshots import Snapshot, Stretch, affordable, make, reflink
from zc_response.kernel import copies
from zc_response.sources import FileSource

Disk = Callable[[str], Path]
LATER = float("inf")

stretches = st.tuples(st.integers(0, 200), st.integers(1, 60)).map(
    lambda pair: (pair[0], pair[0] + pair[1])
)
needs_of = st.lists(stretches, max_size=8)


def numbers(stretches: list[Stretch] | tuple[Stretch, ...]) -> set[int]:
    """The bytes in some stretches, one by one."""
    return {byte for start, end in stretches for byte in range(start, end)}


# What is affordable -----------------------------------------------------------------


@given(needs_of, st.integers(0, 400))
def test_what_is_affordable_is_needed_and_within_the_limit(
    needs: list[Stretch], most: int
) -> None:
    chosen = affordable(needs, most)
    assert numbers(chosen) <= numbers(needs)
    assert len(numbers(chosen)) == sum(end - start for start, end in chosen) <= most


@given(needs_of)
def test_what_is_affordable_is_in_order_and_apart(needs: list[Stretch]) -> None:
    chosen = affordable(needs, 1000)
    assert all(first[1] < second[0] for first, second in pairwise(chosen))


@given(needs_of)
def test_with_enough_room_all_that_is_needed_is_affordable(
    needs: list[Stretch],
) -> None:
    assert numbers(affordable(needs, len(numbers(needs)))) == numbers(needs)


@given(needs_of, st.integers(0, 400))
def test_the_smallest_needs_come_first_and_whole(
    needs: list[Stretch], most: int
) -> None:
    chosen = numbers(affordable(needs, most))
    in_order = sorted(set(needs), key=lambda need: need[1] - need[0])
    for count in range(1, len(in_order) + 1):
        smallest = numbers(in_order[:count])
        assert smallest <= chosen or len(smallest) > most


@given(needs_of, st.integers(0, 400))
def test_more_room_never_means_less(needs: list[Stretch], most: int) -> None:
    assert numbers(affordable(needs, most)) <= numbers(affordable(needs, most + 1))


def test_what_two_need_is_paid_for_once() -> None:
    assert affordable([(0, 100), (0, 100), (50, 150)], 150) == ((0, 150),)
    assert affordable([(0, 100), (200, 300)], 150) == ((0, 100),)
    assert affordable([], 150) == ()


# What it covers ---------------------------------------------------------------------


@given(needs_of, needs_of)
def test_a_snapshot_covers_what_lies_in_one_of_its_stretches(
    has: list[Stretch], needs: list[Stretch]
) -> None:
    apart = affordable(has, 10_000)
    snapshot = Snapshot(None, apart)  # type: ignore[arg-type]
    assert snapshot.covers(needs) is (numbers(needs) <= numbers(apart))


# Making one -------------------------------------------------------------------------


@pytest.fixture
def source(tmp_path: Path) -> Iterator[FileSource]:
    with opened(tmp_path / "file") as source:
        yield source


def made(source: FileSource, needs: list[Stretch], most: int = 1 << 30) -> Snapshot:
    snapshot = make(source, needs, most, LATER)
    assert snapshot is not None
    return snapshot


@pytest.mark.parametrize("kind", DISK_KINDS)
def test_a_snapshot_keeps_the_old_bytes_at_their_places(disk: Disk, kind: str) -> None:
    needs = [(10, 20), (1000, 60_000)]
    with opened(disk(kind) / "file") as source:
        snapshot = made(source, needs)
        Path(source.path).write_bytes(b"\xff" * 2 * len(CONTENT))
        with snapshot.source as copy:
            assert snapshot.covers(needs)
            assert copy.facts.size == len(CONTENT)
            for start, end in needs:
                assert copy.read(start, end - start) == CONTENT[start:end]


@pytest.mark.parametrize("kind", ["xfs", "btrfs"])
def test_where_data_can_be_shared_it_covers_the_whole_file(
    disk: Disk, kind: str
) -> None:
    with opened(disk(kind) / "file") as source:
        snapshot = made(source, [(0, 1)], most=0)
        with snapshot.source as copy:
            assert copy.facts.filesystem == kind
            assert snapshot.covers([(0, len(CONTENT))])
            assert copy.read(0, 1 << 20) == CONTENT


def test_a_copy_in_memory_has_only_what_is_needed(source: FileSource) -> None:
    snapshot = made(source, [(4096, 8192)])
    with snapshot.source as copy:
        assert copy.facts.filesystem == "tmpfs"
        assert not snapshot.covers([(4096, 8193)])
        assert copy.read(0, 4096) == bytes(4096)
        assert os.fstat(copy.fileno()).st_blocks * 512 <= 8192


def test_a_copy_in_memory_is_sealed(source: FileSource) -> None:
    with made(source, [(0, 10)]).source as copy:
        assert refusal(lambda: os.pwrite(copy.fileno(), b"x", 0)) == "EPERM"


@pytest.mark.parametrize("kind", ["xfs", "btrfs"])
def test_without_a_right_to_write_to_the_disk_the_copy_is_in_memory(
    disk: Disk, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unnamed_file(directory: str) -> int:
        asked.append(directory)
        raise PermissionError(13, "Permission denied")

    asked: list[str] = []
    monkeypatch.setattr(copies, "unnamed_file", unnamed_file)
    with opened(disk(kind) / "file") as source:
        with made(source, [(0, 100)]).source as copy:
            assert copy.facts.filesystem == "tmpfs"
            assert copy.read(0, 100) == CONTENT[:100]
    assert asked == [str(disk(kind))]


def test_a_directory_for_temporary_files_on_the_same_disk_will_do(
    disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = disk("btrfs")
    elsewhere = root / "tmp"
    elsewhere.mkdir(exist_ok=True)
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(elsewhere))
    with opened(root / "file") as source:
        source.path = str(root / "gone" / "file")
        with reflink(source) as copy:
            assert copy.read(0, 1 << 20) == CONTENT


def test_a_directory_of_another_disk_is_not_tried(
    disk: Disk, source: FileSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only that of the file, which has no reflinks."""
    tried: list[str] = []
    unnamed = copies.unnamed_file

    def unnamed_file(directory: str) -> int:
        tried.append(directory)
        return unnamed(directory)

    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(disk("btrfs")))
    monkeypatch.setattr(copies, "unnamed_file", unnamed_file)
    with pytest.raises(OSError):  # noqa: PT011  # whatever this filesystem says
        reflink(source)
    assert tried == [os.path.dirname(source.path)]


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_what_is_refused_leaves_no_descriptor(source: FileSource) -> None:
    before = descriptors()
    with pytest.raises(OSError, match="not supported"):  # ext4 and the like
        reflink(source)
    assert make(source, [(0, len(CONTENT) + 1)], 1 << 30, LATER) is None
    assert make(source, [], 1 << 30, LATER) is None
    assert make(source, [(0, 1)], 0, LATER) is None
    assert descriptors() == before


def test_there_is_none_when_time_runs_out(
    source: FileSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = descriptors()
    assert make(source, [(0, 100)], 1 << 30, time.monotonic()) is None

    monkeypatch.setattr(snapshots, "_PIECE", 10)
    ticks = iter(range(1000))
    monkeypatch.setattr(time, "monotonic", lambda: float(next(ticks)))
    assert make(source, [(0, 100)], 1 << 30, 5.0) is None
    assert next(ticks) == 6
    assert descriptors() == before


# The room that all copies have together ----------------------------------------------


def in_memory(source: FileSource, most_bytes: int) -> Snapshot | None:
    """A copy of the whole file, which is not on a disk that has reflinks."""
    return make(source, [(0, len(CONTENT))], most_bytes, LATER)


def test_a_copy_has_only_the_room_beside_those_in_use(source: FileSource) -> None:
    size = len(CONTENT)
    first = in_memory(source, 2 * size - 1)
    assert first is not None
    assert in_memory(source, 2 * size - 1) is None
    second = in_memory(source, 2 * size)
    assert second is not None

    first.source.release()
    third = in_memory(source, 2 * size)
    assert third is not None
    second.source.release()
    third.source.release()


def test_a_copy_that_failed_takes_no_room(
    source: FileSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(copies, "append", lambda *_arguments: 0)
        assert in_memory(source, len(CONTENT)) is None
    made = in_memory(source, len(CONTENT))
    assert made is not None
    made.source.release()


def has_room_in_a_child(source: FileSource) -> bool:
    """True if a process that is forked now can copy the file, in as much room."""
    pid = os.fork()
    if pid == 0:
        signal.alarm(10)  # one that hangs is ended, and has failed
        try:
            os._exit(0 if in_memory(source, len(CONTENT)) is not None else 1)
        finally:
            os._exit(2)
    return os.waitpid(pid, 0)[1] == 0


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_child_has_room_though_its_parent_was_just_making_a_copy(
    source: FileSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who made that one is not there any more to end it."""
    found: list[bool] = []
    append = copies.append

    def forking(*arguments: int) -> int:
        monkeypatch.setattr(copies, "append", append)
        found.append(has_room_in_a_child(source))
        return append(*arguments)

    monkeypatch.setattr(copies, "append", forking)
    made = in_memory(source, len(CONTENT))

    assert made is not None
    made.source.release()
    assert found == [True]


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_child_has_room_though_its_parents_copies_are_in_use(
    source: FileSource,
) -> None:
    """They are the parent's memory. Nor does it wait for who counts them there."""
    made = in_memory(source, len(CONTENT))
    assert made is not None
    with snapshots._Reservation._lock:
        assert has_room_in_a_child(source)
    made.source.release()

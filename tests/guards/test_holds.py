"""One hold on one file: what it sees of a change, and how it lets go."""

from __future__ import annotations

import contextlib
import errno
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.filesystems import DISK_KINDS
from tests.guards.test_leases import CONTENT, opened
from tests.kernel.test_files import LONG, ONE_WRITE
from tests.live import eventually
from tests.writers import OPEN, OVERWRITE, TRUNCATE, Writer
from zc_response.errors import ChangedError, FileChangedError
from zc_response.guards import (
    COUNT,
    LEASE,
    SNAPSHOT,
    STAT,
    Hold,
    holds,
    read_at_once,
    snapshots,
)
from zc_response.guards.leases import leases
from zc_response.kernel import copies, leases as kernel
from zc_response.policy import Policy
from zc_response.sources import FileSource

every_kind = pytest.mark.parametrize("kind", DISK_KINDS)
without_clones = pytest.mark.parametrize("kind", ["ext4", "tmpfs"])
Disk = Callable[[str], Path]


@dataclass
class Rest:
    offset: int = 0
    end: int = len(CONTENT)


class Carrier:
    """A client that takes, or does not take, what was sent to it by reference."""

    def __init__(self, under_way: bool = False, can_be_cut: bool = True) -> None:
        self.under_way = under_way
        self.can_be_cut = can_be_cut
        self.cuts = self.woken = 0

    def is_under_way(self) -> bool:
        return self.under_way

    def cut(self) -> bool:
        self.cuts += 1
        if self.can_be_cut:
            self.under_way = False
        return self.can_be_cut

    def wake(self) -> None:
        self.woken += 1


@contextlib.contextmanager
def holding(
    source: FileSource, rest: Rest | None = None, **settings: Any
) -> Iterator[Hold]:
    """A hold that has begun, on a file of which all, or `rest`, is to be sent."""
    hold = Hold(source, Policy(**settings))
    hold.owed.append(rest or Rest())
    try:
        hold.begin()
        yield hold
    finally:
        hold.close()


@pytest.fixture
def source(tmp_path: Path) -> Iterator[FileSource]:
    with opened(tmp_path / "file") as source:
        yield source


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody gets a lease."""

    def take(_fd: int, _thread: int) -> None:
        raise OSError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(kernel, "take", take)


def overwrite(path: str, offset: int = 0) -> None:
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(b"\xff")


# What stands behind it --------------------------------------------------------------


@every_kind
def test_where_there_is_a_lease_that_is_the_guard(disk: Disk, kind: str) -> None:
    with opened(disk(kind) / "file") as source, holding(source) as hold:
        assert (hold.guard, hold.reason) == (LEASE, "")
        assert hold.is_firm is (kind != "overlay")
        assert hold.compares is (kind == "overlay")
        assert not hold.is_broken


def test_where_there_is_none_the_facts_are(source: FileSource, refused: None) -> None:
    with holding(source) as hold:
        assert hold.guard == STAT
        assert hold.reason == "the process does not own the file and lacks CAP_LEASE"
        assert hold.compares
        assert not hold.is_firm


def test_fast_only_counts(source: FileSource) -> None:
    with holding(source, integrity="fast") as hold:
        overwrite(source.path)
        assert (hold.guard, hold.is_firm, hold.compares) == (COUNT, False, False)
        assert hold.read(0, 1) == b"\xff"
    assert len(leases) == 0


@pytest.mark.parametrize("integrity", ["safe", "strict"])
@pytest.mark.parametrize("has_lease", [True, False])
def test_a_file_that_changed_before_the_first_byte_is_not_begun(
    source: FileSource,
    monkeypatch: pytest.MonkeyPatch,
    integrity: str,
    has_lease: bool,
) -> None:
    if not has_lease:
        monkeypatch.setattr(kernel, "take", _no_lease)
    overwrite(source.path)
    with pytest.raises(FileChangedError), holding(source, integrity=integrity):
        pass
    assert len(leases) == 0


def _no_lease(_fd: int, _thread: int) -> None:
    raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))


def test_who_has_a_lease_never_has_to_wait_for_a_writer(source: FileSource) -> None:
    with holding(source, integrity="strict") as hold:
        assert not hold.may_wait


def test_without_a_lease_strict_may_have_to_wait_and_safe_for_a_young_file(
    source: FileSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel, "take", _no_lease)
    with holding(source, integrity="strict") as hold:
        assert hold.may_wait
    with holding(source) as hold:
        assert hold.may_wait
    monkeypatch.setattr(holds, "_YOUNG_NS", 0)
    with holding(source) as hold:
        assert not hold.may_wait


# Comparing the facts ----------------------------------------------------------------


def replaced(path: str) -> None:
    """As files are published."""
    Path(f"{path}2").write_bytes(b"new")
    os.rename(f"{path}2", path)


CHANGES: dict[str, Callable[[str], object]] = {
    "rewritten": overwrite,
    "grown": lambda path: os.truncate(path, len(CONTENT) + 1),
    "shrunk": lambda path: os.truncate(path, len(CONTENT) - 1),
    "emptied": lambda path: os.truncate(path, 0),
    "touched": os.utime,
}
NO_CHANGES: dict[str, Callable[[str], object]] = {
    "nothing": lambda _path: None,
    "replaced": replaced,
    "renamed": lambda path: os.rename(path, path + "2"),
    "unlinked": os.unlink,
    "linked": lambda path: os.link(path, path + "2"),
    "mode": lambda path: os.chmod(path, 0o600),
    "read": lambda path: Path(path).read_bytes(),
}


@pytest.fixture(params=DISK_KINDS)
def unleased(
    request: pytest.FixtureRequest, disk: Disk, refused: None
) -> Iterator[FileSource]:
    """A file on each kind of disk, on which nobody gets a lease."""
    path = disk(request.param) / "unleased"
    with opened(path) as source:
        yield source
    Path(f"{path}2").unlink(missing_ok=True)


@pytest.mark.parametrize("integrity", ["safe", "strict"])
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_change_is_seen(
    unleased: FileSource, integrity: str, change: Callable[[str], object]
) -> None:
    with holding(unleased, integrity=integrity) as hold:
        assert hold.read(0, 10) == CONTENT[:10]
        change(unleased.path)
        with pytest.raises(ChangedError, match=r"unleased (changed from|was written)"):
            hold.read(10, 10)
        with pytest.raises(ChangedError):
            hold.check()


@pytest.mark.parametrize("change", NO_CHANGES.values(), ids=NO_CHANGES)
def test_what_changes_no_byte_is_nobodys_business(
    unleased: FileSource, change: Callable[[str], object]
) -> None:
    with holding(unleased) as hold:
        assert hold.read(0, 10) == CONTENT[:10]
        change(unleased.path)
        hold.check()
        assert hold.read(10, 10) == CONTENT[10:20]


@pytest.mark.parametrize("name", ["nothing", "read", "replaced", "unlinked"])
def test_strict_lets_a_file_lose_its_name(unleased: FileSource, name: str) -> None:
    """As by publishing with a rename."""
    with holding(unleased, integrity="strict") as hold:
        assert hold.read(0, 10) == CONTENT[:10]
        NO_CHANGES[name](unleased.path)
        hold.check()
        assert hold.read(10, 10) == CONTENT[10:20]


@pytest.mark.parametrize("name", ["linked", "mode", "renamed"])
def test_strict_minds_whatever_else_could_hide_a_change(
    unleased: FileSource, name: str
) -> None:
    """All of it sets the ctime alone, as does setting an mtime back."""
    with holding(unleased, integrity="strict") as hold:
        NO_CHANGES[name](unleased.path)
        with pytest.raises(ChangedError, match="perhaps set back"):
            hold.check()


def set_back(path: str) -> None:
    """Change a byte, and say that nothing has happened."""
    times = os.stat(path)
    overwrite(path)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def test_strict_minds_a_change_whose_mtime_is_set_back(unleased: FileSource) -> None:
    with holding(unleased, integrity="strict") as hold:
        set_back(unleased.path)
        with pytest.raises(ChangedError, match="perhaps set back"):
            hold.check()


def test_strict_minds_it_also_after_the_file_has_lost_a_name(
    unleased: FileSource,
) -> None:
    """One lost name explains one new ctime."""
    other = f"{unleased.path}2"
    os.link(unleased.path, other)
    with holding(unleased, integrity="strict") as hold:
        os.unlink(other)
        hold.check()
        set_back(unleased.path)
        with pytest.raises(ChangedError, match="perhaps set back"):
            hold.check()


def test_safe_sees_a_change_of_size_though_the_mtime_is_set_back(
    unleased: FileSource,
) -> None:
    times = os.stat(unleased.path)
    with holding(unleased) as hold:
        os.truncate(unleased.path, 10)
        os.utime(unleased.path, ns=(times.st_atime_ns, times.st_mtime_ns))
        with pytest.raises(ChangedError, match="changed from 65536 to 10 bytes"):
            hold.check()


def test_safe_cannot_see_a_change_whose_mtime_is_set_back(unleased: FileSource) -> None:
    with holding(unleased) as hold:
        set_back(unleased.path)
        hold.check()


@every_kind
@pytest.mark.usefixtures("refused")
def test_strict_never_reads_a_mixture_of_a_write_that_is_under_way(
    disk: Disk, kind: str
) -> None:
    """It had set the file's times before anybody looked, so no facts tell of it."""
    path = disk(kind) / "long"
    path.write_bytes(b"")
    os.truncate(path, LONG)
    try:
        with Writer(path, ONE_WRITE) as writer, path.open("rb") as file:
            writer.go()
            eventually(lambda: os.pread(file.fileno(), 1, 0) == b"\xff", "the write")
            with FileSource.open(path) as source:
                with holding(source, Rest(0, LONG), integrity="strict") as hold:
                    assert hold.read(LONG - 1, 1) == b"\xff"
                    assert hold.read(0, 1) == b"\xff"
            writer.seconds()
    finally:
        path.unlink()


# Letting go -------------------------------------------------------------------------


@every_kind
@pytest.mark.parametrize("code", [OVERWRITE, TRUNCATE], ids=["overwrite", "truncate"])
def test_the_rest_comes_from_a_snapshot_when_somebody_writes(
    disk: Disk, kind: str, code: str
) -> None:
    rest = Rest()
    with opened(disk(kind) / "file") as source, holding(source, rest) as hold:
        assert hold.read(0, 100) == CONTENT[:100]
        rest.offset = 100
        with Writer(source.path, code) as writer:
            writer.go().seconds()
            assert hold.guard == SNAPSHOT
            assert hold.source is not source
            assert hold.read(100, 1 << 20) == CONTENT[100:]
            assert (hold.is_firm, hold.compares, hold.is_broken) == (True, False, False)


def test_who_has_nothing_left_to_send_lets_go_without_a_snapshot(
    source: FileSource,
) -> None:
    rest = Rest()
    with holding(source, rest) as hold:
        rest.offset = rest.end
        with Writer(source.path, OPEN) as writer:
            writer.go().seconds()
        assert hold.source is source
        assert hold.guard == LEASE
        hold.check()


def test_one_snapshot_serves_all_who_send_from_the_file(source: FileSource) -> None:
    with holding(source, Rest(0, 10)) as first, holding(source, Rest(7, 900)) as second:
        with Writer(source.path, OVERWRITE) as writer:
            writer.go().seconds()
        assert first.source is second.source
        assert first.read(0, 10) == CONTENT[:10]
        assert second.read(7, 893) == CONTENT[7:900]


@without_clones
@pytest.mark.parametrize("snapshot_bytes", [0, len(CONTENT) - 1])
def test_too_much_for_a_snapshot_is_cut_off_honestly(
    disk: Disk, kind: str, snapshot_bytes: int
) -> None:
    with opened(disk(kind) / "file") as source:
        with holding(source, snapshot_bytes=snapshot_bytes) as hold:
            with Writer(source.path, OVERWRITE) as writer:
                writer.go().seconds()
            with pytest.raises(ChangedError, match="there is no copy of the rest"):
                hold.read(0, 10)


@without_clones
def test_of_two_who_send_the_one_whose_rest_can_be_copied_goes_on(
    disk: Disk, kind: str
) -> None:
    with opened(disk(kind) / "file") as source:
        with (
            holding(source, Rest(7, 100), snapshot_bytes=1000) as small,
            holding(source, Rest(), snapshot_bytes=1000) as large,
        ):
            with Writer(source.path, OVERWRITE) as writer:
                writer.go().seconds()
            assert small.read(7, 93) == CONTENT[7:100]
            with pytest.raises(ChangedError, match="there is no copy of the rest"):
                large.read(0, 10)


@pytest.mark.parametrize("kind", ["xfs", "btrfs"])
def test_where_data_is_shared_no_size_is_too_much(disk: Disk, kind: str) -> None:
    with opened(disk(kind) / "file") as source:
        with holding(source, snapshot_bytes=0) as hold:
            with Writer(source.path, OVERWRITE) as writer:
                writer.go().seconds()
            assert hold.read(0, 1 << 20) == CONTENT


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENOSPC, errno.ENOMEM])
def test_no_room_for_a_snapshot_is_cut_off_honestly(
    source: FileSource, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def memory_file(_name: str) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(copies, "memory_file", memory_file)
    with holding(source) as hold:
        with Writer(source.path, OVERWRITE) as writer:
            writer.go().seconds()
        with pytest.raises(ChangedError, match="there is no copy of the rest"):
            hold.check()


def test_a_snapshot_that_is_closed_already_comes_too_late(
    source: FileSource,
) -> None:
    """As when a disk thread has it ready just when the time is over."""
    with holding(source) as hold:
        lease = leases.lend(source)
        assert not isinstance(lease, str)
        lease.snapshot = snapshots.make(source, hold.needs(), 1 << 20, float("inf"))
        assert lease.snapshot is not None
        lease.snapshot.source.release()
        lease.is_decided = True

        assert hold.let_go(lease)
        with pytest.raises(ChangedError, match="too late for a copy"):
            hold.check()
        assert hold.source is source
        leases.leave(lease, hold)


def test_while_a_step_is_being_taken_it_does_not_let_go(source: FileSource) -> None:
    with holding(source) as hold, Writer(source.path, OPEN) as writer:
        with hold:
            writer.go()
            eventually(lambda: hold.is_broken, "the break")
            assert not writer.is_through(0.1)
            assert hold.source is source
        writer.seconds()
        assert hold.guard == SNAPSHOT


def test_while_it_is_broken_nothing_is_read(source: FileSource) -> None:
    carrier = Carrier(under_way=True)
    with holding(source) as hold, Writer(source.path, OPEN) as writer:
        hold.carrier = carrier
        writer.go()
        eventually(lambda: hold.is_broken, "the break")
        assert hold.read(0, 10) is None

        carrier.under_way = False
        writer.seconds()
        assert hold.read(0, 10) == CONTENT[:10]
    assert carrier.cuts == 0


def test_a_client_that_does_not_take_what_is_under_way_is_cut_off(
    source: FileSource,
) -> None:
    carrier = Carrier(under_way=True)
    with holding(source, break_budget=0.1) as hold:
        hold.carrier = carrier
        with Writer(source.path, OVERWRITE) as writer:
            assert writer.go().seconds() < kernel.break_time() / 2
        assert (carrier.cuts, carrier.woken) == (1, 1)
        with pytest.raises(ChangedError, match="has not taken in time"):
            hold.check()
        assert hold.read(0, 10) is None


def test_who_cannot_be_cut_off_from_here_is_woken_once(source: FileSource) -> None:
    carrier = Carrier(under_way=True, can_be_cut=False)
    with holding(source, break_budget=0.1) as hold:
        hold.carrier = carrier
        with Writer(source.path, OPEN) as writer:
            assert writer.go().seconds() < kernel.break_time() / 2
        assert carrier.cuts > 1
        assert carrier.woken == 1
        with pytest.raises(ChangedError):
            hold.check_failure()


def test_a_step_that_is_still_under_way_when_the_budget_ends_is_cut_off(
    source: FileSource,
) -> None:
    """Its bytes are not in the socket yet, but they are about to be."""
    carrier = Carrier()
    with holding(source, break_budget=0.1) as hold:
        hold.carrier = carrier
        with hold, Writer(source.path, OVERWRITE) as writer:
            writer.go().seconds()
            assert carrier.cuts


# The end ----------------------------------------------------------------------------


def test_it_is_closed_after_the_step_that_is_being_taken(source: FileSource) -> None:
    with holding(source) as hold:
        with hold:
            closing = threading.Thread(target=hold.close)
            closing.start()
            closing.join()
            assert hold.source.read(0, 1) == CONTENT[:1]
            source.release()
            leases.close()
            assert not source.closed
        leases.close()
        assert source.closed


def test_closing_twice_gives_one_share_back(source: FileSource) -> None:
    with holding(source, integrity="fast") as hold:
        hold.close()
        hold.close()
    assert not source.closed


def test_closed_while_broken_it_lets_the_writer_in(source: FileSource) -> None:
    with holding(source) as hold, Writer(source.path, OPEN) as writer:
        hold.carrier = Carrier(under_way=True)
        writer.go()
        eventually(lambda: hold.is_broken, "the break")
        hold.close()
        writer.seconds()


# In one go --------------------------------------------------------------------------


def reading(source: FileSource, then: Callable[[], object] | None = None) -> Any:
    """A reader of ten bytes, after which something happens to the file."""

    def read() -> bytes:
        data = source.read(0, 10)
        if then is not None:
            then()
        return data

    return read


@pytest.mark.parametrize("integrity", ["fast", "safe", "strict"])
def test_a_file_that_is_as_it_was_is_read_in_one_go(
    source: FileSource, integrity: str
) -> None:
    assert read_at_once(source, integrity, reading(source)) == CONTENT[:10]
    assert read_at_once(source, integrity, lambda: None) is None


def test_no_lease_is_taken_for_one_look_at_a_file_that_is_not_kept_open(
    source: FileSource,
) -> None:
    source.is_kept = False
    os.utime(source.path, (1e9, 1e9))
    with FileSource.open(source.path) as settled:
        assert read_at_once(settled, "safe", reading(settled)) == CONTENT[:10]
        assert read_at_once(settled, "strict", reading(settled)) is None
    assert read_at_once(source, "safe", reading(source)) is None, "it is young"
    assert len(leases) == 0


def test_what_is_written_in_that_moment_is_not_good(source: FileSource) -> None:
    change = reading(source, lambda: overwrite(source.path))
    assert read_at_once(source, "safe", change) is None
    assert read_at_once(source, "fast", change) is not None


def test_no_look_is_taken_that_may_have_to_wait(
    source: FileSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a filesystem that asks a server or a daemon, from the event loop."""
    source.facts = source.facts._replace(filesystem="fuse")

    def fstat(_fd: int) -> os.stat_result:
        raise AssertionError("a look was taken")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fstat", fstat)
        assert read_at_once(source, "safe", lambda: None) is None
        assert read_at_once(source, "strict", lambda: None) is None
        hold = Hold(source, Policy())
        hold.begin()
    with contextlib.closing(hold):
        hold.check()
        overwrite(source.path)
        with pytest.raises(ChangedError):
            hold.check()


def test_strict_reads_in_one_go_only_with_a_lease(
    source: FileSource, refused: None
) -> None:
    assert read_at_once(source, "strict", reading(source)) is None


def test_so_does_safe_as_long_as_a_write_may_be_under_way(
    source: FileSource, refused: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A write(2) has set the mtime before it changes the first byte."""
    assert read_at_once(source, "safe", reading(source)) is None
    monkeypatch.setattr(holds, "_YOUNG_NS", 0)
    assert read_at_once(source, "safe", reading(source)) == CONTENT[:10]


def test_strict_reads_nothing_that_somebody_waited_to_write_to_meanwhile(
    source: FileSource,
) -> None:
    with Writer(source.path, OPEN) as writer:
        change = reading(source, lambda: writer.go().seconds())
        assert read_at_once(source, "strict", change) is None


def test_strict_reads_nothing_of_a_file_that_has_changed_before(
    source: FileSource,
) -> None:
    overwrite(source.path)
    assert read_at_once(source, "strict", reading(source)) is None


def test_strict_looks_at_the_facts_where_a_lease_is_weak(disk: Disk) -> None:
    with opened(disk("overlay") / "file") as source:
        assert read_at_once(source, "strict", reading(source)) == CONTENT[:10]
        lease = leases.lend(source)
        assert not isinstance(lease, str)
        assert lease.is_weak
        touch = reading(source, lambda: os.utime(source.path))
        assert read_at_once(source, "strict", touch) is None


def test_a_look_does_not_wait_for_the_clock_where_the_clock_is_fine(
    source: FileSource, refused: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else for the grain of the clock, in which a change would be hidden."""
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    monkeypatch.setattr(holds, "grain_ns", lambda _filesystem: 10**12)
    with holding(source, integrity="strict") as hold:
        hold.read(0, 1)
        hold.read(1, 1)
    assert len(slept) == 1
    assert 0 < slept[0] <= 1000

    monkeypatch.setattr(holds, "grain_ns", lambda _filesystem: 0)
    with holding(source, integrity="strict") as hold:
        hold.read(0, 1)
    assert len(slept) == 1

"""Slow disks are as slow as ordered, and leave nothing behind."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from zc_response.cli.bench import disks, mounts
from zc_response.cli.bench.disks import KINDS, Disk, plain_disk, slow_disk, why_not
from zc_response.cli.bench.errors import BenchmarkError, MissingError

MIB = 1 << 20
RATE = 20 * MIB
BURST = 0.25  # seconds' worth that the block layer lets pass after idleness
DISK = 64 * MIB


def needs(kind: str, *, slow: bool = True) -> None:
    """Skip with the name of what is missing."""
    if missing := why_not(kind, slow=slow):
        pytest.skip(f"no {kind} here: {missing}")


def cold_file(disk: Disk, size: int = 10 * MIB) -> Path:
    """A file on that disk, and not in memory."""
    file = disk.path / "file"
    file.write_bytes(os.urandom(size))
    disk.drop_caches(file)
    return file


def seconds_to_read(file: Path) -> float:
    start = time.monotonic()
    file.read_bytes()
    return time.monotonic() - start


@pytest.mark.parametrize("kind", KINDS)
def test_a_slow_disk_keeps_to_its_rate(tmp_path: Path, kind: str) -> None:
    """And memory does not: the second time a file comes at once."""
    needs(kind)
    with slow_disk(kind, DISK, RATE, tmp_path) as disk:
        file = cold_file(disk)
        expected = file.stat().st_size / RATE

        assert expected - BURST < seconds_to_read(file) < expected + 2
        assert seconds_to_read(file) < expected / 2
    assert list(tmp_path.iterdir()) == []


def test_a_child_is_held_to_the_rate_as_well(tmp_path: Path) -> None:
    """Nobody has to be moved into a control group."""
    needs("ext4")
    with slow_disk("ext4", DISK, RATE, tmp_path) as disk:
        file = cold_file(disk)
        start = time.monotonic()
        subprocess.run(["cat", file], check=True, stdout=subprocess.DEVNULL)

        assert time.monotonic() - start > file.stat().st_size / RATE - BURST


@pytest.mark.parametrize("kind", [*KINDS, "tmpfs"])
def test_a_plain_disk_is_not_slow(tmp_path: Path, kind: str) -> None:
    needs(kind, slow=False)
    with plain_disk(kind, DISK, tmp_path) as disk:
        file = disk.path / "file"
        file.write_bytes(b"content")

        assert file.read_bytes() == b"content"
        assert disk.kind == kind
        assert disk.group is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", KINDS)
def test_dropping_caches_evicts_a_file(tmp_path: Path, kind: str) -> None:
    needs(kind, slow=False)
    if mounts.program("fincore") is None:
        pytest.skip("fincore is not installed")
    with plain_disk(kind, DISK, tmp_path) as disk:
        file = cold_file(disk, MIB)
        assert disks.resident(file) == 0

        file.read_bytes()
        assert disks.resident(file) == MIB

        disk.drop_caches(file)
        assert disks.resident(file) == 0


def test_what_cannot_be_evicted_is_said(tmp_path: Path) -> None:
    """A tmpfs has no other place for its bytes."""
    needs("tmpfs", slow=False)
    if mounts.program("fincore") is None:
        pytest.skip("fincore is not installed")
    with plain_disk("tmpfs", DISK, tmp_path) as disk:
        with pytest.raises(BenchmarkError, match="stays in the page cache"):
            cold_file(disk, MIB)


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_takes_the_disk_down(tmp_path: Path, kind: str) -> None:
    needs(kind)
    with pytest.raises(ZeroDivisionError):
        with slow_disk(kind, DISK, RATE, tmp_path):
            raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()


def test_a_file_still_open_does_not_keep_the_mount(tmp_path: Path) -> None:
    """The mount is detached; the file can be read to its end."""
    needs("ext4", slow=False)
    with contextlib.ExitStack() as still_open:
        with plain_disk("ext4", DISK, tmp_path) as disk:
            (disk.path / "file").write_bytes(b"content")
            file = still_open.enter_context((disk.path / "file").open("rb"))
        assert not mounts.is_mounted(disk.path)
        assert list(tmp_path.iterdir()) == []
        assert file.read() == b"content"


def test_the_limit_is_lifted_at_the_end(tmp_path: Path) -> None:
    """The next one to get the loop device finds it as it was."""
    needs("ext4")
    with slow_disk("ext4", DISK, RATE, tmp_path) as disk:
        assert disk.group is not None
        limits = disk.group / "blkio.throttle.read_bps_device"
        number = os.stat(disk.path).st_dev
        line = f"{os.major(number)}:{os.minor(number)} {RATE}"
        assert line in limits.read_text().splitlines()
    assert line not in limits.read_text().splitlines()


def test_a_process_from_elsewhere_can_be_admitted(tmp_path: Path) -> None:
    group = tmp_path / "group"
    group.mkdir()

    Disk(path=tmp_path, kind="ext4", group=group).admit(42)
    Disk(path=tmp_path, kind="fuse").admit(43)  # needs no admission

    assert (group / "cgroup.procs").read_text() == "42"


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    assert why_not("zfs", slow=False)
    with pytest.raises(MissingError, match="no zfs disk can be made here"):
        with plain_disk("zfs", DISK, tmp_path):
            pass


def test_tmpfs_cannot_be_slow() -> None:
    assert why_not("tmpfs")


def test_without_the_right_to_mount_nothing_is_tried(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(disks, "may_mount", lambda: False)

    assert why_not("ext4") == "no right to mount (root is needed)"


def test_without_mfusepy_there_is_no_fuse(monkeypatch: pytest.MonkeyPatch) -> None:
    needs("fuse")
    monkeypatch.setitem(sys.modules, "mfusepy", None)

    assert why_not("fuse") == "mfusepy or libfuse is not installed"


def test_a_program_that_fails_is_quoted() -> None:
    with pytest.raises(BenchmarkError, match=r"cat: .*nowhere"):
        mounts.run("cat", "/nowhere/file")


def test_a_fuse_daemon_that_fails_is_quoted(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "raise SystemExit('no such luck')"]
    with pytest.raises(BenchmarkError, match="no such luck"):
        with mounts.fuse(tmp_path / "root", command):
            pass

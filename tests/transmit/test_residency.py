"""Whether sending a range would wait for a disk, on each kind of disk."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.filesystems import DISK_KINDS, Faults, MountFaulty
from tests.kernel.test_pages import as_nobody
from zc_response.cli.bench.disks import Disk
from zc_response.kernel import pages
from zc_response.sources import FileSource
from zc_response.transmit import residency
from zc_response.transmit.residency import AHEAD, is_resident, read_resident

CONTENT = bytes(range(256)) * 4096 * 4  # 4 MiB
SIZE = len(CONTENT)
STEP = 256 * 1024
WITH_DISK = [kind for kind in DISK_KINDS if kind != "tmpfs"]

Open = Callable[..., FileSource]


@pytest.fixture
def opened(disk: Callable[[str], Path]) -> Iterator[Open]:
    """`opened("xfs", cold=True)` is CONTENT on that kind of disk."""
    sources: list[FileSource] = []

    def opened(kind: str, *, cold: bool = False) -> FileSource:
        path = disk(kind) / f"residency-{len(sources)}"
        path.write_bytes(CONTENT)
        if cold:
            Disk(path=path.parent, kind=kind).drop_caches(path)
        sources.append(FileSource.open(path))
        return sources[-1]

    yield opened
    for source in sources:
        source.release()
        Path(source.path).unlink()


@pytest.mark.parametrize("kind", DISK_KINDS)
def test_what_has_just_been_written_is_in_memory(opened: Open, kind: str) -> None:
    source = opened(kind)
    for offset, count in ((0, SIZE), (5, 10), (SIZE - 1, 1), (STEP, STEP)):
        assert is_resident(source, offset, count)
        assert read_resident(source, offset, count) == CONTENT[offset : offset + count]


@pytest.mark.parametrize("kind", WITH_DISK)
def test_what_has_been_evicted_is_not(opened: Open, kind: str) -> None:
    source = opened(kind, cold=True)

    assert not is_resident(source, 0, STEP)
    assert not is_resident(source, SIZE - 1, 1)


@pytest.mark.parametrize("kind", WITH_DISK)
def test_what_has_been_evicted_is_not_read_at_once(opened: Open, kind: str) -> None:
    assert read_resident(opened(kind, cold=True), 0, 4096) is None


@pytest.mark.parametrize("kind", WITH_DISK)
def test_what_has_been_read_again_is_in_memory_again(opened: Open, kind: str) -> None:
    source = opened(kind, cold=True)
    while os.pread(source.fileno(), SIZE, 0) != CONTENT:
        pass

    assert is_resident(source, 0, SIZE)
    assert read_resident(source, 1, 4096) == CONTENT[1:4097]


@pytest.mark.parametrize("kind", WITH_DISK)
def test_a_range_that_is_half_in_memory_is_not_resident(
    opened: Open, kind: str
) -> None:
    source = opened(kind, cold=True)
    os.posix_fadvise(source.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
    os.pread(source.fileno(), STEP, 0)
    # On overlay it is the file below that is read, with its own readahead.
    far = SIZE - STEP

    assert not is_resident(source, far, STEP)
    assert not is_resident(source, 0, SIZE)


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs"])
def test_what_the_kernel_would_read_ahead_counts_too(opened: Open, kind: str) -> None:
    """Reading on may have to wait for a place in the disk's queue."""
    source = opened(kind, cold=True)
    os.posix_fadvise(source.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
    os.pread(source.fileno(), STEP + AHEAD, 0)
    assert is_resident(source, 0, STEP)
    assert not is_resident(source, AHEAD, STEP)


def test_files_of_a_daemon_never_count_as_resident(faulty_mount: MountFaulty) -> None:
    """Nor is it asked, be the file in memory or not."""
    mount = faulty_mount(CONTENT)
    mount.file.read_bytes()
    with FileSource.open(mount.file) as source:
        mount.inject(Faults(hanging=("getattr", "fgetattr", "open", "read")))
        mount.forget()

        assert not is_resident(source, 0, STEP)
        assert read_resident(source, 0, 10) is None
        assert mount.operations() == []
        mount.release()


@pytest.mark.parametrize("kind", DISK_KINDS)
def test_a_file_that_has_shrunk_is_not_read_at_once(opened: Open, kind: str) -> None:
    """Whatever is said of its pages: those bytes are not there."""
    source = opened(kind)
    os.truncate(source.path, 1000)

    assert read_resident(source, 0, 4096) is None
    assert read_resident(source, STEP, 4096) is None
    if kind != "tmpfs":
        assert not is_resident(source, STEP, STEP)


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs"])
@pytest.mark.parametrize("code", [errno.ENOSYS, errno.EPERM])
def test_without_cachestat_a_byte_of_each_stretch_is_read(
    opened: Open, kind: str, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_arguments: Any) -> int:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(pages, "cached", refused)
    assert is_resident(opened(kind), 0, SIZE)
    assert not is_resident(opened(kind, cold=True), 0, STEP)


def test_where_no_question_is_answered_everything_is_cold(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_arguments: Any) -> Any:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    source = opened("ext4")
    monkeypatch.setattr(pages, "cached", refused)
    monkeypatch.setattr(pages, "read_nowait", refused)

    assert not is_resident(source, 0, 1)
    assert read_resident(source, 0, 1) is None


def test_a_filesystem_that_is_not_known_is_not_asked(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = opened("ext4")
    monkeypatch.setattr(residency, "ANSWERS", {})

    assert not is_resident(source, 0, 1)
    assert read_resident(source, 0, 1) is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become nobody")
@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs"])
def test_who_does_not_own_the_file_is_told_the_same(opened: Open, kind: str) -> None:
    hot, cold = opened(kind), opened(kind, cold=True)

    assert as_nobody(lambda: is_resident(hot, 0, SIZE))
    assert as_nobody(lambda: not is_resident(cold, 0, STEP))
    assert as_nobody(lambda: read_resident(hot, 0, 10) == CONTENT[:10])


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become nobody")
def test_who_does_not_own_a_file_on_overlay_takes_it_for_cold(opened: Open) -> None:
    source = opened("overlay")

    assert as_nobody(lambda: not is_resident(source, 0, STEP))
    assert as_nobody(lambda: read_resident(source, 0, 10) is None)

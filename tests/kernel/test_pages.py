"""What the kernel says of the page cache, on each kind of disk."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.filesystems import DISK_KINDS, MountFaulty
from zc_response.cli.bench.disks import Disk
from zc_response.kernel import pages
from zc_response.kernel.pages import PAGE, cached, mapped, read_nowait

CONTENT = bytes(range(256)) * 4096  # 1 MiB
ON_DISK = ("ext4", "xfs", "btrfs")  # whose page cache is their own
on_disks = pytest.mark.parametrize("kind", ON_DISK)

Open = Callable[..., int]


@pytest.fixture
def opened(disk: Callable[[str], Path]) -> Iterator[Open]:
    """`opened("xfs", cold=True)` is a descriptor of CONTENT on that kind of disk."""
    files: list[tuple[int, Path]] = []

    def opened(kind: str, content: bytes = CONTENT, *, cold: bool = False) -> int:
        path = disk(kind) / f"pages-{len(files)}"
        path.write_bytes(content)
        if cold:
            Disk(path=path.parent, kind=kind).drop_caches(path)
        files.append((os.open(path, os.O_RDONLY), path))
        return files[-1][0]

    yield opened
    for fd, path in files:
        os.close(fd)
        path.unlink()


@on_disks
def test_what_is_in_memory_is_read_at_once(opened: Open, kind: str) -> None:
    fd = opened(kind)

    assert read_nowait(fd, 5, 10_000) == CONTENT[5:10_005]
    assert read_nowait(fd, len(CONTENT) - 3, 100) == CONTENT[-3:]
    assert read_nowait(fd, len(CONTENT), 1) == b""


@on_disks
def test_what_is_on_disk_only_is_not_read_at_once(opened: Open, kind: str) -> None:
    with pytest.raises(BlockingIOError):
        read_nowait(opened(kind, cold=True), 0, 1)


@on_disks
def test_of_a_file_that_is_half_in_memory_the_half_is_read(
    opened: Open, kind: str
) -> None:
    fd = opened(kind, cold=True)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)  # nothing is read ahead
    os.pread(fd, 4 * PAGE, 0)

    assert CONTENT.startswith(data := read_nowait(fd, 0, 64 * PAGE))
    assert 4 * PAGE <= len(data) < 64 * PAGE


@pytest.mark.parametrize("kind", ["tmpfs", "overlay"])
def test_where_it_cannot_be_told_the_kernel_says_so(opened: Open, kind: str) -> None:
    """Newer kernels can."""
    fd = opened(kind)

    assert told(fd) in (CONTENT[:10], errno.EOPNOTSUPP)


def told(fd: int) -> bytes | bytearray | int | None:
    try:
        return read_nowait(fd, 0, 10)
    except OSError as exc:
        return exc.errno


def test_fuse_cannot_tell(faulty_mount: MountFaulty) -> None:
    mount = faulty_mount(CONTENT)
    with mount.file.open("rb") as file:
        assert told(file.fileno()) == errno.EOPNOTSUPP


def test_without_the_flag_nothing_is_read_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "_RWF_NOWAIT", 0)
    (tmp_path / "file").write_bytes(CONTENT)
    with (tmp_path / "file").open("rb") as file:
        with pytest.raises(OSError, match="not supported"):
            read_nowait(file.fileno(), 0, 1)


def counted(fd: int, offset: int, count: int) -> int:
    try:
        return cached(fd, offset, count)
    except OSError as exc:
        if exc.errno in (errno.ENOSYS, errno.EPERM):
            pytest.skip(f"no cachestat here: {exc.strerror}")
        raise


@pytest.mark.parametrize("kind", [*ON_DISK, "tmpfs"])
def test_pages_in_memory_are_counted(opened: Open, kind: str) -> None:
    fd = opened(kind)

    assert counted(fd, 0, len(CONTENT)) == len(CONTENT) // PAGE
    assert counted(fd, PAGE - 1, 2) == 2
    assert counted(fd, PAGE, 1) == 1


@on_disks
def test_pages_on_disk_only_are_not_counted(opened: Open, kind: str) -> None:
    fd = opened(kind, cold=True)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)
    assert counted(fd, 0, len(CONTENT)) == 0

    os.pread(fd, 1, 10 * PAGE)
    assert 1 <= counted(fd, 0, len(CONTENT)) < len(CONTENT) // PAGE


def test_on_overlay_no_page_is_counted(opened: Open) -> None:
    assert counted(opened("overlay"), 0, len(CONTENT)) == 0


def test_without_a_c_library_nothing_is_counted_or_mapped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "_syscall", None)
    monkeypatch.setattr(pages, "_libc", None)
    (tmp_path / "file").write_bytes(CONTENT)
    with (tmp_path / "file").open("rb") as file:
        with pytest.raises(OSError, match="not implemented"):
            cached(file.fileno(), 0, 1)
        assert mapped(file.fileno(), 0, 1) is None


@pytest.mark.parametrize("kind", DISK_KINDS)
def test_what_is_in_memory_is_seen_in_a_mapping(opened: Open, kind: str) -> None:
    fd = opened(kind)

    assert mapped(fd, 0, len(CONTENT)) is True
    assert mapped(fd, PAGE + 5, 3 * PAGE) is True
    assert mapped(fd, len(CONTENT) - 1, 1) is True


@pytest.mark.parametrize("kind", [*ON_DISK, "overlay"])
def test_what_is_on_disk_only_is_seen_in_a_mapping(opened: Open, kind: str) -> None:
    fd = opened(kind, cold=True)
    assert mapped(fd, 0, len(CONTENT)) is False
    assert mapped(fd, len(CONTENT) - 1, 1) is False

    os.pread(fd, len(CONTENT), 0)
    assert mapped(fd, 0, len(CONTENT)) is True


def test_asking_a_mapping_reads_nothing(opened: Open) -> None:
    fd = opened("ext4", cold=True)
    for _ in range(3):
        assert mapped(fd, 0, len(CONTENT)) is False


def test_a_file_that_has_become_shorter_is_not_in_memory(tmp_path: Path) -> None:
    """What lies beyond the end is not there; no signal comes of it."""
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    with path.open("rb") as file:
        os.truncate(path, 10 * PAGE)

        assert mapped(file.fileno(), 0, len(CONTENT)) is not True
        assert mapped(file.fileno(), 20 * PAGE, PAGE) is not True


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become nobody")
@pytest.mark.parametrize("kind", ["ext4", "overlay"])
def test_who_neither_owns_nor_may_write_a_file_is_not_told(
    opened: Open, kind: str
) -> None:
    fd = opened(kind)
    assert as_nobody(lambda: mapped(fd, 0, len(CONTENT)) is None)
    assert as_nobody(lambda: mapped(fd, 0, 1) is None)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become nobody")
def test_who_neither_owns_nor_may_write_a_file_is_given_no_count(
    opened: Open,
) -> None:
    fd = opened("ext4")

    def is_refused() -> bool:
        try:
            cached(fd, 0, PAGE)
        except OSError as exc:
            return exc.errno in (errno.EPERM, errno.ENOSYS)
        return False

    assert as_nobody(is_refused)


def as_nobody(holds: Callable[[], bool]) -> bool:
    """Whether `holds` is true in a process without rights."""
    child = os.fork()
    if child == 0:  # nothing of the test runner may run in here
        try:
            os.setgroups([])
            os.setresgid(65534, 65534, 65534)
            os.setresuid(65534, 65534, 65534)
            os._exit(0 if holds() else 1)
        finally:
            os._exit(2)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status) == 0

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.kernel.test_leases import refusal
from zc_response.kernel import copies

CONTENT = bytes(range(256)) * 1024
Disk = Callable[[str], Path]


@pytest.fixture
def opened(disk: Disk) -> Iterator[Callable[[str], tuple[int, Path]]]:
    """Open a new file on a disk of some kind, for reading."""
    made: list[tuple[int, Path]] = []

    def open_it(kind: str) -> tuple[int, Path]:
        path = disk(kind) / "to be copied"
        path.write_bytes(CONTENT)
        made.append((os.open(path, os.O_RDONLY), path))
        return made[-1]

    yield open_it
    for fd, path in made:
        os.close(fd)
        path.unlink()


@pytest.mark.parametrize("kind", ["xfs", "btrfs"])
def test_a_clone_keeps_the_old_bytes(
    opened: Callable[[str], tuple[int, Path]], kind: str
) -> None:
    fd, path = opened(kind)
    target = copies.unnamed_file(str(path.parent))
    copies.clone(fd, target)
    path.write_bytes(b"\xff" * len(CONTENT))
    os.truncate(path, 10)

    assert os.pread(target, 2 * len(CONTENT), 0) == CONTENT
    os.close(target)


@pytest.mark.parametrize("kind", ["ext4", "tmpfs"])
def test_a_filesystem_that_shares_no_data_refuses_a_clone(
    opened: Callable[[str], tuple[int, Path]], kind: str
) -> None:
    fd, path = opened(kind)
    target = copies.unnamed_file(str(path.parent))
    refused = refusal(lambda: copies.clone(fd, target))
    os.close(target)
    assert refused == "ENOTSUP"


def test_a_clone_is_refused_across_filesystems(
    opened: Callable[[str], tuple[int, Path]], disk: Disk
) -> None:
    fd, _path = opened("xfs")
    target = copies.unnamed_file(str(disk("btrfs")))
    refused = refusal(lambda: copies.clone(fd, target))
    os.close(target)
    assert refused == "EXDEV"


def test_an_unnamed_file_is_in_no_directory_and_private(tmp_path: Path) -> None:
    fd = copies.unnamed_file(str(tmp_path))
    status = os.fstat(fd)
    os.close(fd)
    assert list(tmp_path.iterdir()) == []
    assert (status.st_nlink, status.st_mode & 0o777) == (0, 0o600)


def test_where_no_file_can_be_unnamed_it_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "O_TMPFILE")
    assert refusal(lambda: copies.unnamed_file(str(tmp_path))) == "ENOTSUP"


def test_a_sealed_file_in_memory_can_only_be_read() -> None:
    fd = copies.memory_file("test")
    os.write(fd, CONTENT)
    copies.seal(fd)
    for change in (
        lambda: os.pwrite(fd, b"x", 0),
        lambda: os.ftruncate(fd, 1),
        lambda: os.ftruncate(fd, len(CONTENT) + 1),
        lambda: copies.seal(fd),
    ):
        with pytest.raises(PermissionError):
            change()

    assert os.pread(fd, 2 * len(CONTENT), 0) == CONTENT
    os.close(fd)


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs", "overlay", "tmpfs"])
def test_bytes_are_copied_from_any_place_to_where_the_target_stands(
    opened: Callable[[str], tuple[int, Path]], kind: str
) -> None:
    fd, _path = opened(kind)
    target = copies.memory_file("test")
    os.lseek(target, 100, os.SEEK_SET)

    assert copies.append(fd, target, 7, 5000) == 5000
    assert copies.append(fd, target, 5007, 1) == 1
    assert copies.append(fd, target, len(CONTENT), 1) == 0
    assert os.pread(target, 6000, 0) == bytes(100) + CONTENT[7:5008]
    assert os.lseek(fd, 0, os.SEEK_CUR) == 0
    os.close(target)

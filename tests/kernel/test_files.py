from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.filesystems import DISK_KINDS
from tests.live import eventually
from tests.writers import Writer
from zc_response.kernel.files import wait_for_writes

LONG = 160 << 20  # bytes: a write(2) that takes many milliseconds

ONE_WRITE = f"""
data = b"\\xff" * {LONG}
file = os.open(path, os.O_WRONLY)
assert os.pwrite(file, data, 0) == len(data)
"""


@pytest.mark.parametrize("kind", DISK_KINDS)
def test_a_write_that_is_under_way_has_ended_when_it_returns(
    disk: Callable[[str], Path], kind: str
) -> None:
    """A long write is seen in its middle: its first byte is there. Not its last."""
    path = disk(kind) / "long"
    path.write_bytes(b"")
    os.truncate(path, LONG)
    fd = os.open(path, os.O_RDONLY)
    try:
        with Writer(path, ONE_WRITE) as writer:
            writer.go()
            eventually(lambda: os.pread(fd, 1, 0) == b"\xff", "the first byte")
            wait_for_writes(fd)
            assert os.pread(fd, 1, LONG - 1) == b"\xff"
            writer.seconds()
    finally:
        os.close(fd)
        path.unlink()


@pytest.mark.parametrize("kind", DISK_KINDS)
@pytest.mark.parametrize("content", [b"", b"content"])
def test_a_descriptor_stands_where_it_stood(
    disk: Callable[[str], Path], kind: str, content: bytes
) -> None:
    path = disk(kind) / "file"
    path.write_bytes(content)
    fd = os.open(path, os.O_RDONLY)
    try:
        for place in (0, 5, 500):
            os.lseek(fd, place, os.SEEK_SET)
            wait_for_writes(fd)
            assert os.lseek(fd, 0, os.SEEK_CUR) == place
    finally:
        os.close(fd)
        path.unlink()


def test_a_system_that_knows_nothing_of_holes_is_only_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "SEEK_DATA")
    path = tmp_path / "file"
    path.write_bytes(b"content")
    with path.open("rb") as file:
        wait_for_writes(file.fileno())
        assert file.read() == b"content"

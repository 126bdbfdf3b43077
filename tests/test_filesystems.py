"""The filesystems that other tests stand on do what they are ordered to."""

from __future__ import annotations

import errno
import os
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.filesystems import DISK_KINDS, Faults, MountFaulty
from tests.live import eventually
from zc_response.cli.bench.mounts import is_mounted
from zc_response.kernel.files import filesystem

CONTENT = os.urandom(300_000)
PAGE = 4096


@pytest.mark.parametrize("kind", DISK_KINDS)
def test_a_disk_is_of_its_kind(disk: Callable[[str], Path], kind: str) -> None:
    """It can be written to, and is the same for every test."""
    file = disk(kind) / "file"
    file.write_bytes(b"content")
    fd = os.open(file, os.O_RDONLY)
    try:
        assert filesystem(fd) == kind
    finally:
        os.close(fd)
        file.unlink()
    assert disk(kind) == file.parent


def read_in_thread(file: Path) -> tuple[threading.Thread, list[bytes | OSError]]:
    """Read a file as somebody else; what came of it is in the list at the end."""
    found: list[bytes | OSError] = []

    def read() -> None:
        try:
            found.append(file.read_bytes())
        except OSError as exc:
            found.append(exc)

    thread = threading.Thread(target=read)
    thread.start()
    return thread, found


def test_a_file_without_faults_is_whole(faulty_mount: MountFaulty) -> None:
    mount = faulty_mount(CONTENT)

    assert mount.file.read_bytes() == CONTENT
    assert mount.file.stat().st_size == len(CONTENT)


def test_the_daemon_tells_what_it_was_asked(faulty_mount: MountFaulty) -> None:
    """A test can show that a path was, or was not, looked at."""
    mount = faulty_mount(CONTENT)
    assert mount.operations() == []

    mount.file.stat()
    assert set(mount.operations()) == {"getattr"}

    mount.forget()
    mount.file.read_bytes()
    assert "open" in mount.operations()
    assert any(line.startswith("read 0 ") for line in mount.operations())


def test_reads_fail_from_a_byte_on(faulty_mount: MountFaulty) -> None:
    """What lies in the pages before it is still to be had."""
    bad = 50 * PAGE
    mount = faulty_mount(CONTENT, Faults(read_error_from=bad))
    fd = os.open(mount.file, os.O_RDONLY)
    try:
        assert os.pread(fd, len(CONTENT), 0) == CONTENT[:bad]
        with pytest.raises(OSError, match="Input/output") as caught:
            os.pread(fd, 1, bad)
    finally:
        os.close(fd)
    assert caught.value.errno == errno.EIO


def test_data_ends_before_the_size_says(faulty_mount: MountFaulty) -> None:
    mount = faulty_mount(CONTENT, Faults(data_ends_at=70_000))

    assert mount.file.stat().st_size == len(CONTENT)
    assert mount.file.read_bytes() == CONTENT[:70_000]


def test_reads_take_their_time(faulty_mount: MountFaulty) -> None:
    mount = faulty_mount(CONTENT, Faults(seconds_per_read=0.1))
    start = time.monotonic()

    assert mount.file.read_bytes() == CONTENT

    assert time.monotonic() - start > 0.1


def test_closing_fails(faulty_mount: MountFaulty) -> None:
    mount = faulty_mount(CONTENT, Faults(close_error=True))
    fd = os.open(mount.file, os.O_RDONLY)

    with pytest.raises(OSError, match="Input/output"):
        os.close(fd)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


@pytest.mark.parametrize("operation", ["getattr", "open", "read", "flush"])
def test_what_hangs_goes_on_when_released(
    faulty_mount: MountFaulty, operation: str
) -> None:
    mount = faulty_mount(CONTENT, Faults(hanging=(operation,)))
    thread, found = read_in_thread(mount.file)
    eventually(lambda: any(line.startswith(operation) for line in mount.operations()))
    thread.join(0.1)
    assert thread.is_alive()

    mount.release()

    thread.join(5)
    assert found == [CONTENT]


def test_nothing_hangs_for_ever(faulty_mount: MountFaulty) -> None:
    mount = faulty_mount(CONTENT, Faults(hanging=("open",), longest_hang=0.1))

    with pytest.raises(TimeoutError):
        mount.file.read_bytes()


def test_faults_can_begin_while_a_file_is_open(faulty_mount: MountFaulty) -> None:
    """The path hangs from now on; the descriptor does not."""
    mount = faulty_mount(CONTENT)
    with mount.file.open("rb") as file:
        mount.inject(Faults(hanging=("getattr",)))
        thread, found = read_in_thread(mount.file)

        assert file.read(10) == CONTENT[:10]
        assert thread.is_alive()

        mount.inject(Faults())  # does not release
        assert thread.is_alive()
        mount.release()
        thread.join(5)
    assert found == [CONTENT]


def test_the_end_of_a_mount_frees_who_hangs_in_it(tmp_path: Path) -> None:
    """The reader gets an error, and the mount is gone."""
    from tests import filesystems

    if missing := filesystems.why_not("fuse"):
        pytest.skip(f"no FUSE here: {missing}")
    with filesystems.faulty_mount(
        tmp_path, CONTENT, Faults(hanging=("read",))
    ) as mount:
        thread, found = read_in_thread(mount.file)
        eventually(lambda: any("read" in line for line in mount.operations()))

    thread.join(5)
    assert isinstance(found[0], OSError)
    assert not is_mounted(mount.directory)


def test_sendfile_asks_the_daemon_for_data_only(faulty_mount: MountFaulty) -> None:
    """So that stats may hang while an open file is being sent."""
    mount = faulty_mount(CONTENT)
    ours, theirs = socket.socketpair()
    with ours, theirs, mount.file.open("rb") as file:
        mount.forget()
        assert os.sendfile(ours.fileno(), file.fileno(), 0, PAGE) == PAGE
    assert {line.split()[0] for line in mount.operations()} == {"read"}

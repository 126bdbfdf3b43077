from __future__ import annotations

import os
import resource
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from zc_response.errors import (
    FileForbiddenError,
    FileMissingError,
    NotRegularFileError,
    OutOfDescriptorsError,
    SourceError,
)
from zc_response.sources import FileSource


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    return path


def test_its_facts_are_those_of_the_open_file_and_not_of_the_name(path: Path) -> None:
    with FileSource.open(path) as source:
        path.rename(path.with_name("old"))
        path.write_bytes(b"another file")

        assert source.facts.size == 10
        assert source.facts.inode == os.stat(path.with_name("old")).st_ino
        assert source.read(0, 100) == b"0123456789"


def test_a_missing_file_is_a_file_not_found_error(tmp_path: Path) -> None:
    with pytest.raises(FileMissingError, match="none") as caught:
        FileSource.open(tmp_path / "none")

    assert isinstance(caught.value, FileNotFoundError)
    assert caught.value.status == 404


def test_a_name_with_a_nul_is_a_missing_file() -> None:
    with pytest.raises(FileMissingError):
        FileSource.open("a\0b")


def test_a_name_that_is_too_long_is_a_missing_file() -> None:
    with pytest.raises(FileMissingError):
        FileSource.open("a" * 5000)


def test_a_directory_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(NotRegularFileError, match="a directory, not a regular file"):
        FileSource.open(tmp_path)


@pytest.mark.timeout(5)
def test_a_fifo_is_refused_without_waiting_for_a_writer(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")

    with pytest.raises(NotRegularFileError, match="a FIFO"):
        FileSource.open(tmp_path / "fifo")


def test_a_unix_socket_is_refused(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        with pytest.raises(NotRegularFileError):
            FileSource.open(tmp_path / "s")


@pytest.mark.parametrize("path", ["/dev/zero", "/dev/null"])
def test_a_device_is_refused(path: str) -> None:
    with pytest.raises(NotRegularFileError, match="a character device"):
        FileSource.open(path)


@pytest.mark.parametrize(
    ("path", "filesystem"), [("/proc/version", "proc"), ("/sys/kernel/notes", "sysfs")]
)
def test_files_that_the_kernel_makes_up_are_refused(path: str, filesystem: str) -> None:
    with pytest.raises(NotRegularFileError, match=filesystem):
        FileSource.open(path)


@pytest.fixture
def nobody(path: Path) -> Iterator[None]:
    """Be somebody for whom permissions count, and let the file have none."""
    path.chmod(0)
    privileged = os.geteuid() == 0
    if privileged:
        os.seteuid(65534)
    yield
    if privileged:
        os.seteuid(0)


@pytest.mark.usefixtures("nobody")
def test_a_file_without_permission_is_forbidden(path: Path) -> None:
    with pytest.raises(FileForbiddenError) as caught:
        FileSource.open(path)

    assert caught.value.status == 403
    assert isinstance(caught.value, PermissionError)


@pytest.fixture
def no_descriptors_left(path: Path) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("no_descriptors_left")
def test_running_out_of_descriptors_says_try_later(path: Path) -> None:
    with pytest.raises(OutOfDescriptorsError) as caught:
        FileSource.open(path)

    assert caught.value.status == 503


@pytest.mark.usefixtures("no_descriptors_left")
def test_running_out_while_borrowing_says_try_later_too(path: Path) -> None:
    with pytest.raises(OutOfDescriptorsError):
        FileSource.borrow(0)


def test_it_closes_when_the_last_share_is_released(path: Path) -> None:
    source = FileSource.open(path)
    source.retain()

    source.release()
    assert not source.closed
    source.release()
    assert source.closed


def test_releasing_once_too_often_is_harmless(path: Path) -> None:
    source = FileSource.open(path)
    source.release()
    number_reused = os.open(path, os.O_RDONLY)

    source.release()

    os.close(number_reused)  # would fail if the source had closed it


def test_a_closed_source_has_no_descriptor_to_give(path: Path) -> None:
    source = FileSource.open(path)
    source.release()

    with pytest.raises(ValueError, match="closed"):
        source.fileno()
    with pytest.raises(ValueError, match="closed"):
        source.retain()


def test_a_source_that_nobody_releases_warns_and_closes(path: Path) -> None:
    with pytest.warns(ResourceWarning, match="unreleased"):
        FileSource.open(path)


def test_a_borrowed_descriptor_stays_its_owners(path: Path) -> None:
    with path.open("rb") as file:
        with FileSource.borrow(file.fileno()) as source:
            assert source.read(2, 3) == b"234"
        assert file.read() == b"0123456789"


def test_shares_taken_and_released_by_many_threads_add_up(path: Path) -> None:
    source = FileSource.open(path)

    def share() -> None:
        for _ in range(2000):
            source.retain().release()

    threads = [threading.Thread(target=share) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert not source.closed
    source.release()
    assert source.closed


def test_every_error_of_opening_is_also_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="none") as caught:
        FileSource.open(tmp_path / "none")

    assert isinstance(caught.value, SourceError)
    assert caught.value.filename == str(tmp_path / "none")

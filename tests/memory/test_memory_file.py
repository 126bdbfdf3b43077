"""What a memory file is, and who owns it."""

from __future__ import annotations

import csv
import errno
import fcntl
import gc
import io
import os
import resource
import signal
import threading
import zipfile
from collections.abc import Callable, Iterator
from datetime import datetime, timezone

import pytest

from tests.memory.conftest import CONTENT, Refuse
from zc_response import MemoryFile

ALL_SEALS = 0x1 | 0x2 | 0x4 | 0x8


def seals(file: MemoryFile) -> int:
    return fcntl.fcntl(file.fileno(), 1034)  # F_GET_SEALS


def open_descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


# What is in it ----------------------------------------------------------------------


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_it_has_the_bytes_it_was_made_of(
    kind: Callable[[bytes], bytes], kept: tuple[str, str]
) -> None:
    with MemoryFile(kind(CONTENT)) as file:
        assert (file.size, file.read()) == (len(CONTENT), CONTENT)
        assert file.read(1000, 10) == CONTENT[1000:1010]
        assert (file.guard, file.reason) == kept


def test_it_can_be_empty(kept: tuple[str, str]) -> None:
    with MemoryFile(b"") as file:
        assert (file.size, file.read(), file.guard) == (0, b"", kept[0])


def test_a_view_of_wider_items_is_taken_byte_by_byte() -> None:
    with MemoryFile(memoryview(CONTENT).cast("Q")) as file:
        assert file.read() == CONTENT


def test_what_happens_to_the_data_later_does_not_matter() -> None:
    data = bytearray(CONTENT)
    with MemoryFile(data) as file:
        data[:3] = b"new"
        assert file.read() == CONTENT


CHANGES: dict[str, Callable[[int], object]] = {
    "write": lambda fd: os.pwrite(fd, b"x", 0),
    "shrink": lambda fd: os.ftruncate(fd, 1),
    "grow": lambda fd: os.ftruncate(fd, 1 << 30),
    "reserve": lambda fd: os.posix_fallocate(fd, 0, 1 << 30),
    "open again": lambda fd: os.open(f"/proc/self/fd/{fd}", os.O_RDWR | os.O_TRUNC),
    "loosen": lambda fd: fcntl.fcntl(fd, 1033, 0),  # F_ADD_SEALS
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_nobody_can_change_it(change: Callable[[int], object]) -> None:
    with MemoryFile(CONTENT) as file:
        with pytest.raises(PermissionError):
            change(file.fileno())

        assert file.read() == CONTENT
        assert seals(file) & ALL_SEALS == ALL_SEALS


def test_a_system_that_knows_no_seal_against_execution_seals_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    create = os.memfd_create

    def before_6_3(name: str, flags: int) -> int:
        if flags & ~(os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return create(name, flags)

    monkeypatch.setattr(os, "memfd_create", before_6_3)
    with MemoryFile(CONTENT) as file:
        assert (file.guard, seals(file)) == ("sealed", ALL_SEALS)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.ENOMEM])
def test_no_room_for_it_is_the_callers_to_know_and_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def full(*_args: object) -> int:
        raise OSError(number, os.strerror(number))

    before = open_descriptors()
    monkeypatch.setattr(os, "write", full)

    with pytest.raises(OSError, match=os.strerror(number)):
        MemoryFile(CONTENT)

    assert open_descriptors() == before


@pytest.fixture
def no_descriptors_left() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("no_descriptors_left")
def test_no_descriptor_for_it_is_the_callers_to_know() -> None:
    with pytest.raises(OSError, match="Too many open files"):
        MemoryFile(CONTENT)


# What is said of it -----------------------------------------------------------------


def test_its_tag_is_the_same_for_the_same_bytes_only() -> None:
    with MemoryFile(b"one") as one, MemoryFile(b"one", "x/y") as same:
        with MemoryFile(b"two") as other:
            assert one.etag == same.etag != other.etag
            assert one.etag.startswith('"')


def test_its_tag_can_be_given() -> None:
    with MemoryFile(b"one", etag="v1") as file:
        assert file.etag == '"v1"'


@pytest.mark.parametrize("tag", ['a"b', "a b", "a\nb", "\x00"])
def test_what_cannot_be_a_tag_is_refused(tag: str) -> None:
    with pytest.raises(ValueError, match="cannot be an entity-tag"):
        MemoryFile(b"", etag=tag)


@pytest.mark.parametrize(
    ("arguments", "media_type"),
    [
        ({}, "application/octet-stream"),
        ({"name": "report.pdf"}, "application/pdf"),
        ({"name": "report.pdf", "media_type": "x/y"}, "x/y"),
    ],
    ids=str,
)
def test_its_media_type_is_given_or_guessed(
    arguments: dict[str, str], media_type: str
) -> None:
    with MemoryFile(b"", **arguments) as file:  # type: ignore[arg-type]
        assert file.media_type == media_type


def test_its_name_is_what_proc_calls_it() -> None:
    with MemoryFile(b"", name="report.pdf") as file:
        assert "report.pdf" in os.readlink(f"/proc/self/fd/{file.fileno()}")
        assert "report.pdf" in repr(file)


@pytest.mark.parametrize("name", ["名前" * 200, "x" * 1000])
def test_a_name_can_be_longer_than_the_kernel_wants(name: str) -> None:
    with MemoryFile(b"", name=name) as file:
        assert (file.name, file.guard) == (name, "sealed")


# Written piece by piece -------------------------------------------------------------


def test_a_draft_is_sealed_when_its_context_ends(kept: tuple[str, str]) -> None:
    with MemoryFile.open("x/y", name="n") as draft:
        for start in range(0, len(CONTENT), 100_000):
            draft.write(CONTENT[start : start + 100_000])

    with draft.memory_file as file:
        assert file.read() == CONTENT
        assert (file.media_type, file.name) == ("x/y", "n")
        assert (file.guard, file.reason) == kept


def test_a_draft_has_the_tag_of_what_was_written_whatever_the_order() -> None:
    with MemoryFile.open() as draft:
        draft.write(b"__6789")
        draft.seek(0)
        draft.write(b"45")
        draft.seek(0)
        assert draft.read() == b"456789"

    with draft.memory_file as file, MemoryFile(b"456789") as same:
        assert file.etag == same.etag


def test_libraries_that_seek_can_write_into_a_draft() -> None:
    with MemoryFile.open(name="a.zip") as draft:
        with zipfile.ZipFile(draft, "w") as archive:
            archive.writestr("a", CONTENT)

    with draft.memory_file as file:
        with zipfile.ZipFile(io.BytesIO(file.read())) as archive:
            assert archive.read("a") == CONTENT


def test_text_can_be_written_through_a_wrapper_that_closes_it() -> None:
    draft = MemoryFile.open()
    with io.TextIOWrapper(draft, "utf-8") as text:
        text.write("naïve")

    with draft.memory_file as file:
        assert file.read() == "naïve".encode()


def test_text_can_be_written_through_a_wrapper_that_is_left_to_itself() -> None:
    with MemoryFile.open("text/csv") as draft:
        text = io.TextIOWrapper(draft, "utf-8", newline="", write_through=True)
        csv.writer(text).writerows([["a", "ü"], [1, 2]])

    with draft.memory_file as file:
        assert file.read().decode() == "a,ü\r\n1,2\r\n"


def test_a_draft_that_fails_leaves_nothing() -> None:
    before = open_descriptors()
    draft = MemoryFile.open()
    draft.write(b"half")
    with pytest.raises(OSError, match="the source is gone"), draft:
        raise OSError("the source is gone")

    with pytest.raises(ValueError, match="given up"):
        _ = draft.memory_file
    assert open_descriptors() == before


def test_there_is_no_file_before_the_draft_is_closed() -> None:
    with MemoryFile.open() as draft:
        with pytest.raises(ValueError, match="not closed yet"):
            _ = draft.memory_file
    draft.memory_file.close()


def test_a_draft_that_is_forgotten_leaves_nothing() -> None:
    before = open_descriptors()
    draft = MemoryFile.open()
    draft.write(b"half")
    del draft
    gc.collect()

    assert open_descriptors() == before


def test_a_draft_that_finds_no_room_at_the_end_leaves_nothing() -> None:
    before = open_descriptors()
    draft = MemoryFile.open()
    draft.write(b"in the buffer")
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4, limit[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            draft.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)

    assert open_descriptors() == before


# Who owns it ------------------------------------------------------------------------


def test_a_share_keeps_it_open() -> None:
    file = MemoryFile(CONTENT)
    with file.share() as source:
        file.close()

        assert source.read(0, 10) == CONTENT[:10]
        number = source.fileno()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(number)


def test_a_closed_one_has_nothing_to_give() -> None:
    file = MemoryFile(CONTENT)
    with file.share():
        file.close()
        for use in (file.share, file.fileno, file.read):
            with pytest.raises(ValueError, match="closed"):
                use()
        assert file.closed


def test_closing_it_twice_takes_no_share_away() -> None:
    file = MemoryFile(CONTENT)
    with file.share() as source:
        file.close()
        file.close()

        assert not source.closed


def test_one_that_nobody_refers_to_is_gone() -> None:
    before = open_descriptors()
    cycle: list[object] = [MemoryFile(CONTENT)]
    cycle.append(cycle)
    MemoryFile(CONTENT)
    del cycle
    gc.collect()

    assert open_descriptors() == before


def test_one_that_could_not_be_made_is_no_trouble_when_it_goes() -> None:
    with pytest.raises(TypeError):
        MemoryFile("text")  # type: ignore[arg-type]
    gc.collect()


def in_child(check: Callable[[], bool]) -> bool:
    """What a check says in a forked process."""
    pid = os.fork()
    if pid == 0:
        signal.alarm(10)  # one that hangs is ended, and has failed
        status = 1
        try:
            status = 0 if check() else 1
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_child_shares_it_though_the_parent_is_busy_with_it() -> None:
    """Whoever forks may hold the lock of the shares in another thread."""
    with MemoryFile(CONTENT) as file:
        inode = os.fstat(file.fileno()).st_ino

        def check() -> bool:
            with file.share() as source:
                same = os.fstat(source.fileno()).st_ino == inode
                return same and source.read(0, 1 << 30) == CONTENT

        held, done = threading.Event(), threading.Event()

        def hold() -> None:
            with file._source._lock:
                held.set()
                done.wait()

        thread = threading.Thread(target=hold)
        thread.start()
        held.wait()
        try:
            assert in_child(check)
        finally:
            done.set()
            thread.join()


def test_a_child_that_closes_it_takes_nothing_from_the_parent() -> None:
    with MemoryFile(CONTENT) as file:

        def check() -> bool:
            file.close()
            return file.closed

        assert in_child(check)
        assert file.read() == CONTENT


def test_reading_it_moves_no_offset() -> None:
    with MemoryFile(CONTENT) as file:
        before = os.lseek(file.fileno(), 0, os.SEEK_CUR)
        file.read(5, 5)

        assert os.lseek(file.fileno(), 0, os.SEEK_CUR) == before


def test_a_date_may_be_given_in_either_form() -> None:
    date = datetime(2020, 1, 2, tzinfo=timezone.utc)
    with MemoryFile(b"", last_modified=date) as one:
        with MemoryFile(b"", last_modified=date.timestamp()) as other:
            with one.share() as source, other.share() as same:
                assert source.validators == same.validators


def test_a_system_without_memory_files_has_them_on_disk(refuse: Refuse) -> None:
    refuse("memory_file", errno.EPERM)
    with MemoryFile(CONTENT) as file:
        assert "deleted" in os.readlink(f"/proc/self/fd/{file.fileno()}")

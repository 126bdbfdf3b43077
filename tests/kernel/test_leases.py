from __future__ import annotations

import contextlib
import errno
import mmap
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.filesystems import DISK_KINDS
from tests.kernel.test_pages import as_nobody
from tests.live import PATIENCE, eventually
from tests.writers import OPEN, TRUNCATE, Writer
from zc_response.kernel import leases

every_kind = pytest.mark.parametrize("kind", DISK_KINDS)
only_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become nobody")


class Listener(threading.Thread):
    """A thread that hears of breaks until the block ends."""

    def __init__(self) -> None:
        super().__init__(name="listener")
        self.heard: list[int | None] = []
        self.is_ready = threading.Event()

    def run(self) -> None:
        self.breaks = leases.Breaks()
        self.is_ready.set()
        while (broken := self.breaks.wait(PATIENCE)) is not None:
            self.heard += broken
        self.breaks.close()

    @property
    def tid(self) -> int:
        assert self.native_id is not None
        return self.native_id

    def __enter__(self) -> Listener:
        self.start()
        assert self.is_ready.wait(PATIENCE)
        return self

    def __exit__(self, *_exc: object) -> None:
        self.breaks.wake()
        self.join()


@pytest.fixture
def listener() -> Iterator[Listener]:
    with Listener() as listener:
        yield listener


@contextlib.contextmanager
def open_new(path: Path) -> Iterator[int]:
    """A descriptor for reading of a new file, which is gone after the block."""
    path.write_bytes(b"content")
    fd = os.open(path, os.O_RDONLY)
    try:
        yield fd
    finally:
        os.close(fd)
        path.unlink(missing_ok=True)


@pytest.fixture
def fd(tmp_path: Path) -> Iterator[int]:
    with open_new(tmp_path / "file") as fd:
        yield fd


def refusal(take: Callable[[], object]) -> str:
    """The name of the error that it is refused with; empty if it is not."""
    try:
        take()
    except OSError as exc:
        return errno.errorcode[exc.errno or 0]
    return ""


def test_a_lease_is_held_until_it_is_given_back(fd: int, listener: Listener) -> None:
    assert not leases.is_held(fd)
    leases.take(fd, listener.tid)
    assert leases.is_held(fd)
    leases.give_back(fd)
    assert not leases.is_held(fd)


@every_kind
def test_a_writer_waits_until_the_lease_is_given_back(
    disk: Callable[[str], Path], kind: str, listener: Listener
) -> None:
    path = disk(kind) / "leased"
    with open_new(path) as fd, Writer(path, OPEN) as writer:
        leases.take(fd, listener.tid)
        writer.go()
        eventually(lambda: listener.heard, "the break")
        assert not writer.is_through(0.05)

        leases.give_back(fd)
        assert writer.is_through(PATIENCE)
    assert listener.heard == [fd]


def test_who_truncates_by_name_waits_as_well(
    tmp_path: Path, fd: int, listener: Listener
) -> None:
    leases.take(fd, listener.tid)
    with Writer(tmp_path / "file", TRUNCATE) as writer:
        writer.go()
        eventually(lambda: listener.heard, "the break")
        assert os.fstat(fd).st_size
        leases.give_back(fd)
        writer.seconds()
    assert not os.fstat(fd).st_size


def test_a_lease_that_is_being_broken_is_held_no_longer(
    tmp_path: Path, fd: int, listener: Listener
) -> None:
    leases.take(fd, listener.tid)
    with Writer(tmp_path / "file", OPEN) as writer:
        writer.go()
        eventually(lambda: listener.heard, "the break")
        assert not leases.is_held(fd)
        leases.give_back(fd)
        writer.seconds()


def test_a_break_is_signalled_to_the_one_thread_that_was_named(
    tmp_path: Path, fd: int
) -> None:
    with Listener() as named, Listener() as other:
        leases.take(fd, named.tid)
        with Writer(tmp_path / "file", OPEN) as writer:
            writer.go()
            eventually(lambda: named.heard, "the break")
            leases.give_back(fd)
            writer.seconds()
    assert (named.heard, other.heard) == ([fd], [])


def test_each_of_several_readers_hears_of_it(
    tmp_path: Path, fd: int, listener: Listener
) -> None:
    second = os.open(tmp_path / "file", os.O_RDONLY)
    with Writer(tmp_path / "file", OPEN) as writer:
        leases.take(fd, listener.tid)
        leases.take(second, listener.tid)
        writer.go()
        eventually(lambda: len(listener.heard) == 2, "both breaks")
        leases.give_back(fd)
        assert not writer.is_through(0.05)
        leases.give_back(second)
        writer.seconds()
    os.close(second)
    assert sorted(listener.heard, key=str) == sorted([fd, second], key=str)


NOT_SEEN = {
    "rename": "os.rename(path, path + '2')",
    "replace": "open(path + '2', 'wb').close(); os.rename(path + '2', path)",
    "unlink": "os.unlink(path)",
    "link": "os.link(path, path + '2')",
    "chmod": "os.chmod(path, 0o600)",
    "utime": "os.utime(path, (1, 1))",
    "read": "open(path, 'rb').close()",
    "truncated though only to be read": "os.open(path, os.O_RDONLY | os.O_TRUNC)",
}


@pytest.mark.parametrize("code", NOT_SEEN.values(), ids=NOT_SEEN)
def test_what_a_lease_does_not_see(
    tmp_path: Path, fd: int, listener: Listener, code: str
) -> None:
    leases.take(fd, listener.tid)
    with Writer(tmp_path / "file", code) as writer:
        writer.go().seconds()
    assert leases.is_held(fd)
    assert listener.heard == []


@only_root
def test_nobody_gets_a_lease_on_a_file_of_roots(
    tmp_path: Path, fd: int, listener: Listener
) -> None:
    tid = listener.tid
    assert as_nobody(lambda: refusal(lambda: leases.take(fd, tid)) == "EACCES")


def test_there_is_no_lease_while_somebody_may_write(
    tmp_path: Path, fd: int, listener: Listener
) -> None:
    with (tmp_path / "file").open("r+b"):
        assert refusal(lambda: leases.take(fd, listener.tid)) == "EAGAIN"
    assert refusal(lambda: leases.take(fd, listener.tid)) == ""


def test_a_writable_mapping_stands_for_a_writer_though_its_descriptor_is_closed(
    tmp_path: Path, fd: int, listener: Listener
) -> None:
    code = """
import mmap
with open(path, "r+b") as file:
    mapping = mmap.mmap(file.fileno(), 0, mmap.MAP_SHARED)
file.close()
"""
    with Writer(tmp_path / "file", code) as writer:
        writer.go().seconds()
        assert refusal(lambda: leases.take(fd, listener.tid)) == "EAGAIN"
    assert refusal(lambda: leases.take(fd, listener.tid)) == ""


def test_a_mapping_of_ones_own_that_is_private_is_no_writer(
    tmp_path: Path, fd: int, listener: Listener
) -> None:
    with mmap.mmap(fd, 0, mmap.MAP_PRIVATE):
        assert refusal(lambda: leases.take(fd, listener.tid)) == ""


def test_nobody_gets_another_lease_while_one_is_being_broken(
    tmp_path: Path, fd: int, listener: Listener
) -> None:
    second = os.open(tmp_path / "file", os.O_RDONLY)
    leases.take(fd, listener.tid)
    with Writer(tmp_path / "file", OPEN) as writer:
        writer.go()
        eventually(lambda: listener.heard, "the break")
        assert refusal(lambda: leases.take(second, listener.tid)) == "EAGAIN"
        leases.give_back(fd)
        writer.seconds()
    os.close(second)


def test_a_directory_has_no_lease(tmp_path: Path, listener: Listener) -> None:
    fd = os.open(tmp_path, os.O_RDONLY)
    assert refusal(lambda: leases.take(fd, listener.tid)) == "EINVAL"
    os.close(fd)


def test_a_wait_ends_without_a_break(listener: Listener) -> None:
    waited: list[object] = []

    def wait() -> None:
        breaks = leases.Breaks()
        waited.append(breaks.wait(0.01))
        waited.append(breaks.wait(-1.0))
        breaks.wake()
        waited.append(breaks.wait(PATIENCE))
        breaks.close()

    thread = threading.Thread(target=wait)
    thread.start()
    thread.join()
    assert waited == [[], [], None]


@pytest.mark.skipif(sys.platform != "linux", reason="there are no leases elsewhere")
def test_on_other_systems_there_is_none(
    fd: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "IS_SUPPORTED", False)
    monkeypatch.setattr(leases, "_libc", None)
    assert refusal(lambda: leases.take(fd, 1)) == "ENOSYS"
    assert refusal(leases.Breaks) == "ENOSYS"


def test_the_kernels_own_limit_is_its_default_where_it_cannot_be_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert leases.break_time() > 0
    monkeypatch.setattr(leases, "Path", lambda _name: tmp_path / "none")
    assert leases.break_time() == 45


OVERFLOW = """
import os, resource, subprocess, sys, threading
from zc_response.kernel import leases

resource.setrlimit(resource.RLIMIT_SIGPENDING, (1, 1))
directory = sys.argv[1]
paths = [f"{directory}/{number}" for number in range(5)]
for path in paths:
    open(path, "wb").close()
fds = [os.open(path, os.O_RDONLY) for path in paths]
told, ready, go = [], threading.Event(), threading.Event()

def listen():
    breaks = leases.Breaks()
    ready.set()
    go.wait(20)
    told.append(breaks.wait(20))
    breaks.close()

listener = threading.Thread(target=listen)
listener.start()
ready.wait()
for fd in fds:
    leases.take(fd, listener.native_id)
for path in paths:
    try:
        os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    except BlockingIOError:
        pass
assert not any(map(leases.is_held, fds))
go.set()
listener.join()
assert told[0][-1] is None or told[0][0] is None, told
assert len(told[0]) < len(fds), told
print("survived", flush=True)
"""


def test_more_breaks_than_signals_are_told_as_any_and_end_nothing(
    tmp_path: Path,
) -> None:
    """SIGIO in their place would end a process that does not block it."""
    done = subprocess.run(
        [sys.executable, "-c", OVERFLOW, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.stdout, done.stderr, done.returncode) == ("survived\n", "", 0)

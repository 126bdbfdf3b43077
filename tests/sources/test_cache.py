from __future__ import annotations

import contextlib
import errno
import os
import resource
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.filesystems import DISK_KINDS, Faults, MountFaulty, why_not
from tests.live import eventually
from zc_response.cli.bench.mounts import mounted
from zc_response.errors import (
    FileMissingError,
    NotRegularFileError,
    OutOfDescriptorsError,
)
from zc_response.sources import OpenFiles

Make = Callable[..., OpenFiles]


@pytest.fixture
def make() -> Iterator[Make]:
    """Make caches that are empty again after the test."""
    made: list[OpenFiles] = []

    def make(capacity: int = 8, idle_seconds: float = 60) -> OpenFiles:
        made.append(OpenFiles(capacity, idle_seconds))
        return made[-1]

    yield make
    for cache in made:
        empty(cache)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(b"first")
    return path


def empty(cache: OpenFiles) -> None:
    """Empty a cache, and wait for the thread that looked after it."""
    housekeeper = cache.clear()
    if housekeeper is not None:
        housekeeper.join()


def content(cache: OpenFiles, path: Path) -> bytes:
    with cache.open(str(path)) as source:
        return source.read(0, source.facts.size)


def test_a_second_use_needs_no_second_descriptor(make: Make, path: Path) -> None:
    cache = make()
    with cache.open(str(path)) as first, cache.open(str(path)) as second:
        assert first is second


def test_a_file_replaced_by_rename_is_not_served_for_a_moment(
    make: Make, path: Path
) -> None:
    cache = make()
    for generation in range(50):
        new = path.with_name("new")
        new.write_bytes(b"%d" % generation)
        new.replace(path)
        assert content(cache, path) == b"%d" % generation


def test_a_file_rewritten_in_place_has_its_new_facts(make: Make, path: Path) -> None:
    cache = make()
    assert content(cache, path) == b"first"
    path.write_bytes(b"longer than before")

    assert content(cache, path) == b"longer than before"


def test_a_file_of_the_same_size_and_mtime_is_told_apart(
    make: Make, path: Path
) -> None:
    cache = make()
    times = path.stat()
    assert content(cache, path) == b"first"
    new = path.with_name("new")
    new.write_bytes(b"other")
    os.utime(new, ns=(times.st_atime_ns, times.st_mtime_ns))
    new.replace(path)

    assert content(cache, path) == b"other"


def test_a_deleted_file_is_missing_at_once(make: Make, path: Path) -> None:
    cache = make()
    content(cache, path)
    path.unlink()

    with pytest.raises(FileMissingError):
        cache.open(str(path))


def test_what_is_missing_is_looked_for_again(make: Make, path: Path) -> None:
    cache = make()
    path.unlink()
    with pytest.raises(FileMissingError):
        cache.open(str(path))
    path.write_bytes(b"there")

    assert content(cache, path) == b"there"


def test_what_cannot_be_served_is_not_kept(make: Make, tmp_path: Path) -> None:
    cache = make()
    for name in (str(tmp_path), "a\0b", str(tmp_path / "none")):
        with pytest.raises((NotRegularFileError, FileMissingError)):
            cache.open(name)

    assert len(cache) == 0


def test_the_least_recently_used_goes_first(make: Make, tmp_path: Path) -> None:
    cache = make(capacity=2)
    paths = [tmp_path / name for name in "abc"]
    for each in paths:
        each.write_bytes(b"")
    kept = [cache.open(str(each)) for each in (paths[0], paths[1], paths[0], paths[2])]
    for source in kept:
        source.release()

    assert [source.closed for source in kept] == [False, True, False, False]
    assert len(cache) == 2


def test_an_entry_in_use_outlives_its_eviction(make: Make, tmp_path: Path) -> None:
    cache = make(capacity=1)
    for name in "ab":
        (tmp_path / name).write_bytes(name.encode())
    with cache.open(str(tmp_path / "a")) as source:
        content(cache, tmp_path / "b")
        assert source.read(0, 9) == b"a"
    assert source.closed


def test_without_capacity_nothing_is_kept(make: Make, path: Path) -> None:
    cache = make(capacity=0)
    with cache.open(str(path)) as source:
        pass

    assert source.closed


def test_a_process_with_few_descriptors_keeps_few_files(
    make: Make, tmp_path: Path
) -> None:
    cache = make(capacity=1000)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
    try:
        for number in range(100):
            (tmp_path / str(number)).write_bytes(b"")
            content(cache, tmp_path / str(number))
        assert len(cache) == 64 // 8
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_idle_files_are_closed_and_the_housekeeper_leaves(
    make: Make, path: Path
) -> None:
    cache = make(idle_seconds=0.1)
    before = len(os.listdir("/proc/self/fd"))
    content(cache, path)
    assert len(os.listdir("/proc/self/fd")) > before

    eventually(lambda: len(os.listdir("/proc/self/fd")) == before)
    eventually(lambda: threading.active_count() == 1)


def test_a_file_that_is_asked_for_stays_open(make: Make, path: Path) -> None:
    cache = make(idle_seconds=1.0)
    with cache.open(str(path)) as first:
        for _ in range(20):
            time.sleep(0.1)
            with cache.open(str(path)) as again:
                assert again is first


def test_it_starts_afresh_after_it_was_emptied(make: Make, path: Path) -> None:
    cache = make()
    for _ in range(3):
        assert content(cache, path) == b"first"
        cache.clear()
        assert len(cache) == 0


def test_a_child_of_fork_starts_empty_and_keeps_working(make: Make, path: Path) -> None:
    cache = make()
    content(cache, path)
    child = os.fork()
    if child == 0:  # nothing of the test runner may run in here
        try:
            empty = len(cache) == 0
            served = content(cache, path) == b"first"
            os._exit(0 if empty and served else 1)
        finally:
            os._exit(2)

    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert content(cache, path) == b"first"


def test_many_threads_get_the_right_file_while_it_is_replaced(
    make: Make, path: Path
) -> None:
    """No thread ever sees a generation older than one it has seen before."""
    cache = make(capacity=4)
    path.write_bytes(b"0")
    wrong: list[tuple[int, int]] = []
    done = threading.Event()

    def read() -> None:
        last = 0
        while not done.is_set():
            current = int(content(cache, path))
            if current < last:
                wrong.append((last, current))
            last = current

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for generation in range(1, 300):
        new = path.with_name("new")
        new.write_bytes(b"%d" % generation)
        new.replace(path)
    done.set()
    for thread in threads:
        thread.join()

    assert not wrong


# What a loop's thread may ask ---------------------------------------------------------


def fresh(cache: OpenFiles, path: Path) -> bytes | None:
    """What is at hand of a file, if it is."""
    source = cache.fresh(str(path))
    if source is None:
        return None
    with source:
        return source.read(0, source.facts.size)


def test_a_file_in_use_is_at_hand(make: Make, path: Path) -> None:
    cache = make()
    assert fresh(cache, path) is None

    content(cache, path)
    assert fresh(cache, path) == b"first"


def rewrite(path: Path) -> None:
    path.write_bytes(b"other")


def append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"!")


def truncate(path: Path) -> None:
    os.truncate(path, 2)


def replace(path: Path) -> None:
    path.with_name("new").write_bytes(b"first")
    path.with_name("new").replace(path)


def hide(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))


def link_away(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.with_name("target").write_bytes(b"secret")
    path.symlink_to("target")


def become_a_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    "change",
    [
        rewrite,
        append,
        truncate,
        replace,
        hide,
        link_away,
        become_a_directory,
        os.unlink,
    ],
)
def test_a_file_that_has_changed_is_not_at_hand(
    make: Make, path: Path, change: Callable[[Path], None]
) -> None:
    cache = make()
    content(cache, path)
    time.sleep(0.02)  # a grain of the clock that files get their times from

    change(path)
    assert fresh(cache, path) is None


def test_a_file_whose_rights_have_changed_is_asked_for_anew(
    make: Make, path: Path
) -> None:
    """Whether the process may still read it, opening it will show."""
    cache = make()
    content(cache, path)
    time.sleep(0.02)

    path.chmod(0)
    assert fresh(cache, path) is None


def test_a_file_of_a_daemon_is_never_at_hand(
    make: Make, faulty_mount: MountFaulty, tmp_path: Path
) -> None:
    """Nor is the daemon asked, though it would answer nobody."""
    mount = faulty_mount(b"first")
    (tmp_path / "link").symlink_to(mount.file)
    cache = make()
    for each in (mount.file, tmp_path / "link"):
        assert content(cache, each) == b"first"
    assert len(cache) == 2
    mount.inject(Faults(hanging=("getattr", "fgetattr", "open", "read")))
    mount.forget()

    for each in (mount.file, tmp_path / "link"):
        assert fresh(cache, each) is None
    assert mount.operations() == []
    mount.release()
    empty(cache)


@pytest.mark.parametrize("kind", DISK_KINDS)
def test_files_of_every_local_disk_are_at_hand(
    make: Make, disk: Callable[[str], Path], kind: str
) -> None:
    cache = make()
    file = disk(kind) / "cached"
    file.write_bytes(b"first")
    try:
        content(cache, file)
        assert fresh(cache, file) == b"first"
        file.write_bytes(b"second")
        assert content(cache, file) == b"second"
    finally:
        empty(cache)
        file.unlink()


def test_a_share_that_is_at_hand_outlives_the_cache(make: Make, path: Path) -> None:
    cache = make()
    content(cache, path)
    source = cache.fresh(str(path))
    assert source is not None
    with source:
        cache.clear()
        assert source.read(0, 9) == b"first"
    assert source.closed


# Descriptors and mounts -------------------------------------------------------------


@contextlib.contextmanager
def out_of_descriptors() -> Iterator[None]:
    """A process that may not open another file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_out_of_descriptors_for_good_it_says_so(make: Make, path: Path) -> None:
    cache = make()
    with out_of_descriptors(), pytest.raises(OutOfDescriptorsError):
        cache.open(str(path))


def test_out_of_descriptors_it_gives_up_what_it_keeps(
    make: Make, tmp_path: Path
) -> None:
    cache = make(capacity=8)
    for number in range(8):
        (tmp_path / str(number)).write_bytes(b"kept")
        content(cache, tmp_path / str(number))
    (tmp_path / "wanted").write_bytes(b"wanted")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(map(int, os.listdir("/proc/self/fd")))
    filling = [os.open("/dev/null", os.O_RDONLY) for _ in range(highest)]
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(filling) + 1, hard))
    try:
        assert content(cache, tmp_path / "wanted") == b"wanted"
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for fd in filling:
            os.close(fd)


def test_without_a_descriptor_for_the_housekeeper_nothing_is_kept(
    make: Make, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> tuple[int, int]:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(os, "pipe", refuse)
    cache = make()

    assert content(cache, path) == b"first"
    assert len(cache) == 0


def test_without_a_thread_for_the_housekeeper_nothing_is_kept(
    make: Make, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    cache = make()
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        assert content(cache, path) == b"first"
    assert len(cache) == 0


def test_emptying_a_cache_that_is_in_use_takes_no_time(
    make: Make, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody may put a file into it before the housekeeper has had a look."""
    cache = make(idle_seconds=2)
    content(cache, path)
    keep_house, looked = cache.keep_house, threading.Event()

    def look_a_moment_later(*arguments: Any, **keywords: Any) -> bool:
        if not looked.is_set():
            looked.set()
            content(cache, path)
        return keep_house(*arguments, **keywords)

    monkeypatch.setattr(cache, "keep_house", look_a_moment_later)
    dismissed: list[threading.Thread | None] = []
    emptying = threading.Thread(target=lambda: dismissed.append(cache.clear()))
    emptying.start()
    emptying.join(1)
    in_time = not emptying.is_alive()
    emptying.join()
    for housekeeper in filter(None, dismissed):
        housekeeper.join()

    assert in_time


def is_housekeeper(thread: threading.Thread) -> bool:
    return "open-files" in thread.name


def test_a_file_that_cannot_be_closed_properly_harms_nobody(
    make: Make, faulty_mount: MountFaulty, path: Path
) -> None:
    """The others are closed all the same."""
    cache = make(idle_seconds=0.1)
    mount = faulty_mount(b"first", Faults(close_error=True))
    cache.open(str(mount.file)).release()
    cache.open(str(path)).release()

    eventually(lambda: len(cache) == 0)
    eventually(lambda: not any(map(is_housekeeper, threading.enumerate())))
    assert content(cache, path) == b"first"


@pytest.mark.skipif(bool(why_not("tmpfs")), reason=why_not("tmpfs") or "-")
def test_a_mount_empties_it_because_a_path_may_lead_elsewhere_now(
    make: Make, path: Path, tmp_path: Path
) -> None:
    cache = make()
    content(cache, path)
    with mounted(tmp_path / "mount", "-t", "tmpfs", "tmpfs"):
        eventually(lambda: len(cache) == 0)
        assert content(cache, path) == b"first"
    eventually(lambda: len(cache) == 0)


@pytest.mark.skipif(bool(why_not("tmpfs")), reason=why_not("tmpfs") or "-")
def test_a_filesystem_with_a_cached_file_can_soon_be_unmounted(
    make: Make, tmp_path: Path
) -> None:
    """Idle files are closed; nothing else holds it."""
    cache = make(idle_seconds=0.1)
    with mounted(tmp_path / "mount", "-t", "tmpfs", "tmpfs"):
        file = tmp_path / "mount" / "file"
        file.write_bytes(b"first")
        assert content(cache, file) == b"first"
        eventually(lambda: len(cache) == 0)


def test_the_housekeepers_descriptors_go_with_it(make: Make, path: Path) -> None:
    before = sorted(os.listdir("/proc/self/fd"))
    cache = make()
    for _ in range(5):
        content(cache, path)
        empty(cache)
        assert sorted(os.listdir("/proc/self/fd")) == before


def test_in_a_child_of_fork_no_descriptor_of_the_parents_cache_is_left(
    make: Make, path: Path
) -> None:
    before = len(os.listdir("/proc/self/fd"))
    cache = make()
    content(cache, path)
    child = os.fork()
    if child == 0:  # nothing of the test runner may run in here
        try:
            os._exit(0 if len(os.listdir("/proc/self/fd")) == before else 1)
        finally:
            os._exit(2)

    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0


def test_after_a_fork_the_parent_still_has_its_file(make: Make, path: Path) -> None:
    cache = make()
    with cache.open(str(path)) as source:
        child = os.fork()
        if child == 0:
            os._exit(0)
        os.waitpid(child, 0)
        assert source.read(0, 9) == b"first"
        assert cache.fresh(str(path)) is source
        source.release()


# Files that somebody else has opened ---------------------------------------------


def test_a_file_that_somebody_has_opened_is_kept_open_too(
    make: Make, path: Path
) -> None:
    cache = make()
    with path.open("rb") as file, cache.open(str(path)) as kept:
        with cache.of_descriptor(file.fileno(), str(path)) as source:
            assert source is kept
            assert source.is_kept


def test_a_file_whose_name_another_has_now_is_the_one_that_was_opened(
    make: Make, path: Path
) -> None:
    cache = make()
    with path.open("rb") as file:
        path.with_suffix(".new").write_bytes(b"other")
        path.with_suffix(".new").rename(path)
        with cache.of_descriptor(file.fileno(), str(path)) as source:
            assert source.read(0, 10) == b"first"
            assert not source.is_kept


@pytest.mark.parametrize("name", ["", "gone"])
def test_a_file_without_a_name_is_opened_once_more(
    make: Make, path: Path, name: str
) -> None:
    cache = make()
    with path.open("rb") as file:
        path.unlink()
        with cache.of_descriptor(file.fileno(), name and str(path)) as source:
            assert source.fileno() != file.fileno()
            assert source.read(0, 10) == b"first"

from __future__ import annotations

import os
import resource
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.live import eventually
from zc_response.errors import FileMissingError, NotRegularFileError
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
        cache.clear()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(b"first")
    return path


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
    cache = make(idle_seconds=0.3)
    with cache.open(str(path)) as first:
        for _ in range(10):
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

"""The cache of compressed variants: made once, off the loop, within its bounds."""

from __future__ import annotations

import gzip
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import brotli
import pytest

from tests.live import eventually
from zc_response import Policy
from zc_response.derived import CODINGS, Variants, codings, kept_variants, variants
from zc_response.derived.codings import Compressor
from zc_response.guards.leases import leases
from zc_response.sources import FileSource
from zc_response.threads import close_all

zstd: Any = codings._zstd_module
TEXT = b"".join(b"%d lines of text, and then some\n" % n for n in range(20_000))
NOISE = os.urandom(100_000)
POLICY = Policy(compress_bytes=1 << 20)

DECOMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.decompress,
    "br": brotli.decompress,
    "zstd": lambda data: zstd.decompress(data),
}


@pytest.fixture
def cache() -> Iterator[Variants]:
    cache = Variants(1 << 20)
    yield cache
    close_all()
    cache.clear()


@pytest.fixture
def source(tmp_path: Path) -> Iterator[FileSource]:
    (tmp_path / "page.html").write_bytes(TEXT)
    with FileSource.open(tmp_path / "page.html") as source:
        yield source


def made(
    cache: Variants, source: FileSource, coding: str = "gzip", policy: Policy = POLICY
) -> FileSource | None:
    """The variant, when all that is under way has been made."""
    found = cache.get(source, coding, policy)
    close_all()
    return found or cache.get(source, coding, policy)


def content(source: FileSource) -> bytes:
    return source.read(0, source.facts.size)


def test_every_coding_can_be_had_here() -> None:
    """They are what the tests' environment installs, and best first."""
    assert list(CODINGS) == ["zstd", "br", "gzip"]


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("integrity", ["fast", "safe", "strict"])
def test_a_variant_is_the_file_compressed(
    cache: Variants, source: FileSource, coding: str, integrity: str
) -> None:
    policy = Policy(compress_bytes=1 << 20, integrity=integrity, copy_bytes=10_000)
    variant = made(cache, source, coding, policy)

    assert variant is not None
    with variant:
        assert DECOMPRESS[coding](content(variant)) == TEXT
        assert variant.facts.size < len(TEXT) / 2
        assert variant.fixed is not None
        assert variant.fixed.guard == "sealed"


def test_whoever_asks_first_does_not_wait_for_it(
    cache: Variants, source: FileSource
) -> None:
    assert cache.get(source, "gzip", POLICY) is None


def test_each_coding_has_a_strong_tag_of_its_own(
    cache: Variants, source: FileSource
) -> None:
    tags = set()
    for coding in CODINGS:
        variant = made(cache, source, coding)
        assert variant is not None
        with variant:
            assert variant.validators is not None
            assert str(variant.validators.etag).startswith('"')
            assert str(variant.validators.etag).endswith(f':{coding}"')
            tags.add(variant.validators.etag)
    assert len(tags) == len(CODINGS)


def test_the_same_bytes_have_the_same_tag_wherever_they_are_made(
    cache: Variants, source: FileSource, tmp_path: Path
) -> None:
    (tmp_path / "twin").write_bytes(TEXT)
    with FileSource.open(tmp_path / "twin") as twin:
        one, other = made(cache, source), made(cache, twin)
        assert one is not None
        assert other is not None
        with one, other:
            assert one.validators is not None
            assert other.validators is not None
            assert one.validators.etag == other.validators.etag


class Slow:
    """A compressor that waits until it may go on, and counts itself."""

    def __init__(self) -> None:
        self.may_go_on = threading.Event()
        self.made = 0

    def __call__(self) -> Compressor:
        self.made += 1
        self.may_go_on.wait(20)
        return codings._gzip()


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Iterator[Slow]:
    compressor = Slow()
    monkeypatch.setattr(variants, "CODINGS", {"gzip": compressor})
    yield compressor
    compressor.may_go_on.set()


def test_however_many_ask_meanwhile_it_is_made_once(
    cache: Variants, source: FileSource, slow: Slow
) -> None:
    for _ in range(20):
        assert cache.get(source, "gzip", POLICY) is None
    eventually(lambda: slow.made)
    for _ in range(20):
        assert cache.get(source, "gzip", POLICY) is None
    slow.may_go_on.set()

    variant = made(cache, source)
    assert variant is not None
    variant.release()
    assert slow.made == 1


def test_one_filesystem_keeps_one_thread_busy_at_most(
    cache: Variants, tmp_path: Path, slow: Slow
) -> None:
    for number in range(5):
        (tmp_path / str(number)).write_bytes(TEXT)
        with FileSource.open(tmp_path / str(number)) as source:
            cache.get(source, "gzip", POLICY)
    eventually(lambda: slow.made)
    busy = [each for each in threading.enumerate() if "compress" in each.name]

    assert len(busy) == slow.made == 1


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_child_makes_what_the_parent_was_about_to_make(
    source: FileSource, slow: Slow
) -> None:
    cache = kept_variants(POLICY)
    cache.get(source, "gzip", POLICY)
    eventually(lambda: slow.made)

    with cache._lock:
        pid = os.fork()
        if pid == 0:
            signal.alarm(10)  # one that hangs is ended, and has failed
            status = 1
            try:
                slow.may_go_on.set()
                status = 0 if made(cache, source) else 2
            finally:
                os._exit(status)

    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_those_that_wait_are_bounded(
    cache: Variants, tmp_path: Path, slow: Slow
) -> None:
    """Each of them keeps its file open."""
    before = len(os.listdir("/proc/self/fd"))
    for number in range(variants._MOST_WAITING + 10):
        (tmp_path / str(number)).write_bytes(TEXT[:5000])
        with FileSource.open(tmp_path / str(number)) as source:
            cache.get(source, "gzip", POLICY)

    more = len(os.listdir("/proc/self/fd")) - before
    assert more == variants._MOST_WAITING


def test_what_does_not_shrink_is_not_tried_again(
    cache: Variants, tmp_path: Path, slow: Slow
) -> None:
    slow.may_go_on.set()
    (tmp_path / "noise").write_bytes(NOISE)
    with FileSource.open(tmp_path / "noise") as source:
        for _ in range(3):
            assert made(cache, source) is None

    assert (slow.made, cache.total) == (1, 0)


def test_a_file_that_changed_gets_a_variant_of_its_own(
    cache: Variants, source: FileSource
) -> None:
    old = made(cache, source)
    Path(source.path).write_bytes(TEXT[::-1])
    with FileSource.open(source.path) as again:
        new = made(cache, again)

    assert old is not None
    assert new is not None
    with old, new:
        assert gzip.decompress(content(old)) == TEXT
        assert gzip.decompress(content(new)) == TEXT[::-1]


@pytest.mark.parametrize(
    "later", [TEXT[: len(TEXT) // 2], TEXT[::-1]], ids=["less", "other"]
)
@pytest.mark.parametrize("integrity", ["fast", "safe", "strict"])
def test_a_file_that_changes_meanwhile_gets_none(
    cache: Variants, source: FileSource, slow: Slow, integrity: str, later: bytes
) -> None:
    """Rather than one of a mixture, which would be kept."""
    policy = Policy(compress_bytes=1 << 20, integrity=integrity)
    cache.get(source, "gzip", policy)
    eventually(lambda: slow.made)
    Path(source.path).write_bytes(later)
    slow.may_go_on.set()
    close_all()

    assert len(cache) == 0
    assert cache.get(source, "gzip", policy) is None


def test_a_file_that_changes_and_has_its_mtime_set_back_gets_none(
    cache: Variants, source: FileSource, slow: Slow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "join", lambda *_args: "refused")
    cache.get(source, "gzip", POLICY)
    eventually(lambda: slow.made)
    Path(source.path).write_bytes(TEXT[::-1])
    os.utime(source.path, ns=(0, source.facts.mtime_ns))
    slow.may_go_on.set()
    close_all()

    assert len(cache) == 0


def test_the_oldest_goes_when_there_is_no_room(
    tmp_path: Path, source: FileSource
) -> None:
    first = made(cache := Variants(1 << 20), source)
    assert first is not None
    size = first.facts.size
    first.release()
    cache.clear()
    cache = Variants(size * 4 + size // 2)  # room for four, and one fits a quarter
    sources = []
    for number in range(5):
        (tmp_path / str(number)).write_bytes(TEXT)
        sources.append(FileSource.open(tmp_path / str(number)))
    for each in sources[:4]:
        variant = made(cache, each)
        assert variant is not None
        variant.release()
    again = cache.get(sources[0], "gzip", POLICY)  # now the latest
    assert again is not None
    fifth = made(cache, sources[4])
    assert fifth is not None

    assert len(cache) == 4
    assert cache.total <= size * 4 + size // 2
    assert cache.get(sources[1], "gzip", POLICY) is None  # it is gone
    for each in (again, fifth, *sources):
        each.release()
    close_all()
    cache.clear()


def test_a_share_outlives_its_place_in_the_cache(
    cache: Variants, source: FileSource
) -> None:
    variant = made(cache, source)
    assert variant is not None
    cache.clear()

    with variant:
        assert gzip.decompress(content(variant)) == TEXT
    assert (len(cache), cache.total) == (0, 0)


def test_one_that_would_take_more_than_a_quarter_is_of_no_use(
    source: FileSource,
) -> None:
    cache = Variants(1000)

    assert made(cache, source) is None
    assert (len(cache), cache.total) == (1, 0)


@pytest.mark.parametrize("failure", [MemoryError("none"), OSError("full")])
def test_a_failure_is_told_and_may_be_over_the_next_time(
    cache: Variants,
    source: FileSource,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    failure: BaseException,
) -> None:
    def failing() -> Compressor:
        raise failure

    with monkeypatch.context() as patch:
        patch.setattr(variants, "CODINGS", {"gzip": failing})
        assert made(cache, source) is None
        close_all()
    assert "page.html is not compressed" in caplog.text

    variant = made(cache, source)
    assert variant is not None
    variant.release()


def test_without_the_libraries_gzip_is_left() -> None:
    assert codings._first_of("no_such_module", "nor.this") is None
    assert codings._first_of("no_such_module", "zlib").__name__ == "zlib"

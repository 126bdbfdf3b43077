"""The file wrapper and planned bodies, as iterables and as what can leave otherwise."""

from __future__ import annotations

import gzip
import io
import os
import tempfile
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from django.core.files import File

from zc_response import Report
from zc_response.kernel import pages
from zc_response.planning import Segment, Slice
from zc_response.policy import Policy
from zc_response.sources import FileSource
from zc_response.wsgi import FileWrapper, SegmentsBody, read_segments, real_file
from zc_response.wsgi.bodies import FirstChunk

CONTENT = bytes(range(256)) * 400


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    return path


@pytest.fixture
def file(path: Path) -> Iterator[io.BufferedReader]:
    with path.open("rb") as file:
        yield file


def taken(body: FileWrapper | SegmentsBody, count: int | None = None) -> Any:
    """Offset and count of each slice that a body can leave as; None if it cannot."""
    segments = body.take(count, Policy())
    if segments is None:
        return None
    return [(s.offset, s.count) for s in segments if isinstance(s, Slice)]


# The file wrapper --------------------------------------------------------------------


def test_it_is_an_iterator_over_the_rest_of_the_file(file: io.BufferedReader) -> None:
    file.seek(100)
    wrapper = FileWrapper(file, 1000)

    chunks = list(wrapper)

    assert b"".join(chunks) == CONTENT[100:]
    assert {len(chunk) for chunk in chunks[:-1]} == {1000}


def test_it_can_be_sought_as_the_file_can(file: io.BufferedReader) -> None:
    wrapper = FileWrapper(file)

    assert wrapper.seekable()
    assert wrapper.seek(10) == wrapper.tell() == 10
    assert wrapper.seek(-5, os.SEEK_END) == len(CONTENT) - 5
    assert wrapper.fileno() == file.fileno()
    assert b"".join(wrapper) == CONTENT[-5:]


def test_it_cannot_be_sought_if_the_file_cannot() -> None:
    class Stream:
        def read(self, _size: int) -> bytes:
            return b""

    wrapper = FileWrapper(Stream())

    assert not wrapper.seekable()
    with pytest.raises(AttributeError):
        wrapper.fileno()
    assert list(wrapper) == []
    wrapper.close()


def test_it_closes_the_file_by_the_close_that_it_has(path: Path) -> None:
    """Django puts the response's in the place of the file's."""
    closed: list[str] = []

    class Closing(io.FileIO):
        pass

    file = Closing(path)
    file.close = lambda: closed.append("response")  # type: ignore[method-assign]
    FileWrapper(file).close()

    assert closed == ["response"]
    io.FileIO.close(file)


def test_it_is_taken_from_where_the_file_stands(file: io.BufferedReader) -> None:
    file.seek(1000)
    file.read(10)
    wrapper = FileWrapper(file)

    assert taken(wrapper) == [(1010, len(CONTENT) - 1010)]
    assert list(wrapper) == []
    wrapper.close()


def settled(path: Path) -> Path:
    """The file, as if it had not been written to for long."""
    os.utime(path, (1e9, 1e9))
    return path


def test_a_small_one_can_be_had_at_once(path: Path) -> None:
    with settled(path).open("rb") as file:
        file.seek(100)
        wrapper = FileWrapper(file)

        assert wrapper.at_once(len(CONTENT) - 100, Policy()) == CONTENT[100:]
        assert wrapper.at_once(50, Policy()) == CONTENT[100:150]
        assert b"".join(wrapper) == CONTENT[100:]


@pytest.mark.parametrize(
    ("integrity", "is_good"), [("fast", True), ("safe", False), ("strict", False)]
)
def test_a_file_that_is_perhaps_being_written_is_only_had_at_once_by_who_does_not_mind(
    file: io.BufferedReader, integrity: Any, is_good: bool
) -> None:
    found = FileWrapper(file).at_once(len(CONTENT), Policy(integrity=integrity))

    assert found == (CONTENT if is_good else None)


def test_what_changes_while_it_is_read_is_not_had_at_once(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(fd: int, offset: int, count: int) -> bytearray:
        data = real(fd, offset, count)
        os.utime(path, (2e9, 2e9))
        return data

    real = pages.read_nowait
    monkeypatch.setattr(pages, "read_nowait", read)
    with settled(path).open("rb") as file:
        wrapper = FileWrapper(file)

        assert wrapper.at_once(len(CONTENT), Policy()) is None
        assert wrapper.at_once(len(CONTENT), Policy(integrity="fast")) == CONTENT


def test_nothing_else_is_had_at_once(path: Path) -> None:
    count, policy = len(CONTENT), Policy()
    reader, writer = os.pipe()
    with settled(path).open("rb") as file, settled(path).open("r+b") as written:
        begun = FileWrapper(file)
        next(begun)

        assert begun.at_once(count, policy) is None
        assert FileWrapper(written).at_once(count, policy) is None
        assert FileWrapper(io.BytesIO(CONTENT)).at_once(count, policy) is None
        assert FileWrapper(file).at_once(count + 1, policy) is None
        with open(reader, "rb") as pipe, open(writer, "wb"):
            assert FileWrapper(pipe).at_once(count, policy) is None
    assert FileWrapper(file).at_once(count, policy) is None, "it is closed"


def test_after_its_first_chunk_it_is_taken_from_the_beginning_of_that(
    file: io.BufferedReader,
) -> None:
    file.seek(10)
    wrapper = FileWrapper(file, 100)
    first = next(wrapper)

    assert isinstance(first, FirstChunk)
    assert first.body is wrapper
    assert taken(wrapper, 500) == [(10, 500)]
    wrapper.close()


@pytest.mark.parametrize(
    "operation",
    [
        bytes,
        bytes.strip,
        lambda chunk: chunk[:],
        lambda chunk: chunk + b"",
        lambda chunk: b"".join([chunk]),
        lambda chunk: chunk.replace(b"nowhere in there", b""),
        lambda chunk: chunk.ljust(10),
    ],
)
def test_whoever_works_on_the_first_chunk_has_another(
    file: io.BufferedReader, operation: Callable[[bytes], bytes]
) -> None:
    """Though it found nothing to change in that one: in the next it may."""
    wrapper = FileWrapper(file, 100)
    chunk = operation(next(wrapper))

    assert chunk == CONTENT[:100]
    assert type(chunk) is bytes


def test_after_its_second_chunk_it_is_not_taken(file: io.BufferedReader) -> None:
    wrapper = FileWrapper(file, 100)
    next(wrapper)

    assert type(next(wrapper)) is bytes
    assert taken(wrapper) is None


def test_it_is_not_taken_for_more_than_there_is(file: io.BufferedReader) -> None:
    """The descriptors are counted around the test, and an unreleased one warns."""
    wrapper = FileWrapper(file)

    assert taken(wrapper, len(CONTENT) + 1) is None
    assert b"".join(wrapper) == CONTENT


def test_it_is_not_taken_twice(file: io.BufferedReader) -> None:
    wrapper = FileWrapper(file)

    assert taken(wrapper) is not None
    assert taken(wrapper) is None
    wrapper.close()


def test_what_was_written_and_not_flushed_is_sent_too(tmp_path: Path) -> None:
    with (tmp_path / "new").open("w+b") as file:
        file.write(b"x" * 10)
        file.seek(2)
        file.write(b"y")
        wrapper = FileWrapper(file)

        assert taken(wrapper) == [(3, 7)]
        wrapper.close()


def test_a_closed_file_is_an_error(file: io.BufferedReader) -> None:
    file.close()
    wrapper = FileWrapper(file)

    assert taken(wrapper) is None
    with pytest.raises(ValueError, match="closed"):
        next(wrapper)


def test_a_file_that_has_been_removed_is_sent_all_the_same(
    path: Path, file: io.BufferedReader
) -> None:
    path.unlink()
    wrapper = FileWrapper(file)

    assert taken(wrapper) == [(0, len(CONTENT))]
    wrapper.close()


# Is it a file? -----------------------------------------------------------------------


def test_files_of_the_operating_system_are_real(path: Path) -> None:
    with path.open("rb", buffering=0) as raw, path.open("r+b") as both:
        assert real_file(raw) is raw
        assert real_file(both) is both


def test_stand_ins_are_looked_behind(path: Path) -> None:
    with path.open("rb") as file, tempfile.NamedTemporaryFile() as temporary:
        assert real_file(File(file)) is file
        assert real_file(temporary) is temporary.file


def test_whatever_reads_in_a_way_of_its_own_is_not(path: Path) -> None:
    packed = path.with_name("packed.gz")
    packed.write_bytes(gzip.compress(CONTENT))

    class Shouting(io.FileIO):
        def read(self, size: int | None = -1, /) -> bytes:
            return super().read(size).upper()

    class Deciphering:
        def __init__(self, file: Any) -> None:
            self.file = file
            self.fileno = file.fileno

        def read(self, size: int) -> bytes:
            data: bytes = self.file.read(size)
            return data[::-1]

    with (
        path.open() as text,
        gzip.open(packed) as unpacking,
        path.open("rb") as file,
        tempfile.SpooledTemporaryFile() as spooled,
        Shouting(path) as shouting,
    ):
        for each in (text, unpacking, Deciphering(file), spooled, shouting):
            assert real_file(each) is None
        with tempfile.NamedTemporaryFile() as temporary:
            assert real_file(File(temporary)) is None  # Django hides its method
        assert real_file(io.BytesIO()) is None
        with io.BufferedReader(shouting) as buffered:
            assert real_file(buffered) is None
        assert real_file(object()) is None


# Planned bodies ----------------------------------------------------------------------


def planned(path: Path, *, marks: bool = True) -> SegmentsBody:
    source = FileSource.open(path)
    segments: Sequence[Segment] = [b"before", Slice(source, 10, 1000), b"after"]
    policy = Policy(copy_bytes=400)

    def read(segments: Sequence[Segment]) -> Generator[bytes, None, None]:
        return read_segments(segments, policy, 206)

    return SegmentsBody(segments, read, source.release, marks=marks)


def test_a_planned_body_is_read_with_one_report(
    path: Path, reports: list[Report]
) -> None:
    body = planned(path)

    assert b"".join(body) == b"before" + CONTENT[10:1010] + b"after"
    body.close()
    assert [(r.outcome, r.sent, r.status) for r in reports] == [("complete", 1011, 206)]


def test_a_planned_body_that_is_taken_makes_no_report_of_its_own(
    path: Path, reports: list[Report]
) -> None:
    body = planned(path)
    assert isinstance(next(body), FirstChunk)

    assert taken(body, 1011) == [(10, 1000)]
    assert list(body) == []
    body.close()
    assert reports == []


def test_a_planned_body_is_not_taken_for_another_length(path: Path) -> None:
    body = planned(path)

    assert taken(body, 1010) is None
    assert taken(body, 1012) is None
    assert taken(body) == [(10, 1000)]
    body.close()


def test_a_planned_body_that_is_given_up_says_so(
    path: Path, reports: list[Report]
) -> None:
    body = planned(path)
    next(body)
    next(body)
    body.close()

    # What came last was handed out, and nobody has come back from sending it.
    assert [(r.outcome, r.sent) for r in reports] == [("cancelled", 6)]


def test_for_others_its_chunks_are_of_the_very_type_bytes(path: Path) -> None:
    """wsgiref's server accepts no other."""
    body = planned(path, marks=False)

    assert {type(chunk) for chunk in body} == {bytes}
    body.close()

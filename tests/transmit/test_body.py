from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.transmit.lines import CONTENT, open_file, whole
from zc_response import guards
from zc_response.errors import FileChangedError
from zc_response.planning import Segment, Slice
from zc_response.policy import Policy
from zc_response.sources import FileSource
from zc_response.transmit import Body
from zc_response.transmit.steps import Cursor


@pytest.fixture
def first(tmp_path: Path) -> Iterator[FileSource]:
    with open_file(tmp_path / "first") as source:
        yield source


@pytest.fixture
def second(tmp_path: Path) -> Iterator[FileSource]:
    with open_file(tmp_path / "second") as source:
        yield source


def body_of(*segments: Segment, integrity: str = "safe") -> Body:
    return Body(segments, Policy(integrity=integrity))


def test_all_slices_of_a_file_share_one_hold(
    first: FileSource, second: FileSource
) -> None:
    body = body_of(Slice(first, 0, 5), b"|", Slice(second, 2, 3), Slice(first, 7, 9))
    assert len(body.holds) == 2
    assert body.holds[0].needs() == [(0, 5), (7, 16)]
    assert body.holds[1].needs() == [(2, 5)]
    body.close()


def test_what_is_empty_is_left_out(first: FileSource) -> None:
    body = body_of(b"", Slice(first, 3, 0), b"x")
    assert body.pieces == [b"x"]
    assert body.holds == []
    assert body.is_firm
    assert (body.guard, body.guard_reason) == ("count", "")
    body.close()


def test_what_has_been_sent_is_needed_no_more(first: FileSource) -> None:
    body = body_of(Slice(first, 0, 5), Slice(first, 7, 9))
    cursor = body.pieces[0]
    assert isinstance(cursor, Cursor)
    cursor.offset += 2
    assert body.holds[0].needs() == [(2, 5), (7, 16)]
    cursor.offset += 3
    assert body.holds[0].needs() == [(7, 16)]
    body.close()


def test_its_guard_is_the_weakest_of_its_files(
    first: FileSource, second: FileSource
) -> None:
    body = body_of(whole(first), whole(second))
    assert (body.guard, body.guard_reason, body.is_firm) == ("lease", "", True)
    body.close()
    guards.close_all()

    with open(second.path, "r+b"):
        body = body_of(whole(first), whole(second))
        assert body.guard == "stat"
        assert body.guard_reason == "somebody has the file open for writing"
        assert not body.is_firm
        body.close()


def test_a_file_that_changed_before_it_lets_all_go(
    first: FileSource, second: FileSource
) -> None:
    os.utime(second.path)
    with pytest.raises(FileChangedError, match="changed while it was looked at"):
        body_of(whole(first), whole(second))
    guards.close_all()
    first.release()
    second.release()
    assert first.closed
    assert second.closed


def test_who_only_counts_does_not_mind(first: FileSource) -> None:
    os.utime(first.path)
    body = body_of(whole(first), integrity="fast")
    assert body.guard == "count"
    body.close()


def test_it_keeps_its_files_open_until_it_is_closed(first: FileSource) -> None:
    body = body_of(whole(first), integrity="fast")
    first.release()
    assert first.read(0, 10) == CONTENT[:10]
    body.close()
    body.close()
    assert first.closed


def test_what_is_no_source_is_refused_and_all_given_back(first: FileSource) -> None:
    with pytest.raises(TypeError, match="not a source"):
        body_of(whole(first), Slice("somewhere", 0, 5), integrity="fast")
    first.release()
    assert first.closed

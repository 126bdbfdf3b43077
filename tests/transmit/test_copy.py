"""Reading what is left of a file, in a thread that may wait."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.guards.test_holds import Carrier
from tests.transmit.lines import CONTENT, open_file, tally_of, whole
from tests.writers import OPEN, OVERWRITE, Writer
from zc_response.errors import ChangedError, FileChangedError, TruncatedError
from zc_response.guards.leases import leases
from zc_response.planning import Segment, Slice
from zc_response.policy import Policy
from zc_response.sources import FileSource
from zc_response.transmit import (
    Body,
    Cursor,
    Strategy,
    finish,
    gather,
    gather_at_once,
    read_whole,
)
from zc_response.transmit.copy import read


@pytest.fixture
def source(tmp_path: Path) -> Iterator[FileSource]:
    with open_file(tmp_path / "f") as source:
        yield source


def body_of(source: FileSource, **settings: float | str) -> tuple[Body, Cursor]:
    body = Body([whole(source)], Policy(**settings))  # type: ignore[arg-type]
    cursor = body.pieces[0]
    assert isinstance(cursor, Cursor)
    return body, cursor


def test_it_reads_as_much_as_is_asked_for_and_moves_on(source: FileSource) -> None:
    body, cursor = body_of(source)
    assert finish(read(cursor, 10)) == CONTENT[:10]
    assert finish(read(cursor, 1 << 30)) == CONTENT[10:]
    assert cursor.left == 0
    body.close()


def test_while_a_writer_waits_it_waits_as_well_and_reads_the_snapshot(
    source: FileSource,
) -> None:
    body, cursor = body_of(source)
    with Writer(source.path, OVERWRITE) as writer:
        assert finish(read(cursor, 10)) == CONTENT[:10]
        writer.go()
        while cursor.left:
            before = cursor.offset
            data = finish(read(cursor, 10_000))
            assert data == CONTENT[before : cursor.offset]
        writer.seconds()
    body.close()


def test_who_waits_and_is_cut_off_waits_no_longer(source: FileSource) -> None:
    body, cursor = body_of(source, break_budget=0.1)
    body.holds[0].carrier = Carrier(under_way=True, can_be_cut=False)
    with Writer(source.path, OPEN) as writer:
        writer.go().seconds()
        with pytest.raises(ChangedError, match="has not taken in time"):
            finish(read(cursor, 10))
    body.close()


def test_a_file_that_ends_too_early_is_an_error(source: FileSource) -> None:
    body, cursor = body_of(source, integrity="fast")
    with open(source.path, "r+b") as file:
        file.truncate(10)
    assert finish(read(cursor, 100)) == CONTENT[:10]
    with pytest.raises(TruncatedError, match="ends at byte 10"):
        finish(read(cursor, 100))
    body.close()


def test_a_small_body_is_gathered_in_one_piece(source: FileSource) -> None:
    segments: list[Segment] = [
        b"<",
        Slice(source, 3, 7),
        b"|",
        Slice(source, 0, 1),
        b">",
    ]
    expected = b"<" + CONTENT[3:10] + b"|" + CONTENT[:1] + b">"
    tally = tally_of(segments, Strategy.COPY)

    assert gather(segments, Policy(), tally) == expected
    assert tally.guard == "lease"
    assert gather_at_once(segments, Policy()) == expected
    assert gather_at_once([b"a", b"b"], Policy()) == b"ab"


@pytest.mark.parametrize("integrity", ["fast", "safe", "strict"])
def test_a_small_body_that_is_not_whole_is_asked_for_again(
    source: FileSource, integrity: str
) -> None:
    """Nothing of it has been sent."""
    with open(source.path, "r+b") as file:
        file.truncate(10)
    tally = tally_of([whole(source)], Strategy.COPY)
    with pytest.raises(FileChangedError):
        gather([whole(source)], Policy(integrity=integrity), tally)


@pytest.mark.parametrize("integrity", ["fast", "safe", "strict"])
def test_a_file_that_is_read_as_a_whole_is_of_one_state_or_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, integrity: str
) -> None:
    """At every level: what is made of it will be kept."""
    monkeypatch.setattr(leases, "join", lambda *_args: "refused")
    path = tmp_path / "file"
    path.write_bytes(bytes(10_000))
    policy = Policy(integrity=integrity, copy_bytes=1000)
    pieces: list[bytes] = []

    def take(data: bytes) -> None:
        pieces.append(data)
        if len(pieces) == 2:
            path.write_bytes(b"x" * 10_000)

    with FileSource.open(path) as source:
        with pytest.raises(FileChangedError):
            read_whole(source, policy, take)

    assert b"x" not in b"".join(pieces)

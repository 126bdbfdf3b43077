"""The demo's files are real ones, made once."""

from __future__ import annotations

import gzip
import os
import struct
import tarfile
import wave
import zlib
from array import array
from collections.abc import Iterator
from pathlib import Path

import pytest

from example_apps.media.library import list_library, make_library, recipes


def facts(folder: Path) -> dict[str, tuple[int, int, int]]:
    found = ((path.name, path.stat()) for path in folder.iterdir())
    return {name: (at.st_ino, at.st_mtime_ns, at.st_size) for name, at in found}


def test_a_second_start_leaves_the_files_alone(library: Path) -> None:
    """And has nothing to say about them."""
    before, told = facts(library), list[str]()

    make_library(library, recipes(small=True), told.append)

    assert facts(library) == before
    assert told == []


def test_a_missing_file_is_made_again(tmp_path: Path) -> None:
    """Alone, and with a word on it."""
    plain = {"one": lambda: [b"one"], "two": lambda: [b"two"]}
    make_library(tmp_path, plain)
    (tmp_path / "two").unlink()
    told: list[str] = []

    make_library(tmp_path, plain, told.append)

    assert (tmp_path / "two").read_bytes() == b"two"
    assert len(told) == 2
    assert "two" in told[1]


def test_an_interrupted_start_leaves_nothing_half_done(tmp_path: Path) -> None:
    """Neither under the file's name nor under another."""

    def interrupted() -> Iterator[bytes]:
        yield b"half"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_library(tmp_path, {"file": interrupted})

    assert os.listdir(tmp_path) == []


def test_the_recording_is_a_wav_file(library: Path) -> None:
    """Its header tells the truth, and what follows is neither silent nor clipped."""
    with wave.open(str(library / "prelude.wav")) as recording:
        assert recording.getparams()[:3] == (2, 2, 44_100)
        seconds = recording.getnframes() / recording.getframerate()
        samples = array("h", recording.readframes(recording.getnframes()))

    assert seconds == 112
    assert len(samples) == seconds * 44_100 * 2
    assert 10_000 < max(samples) < 32_767
    assert -10_000 > min(samples) > -32_768


def test_the_archive_opens(library: Path) -> None:
    """Its members are of one size, and no two of them are the same."""
    with tarfile.open(library / "archive.tar") as archive:
        members = archive.getmembers()
        contents = {archive.extractfile(each).read() for each in members}  # type: ignore[union-attr]

    assert {each.size for each in members} == {4 * 1024 * 1024}
    assert len(contents) == len(members) == 4


@pytest.mark.parametrize("name", ["dusk.png", "julia.png", "ripples.png"])
def test_the_pictures_are_png_files(library: Path, name: str) -> None:
    """Chunks with their checksums, and as many pixels as the header says."""
    signature, *rest = (library / name).read_bytes().partition(b"\r\n\x1a\n")
    assert signature == b"\x89PNG"
    chunks = dict(png_chunks(rest[1]))
    width, height = struct.unpack_from(">II", chunks[b"IHDR"])

    assert len(zlib.decompress(chunks[b"IDAT"])) == height * (width + 1)
    assert len(chunks[b"PLTE"]) == 3 * 256
    assert list(chunks)[-1] == b"IEND"


def png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    while data:
        (size,) = struct.unpack_from(">I", data)
        (check,) = struct.unpack_from(">I", data, 8 + size)
        assert zlib.crc32(data[4 : 8 + size]) == check
        yield data[4:8], data[8 : 8 + size]
        data = data[12 + size :]


def test_the_text_lies_beside_its_compressed_form(library: Path) -> None:
    """A line for each day of a hundred years, below three lines of title."""
    text = (library / "almanac.txt").read_bytes()

    assert gzip.decompress((library / "almanac.txt.gz").read_bytes()) == text
    assert len(text.splitlines()) == 36_525 + 3


def test_the_list_folds_compressed_siblings_and_hides_drafts(tmp_path: Path) -> None:
    """And shows whatever else lies there."""
    for name in ("a.txt", "a.txt.gz", "lonely.gz", "film.mp4", ".draft"):
        (tmp_path / name).write_bytes(name.encode())
    (tmp_path / "folder").mkdir()

    shown = {item.name: (item.type, item.compressed) for item in list_library(tmp_path)}

    assert shown == {
        "a.txt": ("text/plain", 8),
        "film.mp4": ("video/mp4", None),
        "lonely.gz": ("application/octet-stream", None),
    }

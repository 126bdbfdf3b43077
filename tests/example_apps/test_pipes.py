"""The demo's archive of everything, and its stand-in for an encoder."""

from __future__ import annotations

import gzip
import io
import shutil
import tarfile
from pathlib import Path

import pytest

from tests.example_apps.demo import Demo
from tests.live import Answer, Client, eventually


def ask(demo: Demo, target: str) -> Answer:
    with Client(demo.port) as client:
        return client.get(target)


def a_file(library: Path) -> Path:
    return next(path for path in sorted(library.iterdir()) if path.is_file())


@pytest.mark.skipif(shutil.which("tar") is None, reason="tar is not installed")
def test_tar_writes_an_archive_of_all_files(demo: Demo, library: Path) -> None:
    answer = ask(demo, "/library.tar")

    assert answer.complete
    with tarfile.open(fileobj=io.BytesIO(answer.body)) as archive:
        names = {Path(name).name for name in archive.getnames()}
    assert {path.name for path in library.iterdir()} <= names


@pytest.mark.skipif(shutil.which("gzip") is None, reason="gzip is not installed")
def test_an_encoder_s_output_arrives_whole(demo: Demo, library: Path) -> None:
    path = a_file(library)

    answer = ask(demo, f"/encoded/{path.name}")

    assert answer.complete
    assert gzip.decompress(answer.body) == path.read_bytes()


@pytest.mark.skipif(shutil.which("tar") is None, reason="tar is not installed")
def test_who_leaves_in_the_middle_leaves_no_process(demo: Demo) -> None:
    client = demo.request("/library.tar", receive_buffer=16384)
    client.recv(1)
    client.close()

    pid = demo.process.pid
    tasks = Path(f"/proc/{pid}/task")
    eventually(
        lambda: not any(file.read_text() for file in tasks.glob("*/children")),
        "the end of tar",
    )

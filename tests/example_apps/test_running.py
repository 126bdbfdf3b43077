"""The demo starts, answers and stops as a program should."""

from __future__ import annotations

import gzip
import json
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.example_apps.demo import Demo, serving, started
from tests.live import PATIENCE, eventually


def get(url: str, encoding: str = "") -> tuple[bytes, dict[str, str]]:
    request = urllib.request.Request(url, headers={"accept-encoding": encoding})
    with urllib.request.urlopen(request, timeout=PATIENCE) as response:
        return response.read(), {k.lower(): v for k, v in response.headers.items()}


def test_the_files_are_listed(demo: Demo, library: Path) -> None:
    """With their sizes; the compressed one is a property of the other."""
    body, _headers = get(f"{demo.url}/files")
    listed = {item["name"]: item for item in json.loads(body)}

    assert {*listed, "almanac.txt.gz"} == {path.name for path in library.iterdir()}
    assert all(
        item["size"] == (library / name).stat().st_size for name, item in listed.items()
    )


def test_a_download_is_to_be_saved(demo: Demo, library: Path) -> None:
    """Under its own name, also when it is copied."""
    for prefix in ("download", "copied"):
        body, headers = get(f"{demo.url}/{prefix}/sunflower.svg")

        assert body == (library / "sunflower.svg").read_bytes()
        assert headers["content-disposition"] == 'attachment; filename="sunflower.svg"'


def test_the_compressed_text_is_sent_to_those_who_take_it(
    demo: Demo, library: Path
) -> None:
    """StaticFiles chooses it by itself."""
    packed, headers = get(f"{demo.url}/media/almanac.txt", "gzip")
    plain, others = get(f"{demo.url}/media/almanac.txt")

    assert headers["content-encoding"] == "gzip"
    assert "content-encoding" not in others
    assert gzip.decompress(packed) == plain == (library / "almanac.txt").read_bytes()


@pytest.mark.parametrize(
    "target",
    ["/download/none", "/copied/..", "/download/%2e%2e%2fapp.py", "/media/none"],
)
def test_what_is_not_listed_is_not_served(demo: Demo, target: str) -> None:
    """Nothing outside the folder can be named."""
    with pytest.raises(urllib.error.HTTPError) as caught:
        get(demo.url + target)
    with caught.value as answer:
        assert answer.code == 404


def test_ctrl_c_ends_it_at_once(library: Path, tmp_path: Path) -> None:
    """Whoever is connected: a viewer, stalled downloads, somebody who keeps alive."""
    targets = ("/transfers", "/download/archive.tar", "/copied/archive.tar", "/files")
    with serving(library, tmp_path / "run") as demo:
        clients = [demo.request(target, receive_buffer=4096) for target in targets]
        assert all(client.recv(12) == b"HTTP/1.1 200" for client in clients)
        begun = time.monotonic()

        assert demo.interrupt() == 0

        assert time.monotonic() - begun < 5
        for client in clients:
            client.close()
    assert "Traceback" not in demo.errors.read_text()
    assert "Stopped." in demo.output.read_text()


def test_ctrl_c_while_the_files_are_made(tmp_path: Path) -> None:
    """Leaves whole files or none; the next start goes on from there."""
    library = tmp_path / "library"
    with started(library, tmp_path / "run", "--port", "0") as demo:
        eventually(lambda: library.exists() and any(library.glob(".*")), "a draft")

        assert demo.interrupt() == 0

    assert "Traceback" not in demo.errors.read_text()
    assert not list(library.glob(".*"))
    assert not (library / "archive.tar").exists()


def test_a_port_that_is_taken_is_named(
    demo: Demo, library: Path, tmp_path: Path
) -> None:
    """With what to do about it."""
    with started(library, tmp_path / "run", "--port", str(demo.port)) as second:
        assert second.process.wait(PATIENCE) == 1

    complaint = second.errors.read_text()
    assert f"port {demo.port}: Address already in use" in complaint
    assert "--port" in complaint
    assert "Traceback" not in complaint

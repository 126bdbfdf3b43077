"""The Django example, run by the commands in its README, in a real browser."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from example_apps.media.melody import recording
from tests.example_apps.demo import CHECKOUT
from tests.live import PATIENCE, eventually

README = CHECKOUT / "example_apps" / "django_app" / "README.md"
PORT = "8002"
SERVERS = ("gunicorn", "uvicorn")


def command(program: str) -> list[str]:
    """The line of the README that begins with a program, on a free port."""
    lines = [line.strip() for line in README.read_text().splitlines()]
    (line,) = (line for line in lines if line.startswith(f"{program} "))
    words = line.replace(PORT, "0").split()
    if program == "python":
        return [sys.executable, *words[1:]]
    return [sys.executable, "-m", *words]


@dataclass
class Site:
    """The running project."""

    process: subprocess.Popen[bytes]
    output: Path

    @property
    def log(self) -> str:
        return self.output.read_text()

    @property
    def port(self) -> int:
        found = re.search(r"http://127\.0\.0\.1:([1-9]\d*)", self.log)
        return int(found[1]) if found else 0

    def seen(self, path: str, status: int) -> int:
        """How many requests for a path had that status, as its access log has it."""
        return len(re.findall(rf'"GET {path} HTTP/1\.1" {status}', self.log))


@contextlib.contextmanager
def running(program: str, work: Path) -> Iterator[Site]:
    environ = {**os.environ, "DATA": str(work), "PYTHONUNBUFFERED": "1"}
    migrate = subprocess.run(
        command("python"), cwd=CHECKOUT, env=environ, capture_output=True, check=False
    )
    assert migrate.returncode == 0, migrate.stderr.decode()
    with (work / "log").open("wb") as log:
        process = subprocess.Popen(
            command(program),
            cwd=CHECKOUT,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    site = Site(process, work / "log")
    try:
        eventually(lambda: site.port or process.poll() is not None, "its start")
        assert process.poll() is None, site.log
        yield site
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(PATIENCE)


@pytest.fixture(scope="module")
def melody(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """19 MB of sound, more than what connections hold."""
    path = tmp_path_factory.mktemp("melody") / "prelude.wav"
    with path.open("wb") as file:
        file.writelines(recording([0, 2]))
    return path


@pytest.fixture(scope="module", params=SERVERS)
def site(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    melody: Path,
) -> Iterator[Site]:
    with running(request.param, tmp_path_factory.mktemp("django_app")) as site:
        yield site


@pytest.fixture
def page(browser: BrowserContext, site: Site, melody: Path) -> Iterator[Page]:
    """The page, with the recording uploaded once."""
    page = browser.new_page()
    page.goto(f"http://127.0.0.1:{site.port}/")
    if not page.locator("audio").count():
        page.get_by_label("Title").fill("Prelude")
        page.get_by_label("File").set_input_files(melody)
        page.get_by_role("button", name="Upload").click()
    expect(page.locator("li strong")).to_have_text("Prelude", timeout=PATIENCE * 1000)
    yield page
    page.close()


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_it_plays(page: Page) -> None:
    audio = page.locator("audio")
    audio.evaluate("audio => { audio.muted = true; return audio.play(); }")
    page.wait_for_function("document.querySelector('audio').currentTime > 0")
    assert page.locator("link[rel=stylesheet]").evaluate("link => !!link.sheet")


def test_it_seeks_by_ranges_that_the_server_sees(
    page: Page, site: Site, melody: Path
) -> None:
    answers: list[str] = []
    page.on(
        "response",
        lambda answer: answers.append(answer.headers.get("content-range", "")),
    )
    before = site.seen("/play/1", 206)
    page.locator("audio").evaluate(
        """audio => new Promise(resolve => {
            audio.muted = true;
            audio.addEventListener("seeked", resolve);
            audio.currentTime = 200;
        })"""
    )

    eventually(lambda: site.seen("/play/1", 206) > before, "the range in the log")
    starts = [int(found[1]) for found in map(RANGE.match, answers) if found]
    assert max(starts) > melody.stat().st_size * 0.8


RANGE = re.compile(r"bytes (\d+)-")


def test_a_download_is_the_file(page: Page, melody: Path) -> None:
    with page.expect_download() as coming:
        page.get_by_role("link", name="Download").click()

    assert coming.value.suggested_filename == melody.name
    assert digest(coming.value.path()) == digest(melody)


@pytest.mark.skipif(shutil.which("tar") is None, reason="tar is not installed")
def test_all_of_them_come_in_one_archive(page: Page, melody: Path) -> None:
    with page.expect_download() as coming:
        page.get_by_role("link", name="All of them").click()

    with tarfile.open(coming.value.path()) as archive:
        names = {Path(name).name for name in archive.getnames()}
    assert melody.name in names


class Cutting:
    """A way to a server on which the first download is cut off."""

    def __init__(self, port: int, after: int) -> None:
        self._to = port
        self._after = after
        self._asked: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.cuts = 0
        self._threads = [threading.Thread(target=self._run, name="cutting")]
        self._open: list[socket.socket] = [self._listener]

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._to))
                self._open += [client, server]
                for ends in ((client, server), (server, client)):
                    thread = threading.Thread(target=self._pass_on, args=ends)
                    self._threads.append(thread)
                    thread.start()

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        passed = 0
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if data.startswith(b"GET /download"):
                    self._asked.add(sink)
                passed += len(data)
                if source in self._asked and not self.cuts and passed > self._after:
                    self.cuts += 1
                    break
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> Cutting:
        self._threads[0].start()
        return self

    def __exit__(self, *_exc: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        for each in self._open:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(PATIENCE)
        for each in self._open:
            each.close()


def test_a_download_that_was_cut_is_resumed(
    browser: BrowserContext, page: Page, site: Site, melody: Path
) -> None:
    """By the browser itself: it asks for the rest if the file is still the same."""
    before = site.seen("/download/1", 206)
    with Cutting(site.port, after=4_000_000) as way:
        other = browser.new_page()
        other.goto(f"http://127.0.0.1:{way.port}/")
        with other.expect_download() as coming:
            other.get_by_role("link", name="Download").click()
        saved = digest(coming.value.path())
        other.close()

    assert way.cuts == 1
    assert saved == digest(melody)
    assert site.seen("/download/1", 206) == before + 1


def test_media_are_served_from_their_directory(site: Site, page: Page) -> None:
    answer = page.request.get(
        f"http://127.0.0.1:{site.port}/media/recordings/prelude.wav",
        headers={"Range": "bytes=0-3"},
    )
    assert (answer.status, answer.body()) == (206, b"RIFF")

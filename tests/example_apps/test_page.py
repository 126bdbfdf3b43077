"""The page in a real browser: it shows what the server does, while it does it."""

from __future__ import annotations

import hashlib
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import (
    BrowserContext,
    ConsoleMessage,
    Error,
    Locator,
    Page,
    Response,
    expect,
)

from tests.example_apps.conftest import CHROMIUM
from tests.example_apps.demo import Demo

pytestmark = pytest.mark.skipif(not CHROMIUM, reason="needs the program chromium")


@dataclass
class Visit:
    """The page, opened once; what the server answered, and what went wrong."""

    page: Page
    answers: list[Response] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def open(self, url: str) -> None:
        self.page.on("response", self.note_answer)
        self.page.on("console", self.note_message)
        self.page.on("pageerror", self.note_error)
        self.page.goto(url)
        expect(self.page.locator("#live")).to_have_text("live")

    def note_answer(self, answer: Response) -> None:
        self.answers.append(answer)

    def note_message(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def note_error(self, error: Error) -> None:
        self.complaints.append(str(error))

    def card(self, name: str) -> Locator:
        return self.page.locator(".card", has_text=name)

    def finished(self, *words: str) -> Locator:
        """The latest finished transfer whose row has all these words."""
        rows = self.page.locator("#finished tr")
        for word in words:
            rows = rows.filter(has_text=word)
        return rows.first

    def download(self, name: str, link: str) -> Path:
        """Click a link, and return the file that the browser has saved."""
        with self.page.expect_download() as coming:
            self.card(name).get_by_text(link, exact=True).click()
        assert coming.value.suggested_filename == name
        return coming.value.path()


@pytest.fixture
def visit(browser: BrowserContext, demo: Demo) -> Iterator[Visit]:
    visit = Visit(browser.new_page())
    visit.open(demo.url)
    yield visit
    visit.page.close()
    assert visit.complaints == []


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def bytes_sent(row: Locator) -> int:
    """What the row of a transfer says to the byte, to those who point at it."""
    title = row.locator(".sent").get_attribute("title") or ""
    return int(re.sub(r"\D", "", title))


def test_the_files_are_shown(visit: Visit) -> None:
    """Pictures as pictures, the recording with a player."""
    expect(visit.page.locator(".card h3")).to_have_text(
        [
            *("dusk.png", "julia.png", "ripples.png", "sunflower.svg"),
            *("prelude.wav", "almanac.txt", "archive.tar"),
        ]
    )
    pictures = visit.page.locator(".card img")
    assert pictures.count() == 4
    for picture in pictures.all():
        picture.scroll_into_view_if_needed()
        expect(picture).not_to_have_js_property("naturalWidth", 0)


def test_seeking_asks_for_a_range(visit: Visit, library: Path) -> None:
    """The player goes where it is told, by 206 responses."""
    audio = visit.page.locator("audio")
    expect(audio).to_have_js_property("duration", 112)
    audio.evaluate(
        """audio => {
            audio.muted = true;
            audio.addEventListener("seeked", () => { audio.arrived = true; });
            audio.currentTime = 100;
        }"""
    )
    expect(audio).to_have_js_property("arrived", True)

    answers = [each for each in visit.answers if each.url.endswith("/prelude.wav")]
    starts = [
        int(re.findall(r"\d+", each.headers["content-range"])[0]) for each in answers
    ]
    assert {each.status for each in answers} == {206}
    assert max(starts) > (library / "prelude.wav").stat().st_size * 0.8
    expect(visit.finished("prelude.wav", "206", "sendfile")).to_be_visible()


def test_a_download_is_the_file(visit: Visit, library: Path) -> None:
    """Bit by bit; and its row appears by itself, with as many bytes."""
    original = library / "archive.tar"

    saved = visit.download("archive.tar", "Download")

    assert digest(saved) == digest(original)
    row = visit.finished("archive.tar", "sendfile", "complete")
    expect(row).to_be_visible()
    assert bytes_sent(row) == original.stat().st_size


def test_a_copied_download_is_told_apart(visit: Visit, library: Path) -> None:
    """The same bytes, by another strategy and with the reason for it."""
    saved = visit.download("archive.tar", "Copied by Python")

    assert digest(saved) == digest(library / "archive.tar")
    row = visit.finished("archive.tar", "copy", "switched off", "complete")
    expect(row).to_be_visible()
    assert bytes_sent(row) == saved.stat().st_size


def test_a_transfer_is_followed_while_it_moves(visit: Visit, demo: Demo) -> None:
    """Its bytes grow as the client reads; when it leaves, that is shown too."""
    row = visit.page.locator("#under-way tr", has_text="archive.tar")
    with demo.request("/download/archive.tar", receive_buffer=65536) as client:
        expect(row).to_contain_text("of 16.8 MB")
        before = bytes_sent(row)
        read(client, 2_000_000)
        expect(row.locator(f".sent:not([title='{before:,} bytes'])")).to_be_visible()
        assert before < bytes_sent(row) < 16_800_000
    expect(row).to_have_count(0)
    expect(visit.finished("archive.tar", "disconnected")).to_be_visible()


def read(client: socket.socket, count: int) -> None:
    while count > 0:
        count -= len(client.recv(count))


def test_both_ways_are_compared(visit: Visit) -> None:
    """Each by a button; then the page says what copying costs."""
    for way in visit.page.locator(".way").all():
        way.get_by_role("button").click()
        expect(way.locator(".result")).to_contain_text("of processor time")
        expect(way.get_by_role("button")).to_be_enabled()
    expect(visit.page.locator("#verdict")).to_contain_text("times the processor time")

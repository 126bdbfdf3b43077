"""What every framework answers where a static file cannot be had."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sites import SITES, Visitors
from zc_response import MemoryFile, Policy


@pytest.fixture(params=SITES)
def client(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Visitors]:
    site = SITES[request.param]
    (tmp_path / "page.html").write_bytes(b"a page")
    with MemoryFile(b"") as memory, site(tmp_path, memory, Policy()) as port:
        yield Visitors(port)


def refused(number: int, client: Visitors, monkeypatch: pytest.MonkeyPatch) -> int:
    """The status when the kernel refuses to open a file that is there."""

    def refuse(*_args: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("zc_response.kernel.files.open_beneath", refuse)
    return client.get("/static/page.html").status


def test_what_is_not_there_is_404(client: Visitors) -> None:
    assert client.get("/static/none").status == 404


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOMEM, errno.ESTALE])
def test_a_disk_that_fails_is_an_error_and_no_missing_file(
    client: Visitors, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """A 404 may be kept by caches, and says what is not so."""
    assert refused(number, client, monkeypatch) == 500


def test_what_may_not_be_read_is_forbidden(
    client: Visitors, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert refused(errno.EACCES, client, monkeypatch) == 403


def test_without_descriptors_it_is_to_be_asked_again(
    client: Visitors, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert refused(errno.EMFILE, client, monkeypatch) == 503

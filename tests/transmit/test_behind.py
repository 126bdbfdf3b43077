"""What a download leaves in the page cache, if it is told to drop it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.transmit.lines import CONTENT
from tests.transmit.test_strategies import deliver
from zc_response.cli.bench.disks import Disk
from zc_response.kernel import pages
from zc_response.planning import Slice
from zc_response.sources import FileSource
from zc_response.transmit import Strategy, behind
from zc_response.transmit.pieces import STRATEGIES

BIG = CONTENT * 32
STRETCH = 4 * len(CONTENT)  # the kernel has pieces of 2 MiB, which leave as a whole
FS = "ext4"


@pytest.fixture
def path(disk: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that is not in memory."""
    monkeypatch.setattr(behind, "STRETCH", STRETCH)
    path = disk(FS) / "behind"
    path.write_bytes(BIG)
    Disk(path=path.parent, kind=FS).drop_caches(path)
    return path


def left_by(path: Path, strategy: Strategy, **settings: object) -> int:
    """How many bytes of a file are in memory after a download."""
    with FileSource.open(path) as source:
        part = Slice(source, 1, len(BIG) - 2)
        assert deliver([part], strategy, **settings) == BIG[1:-1]
        return pages.cached(source.fileno(), 0, len(BIG)) * pages.PAGE


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_what_it_has_brought_in_it_drops(path: Path, strategy: Strategy) -> None:
    assert left_by(path, strategy, cache="drop") <= 2 * STRETCH


def test_what_was_in_memory_before_stays_there(path: Path) -> None:
    path.read_bytes()
    assert left_by(path, Strategy.SENDFILE, cache="drop") == len(BIG)


def test_by_default_it_drops_nothing(path: Path) -> None:
    """The kernel may take back a few pages of its own accord."""
    assert left_by(path, Strategy.SENDFILE) > len(BIG) - STRETCH

"""What the tests of the command line share."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def fonts_are_closed() -> Iterator[None]:
    """matplotlib keeps the files of its fonts open for the life of the process."""
    yield
    fonts = sys.modules.get("matplotlib.font_manager")
    if fonts is not None:
        fonts._get_font.cache_clear()

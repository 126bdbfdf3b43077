"""Files made once for all tests of this folder, and the demo that serves them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from example_apps.media.library import make_library, recipes
from tests.example_apps.demo import Demo, serving


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("library")
    make_library(folder, recipes(small=True))
    return folder


@pytest.fixture(scope="module")
def demo(library: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    with serving(library, tmp_path_factory.mktemp("demo") / "run") as demo:
        yield demo

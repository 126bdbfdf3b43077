"""The package as users get it: complete, typed, light to import, and layered."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import zc_response

PACKAGE = Path(zc_response.__file__).parent
CHECKOUT = Path(__file__).parents[2]
INTEGRATIONS = sorted((PACKAGE / "integrations").rglob("*.py"))

# The names that integrations build on, as others who write one would.
PUBLIC = {
    "zc_response",
    "zc_response.asgi",
    "zc_response.derived",
    "zc_response.errors",
    "zc_response.planning",
    "zc_response.policy",
    "zc_response.report",
    "zc_response.representation",
    "zc_response.sources",
    "zc_response.transmit",
    "zc_response.wsgi",
}


@pytest.mark.skipif(
    PACKAGE.parent != CHECKOUT, reason="the package under test is not the checkout's"
)
def test_integrations_are_a_relative_symlink() -> None:
    """A checkout has one copy of each integration, reached by both names."""
    assert Path("../integrations") == (PACKAGE / "integrations").readlink()


def test_type_checkers_see_a_typed_package() -> None:
    """PEP 561: the marker file is installed."""
    assert (PACKAGE / "py.typed").is_file()


def test_the_integrations_are_installed() -> None:
    """A wheel holds them as real files."""
    assert {"starlette.py", "uvicorn.py"} <= {path.name for path in INTEGRATIONS}


MODULES = [
    module.name
    for module in pkgutil.walk_packages(zc_response.__path__, "zc_response.")
    if not module.name.endswith("__main__")
]


@pytest.mark.parametrize("name", ["zc_response", *MODULES])
def test_every_public_name_resolves(name: str) -> None:
    """What a module lists in __all__, once each, it has."""
    module = importlib.import_module(name)
    listed = getattr(module, "__all__", [])

    assert not [name for name in listed if not hasattr(module, name)]
    assert len(set(listed)) == len(listed)


BARE = """
import importlib, sys

class OnlyTheStandardLibrary:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in {"zc_response", *sys.stdlib_module_names}:
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, OnlyTheStandardLibrary())
sys.path.insert(0, sys.argv[1])
importlib.import_module(sys.argv[2])
print(*sys.modules)
"""


def loaded_in_a_bare_interpreter(module: str) -> set[str]:
    """Import a module where nothing is installed; return all that this loaded."""
    bare = [sys.executable, "-I", "-S", "-c", BARE, str(PACKAGE.parent), module]
    done = subprocess.run(bare, stdout=subprocess.PIPE, text=True, check=True)
    return set(done.stdout.split())


# The command itself is there without its extra, to say what is missing.
WITH_EXTRAS = ("zc_response.integrations", "zc_response.cli.")
CORE = [name for name in MODULES if not name.startswith(WITH_EXTRAS)]


@pytest.mark.parametrize("name", CORE)
def test_the_core_needs_the_standard_library_only(name: str) -> None:
    """Frameworks and servers come by extras."""
    assert name in loaded_in_a_bare_interpreter(name)


def test_the_package_is_light_to_import() -> None:
    """Settings and errors cost no event loop, no TLS and no foreign functions."""
    heavy = {"asyncio", "ctypes", "multiprocessing", "socket", "ssl"}

    assert set() == heavy & loaded_in_a_bare_interpreter("zc_response")


def imports(path: Path) -> Iterator[tuple[str, str | None]]:
    """Yield what a file imports of ours: (module, name), no name for a module."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.module or "", alias.name) for alias in node.names)


def is_public(module: str, name: str | None) -> bool:
    """Tell whether others may import this."""
    if module.startswith("zc_response.integrations"):
        return True
    if module not in PUBLIC or name is None:
        return module in PUBLIC
    listed = getattr(importlib.import_module(module), "__all__", [name])
    return name in listed and not name.startswith("_")


@pytest.mark.parametrize("path", INTEGRATIONS, ids=lambda path: path.stem)
def test_integrations_use_public_names_only(path: Path) -> None:
    """So others can write one. An import linter cannot tell a name from a module."""
    ours = [found for found in imports(path) if found[0].startswith("zc_response")]

    assert not [found for found in ours if not is_public(*found)]

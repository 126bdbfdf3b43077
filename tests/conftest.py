"""What every test is held to: it leaves nothing behind.

A test that passed fails after all when a descriptor, a child process or a thread
outlives it. What a fixture of wider scope holds is that fixture's: it must be gone
when the session ends.
"""

from __future__ import annotations

import contextlib
import gc
import os
import sys
import threading
import time
from collections.abc import Callable, Generator, Hashable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.filesystems import Faults, FaultyMount, MountFaulty
    from zc_response import Report

# A server closes a connection, a pool its threads, a moment after the test is done.
GRACE = 2.0

Held = dict[Hashable, str]

owned_by_wider_fixtures: set[Hashable] = set()
passed = pytest.StashKey[bool]()


def descriptors() -> Held:
    """Return the open descriptors: by number and inode, as a file may be renamed."""
    found: Held = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            facts = os.fstat(int(name))
            target = os.readlink(f"/proc/self/fd/{name}")
        except OSError:  # the listing's own
            continue
        found["fd", name, facts.st_dev, facts.st_ino] = f"descriptor {name}: {target}"
    return found


def children() -> Held:
    """Return the child processes, those nobody has waited for included."""
    found: Held = {}
    for task in Path("/proc/self/task").glob("*/children"):
        for pid in _read(task).split():
            command = _read(Path(f"/proc/{pid}/cmdline")).replace("\0", " ").strip()
            found["child", pid] = f"child process {pid}: {command or 'not waited for'}"
    return found


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:  # gone since it was listed
        return ""


def threads() -> Held:
    """Return the threads Python knows of."""
    return {thread: f"thread {thread.name}" for thread in threading.enumerate()}


def held() -> Held:
    """Return everything that a test could leave behind."""
    return descriptors() | children() | threads()


def leftovers(is_left: Callable[[Hashable], bool]) -> list[str]:
    """Name what should be gone and is still held once the grace period is over."""
    deadline = time.monotonic() + GRACE
    while True:
        left = [name for key, name in held().items() if is_left(key)]
        if not left or time.monotonic() > deadline:
            return sorted(left)
        gc.collect()  # an unclosed file warns here, and the warning is an error
        time.sleep(0.01)


def fail_on(left: list[str], where: str) -> None:
    """Fail with the list of what was left behind."""
    if left:
        listed = "\n  ".join(left)
        pytest.fail(f"still there after the {where}:\n  {listed}", pytrace=False)


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(
    fixturedef: pytest.FixtureDef[Any],
) -> Generator[None, object, object]:
    """Remember what a wider fixture opens, also one asked for in mid-test."""
    if fixturedef.scope == "function":
        return (yield)
    before = held()
    try:
        return (yield)
    finally:
        owned_by_wider_fixtures.update(held().keys() - before.keys())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Tell the fixture below how the test ended."""
    report = yield
    if call.when == "call":
        item.stash[passed] = report.passed
    return report


def pytest_sessionstart() -> None:
    """Open what libraries open once and keep for the life of the process."""
    if find_spec("uvloop"):
        import uvloop

        uvloop.new_event_loop().close()  # libuv's pipe for signals


@pytest.fixture(scope="session", autouse=True)
def nothing_outlives_the_session() -> Iterator[None]:
    """Fail the last test when a wider fixture left something behind."""
    yield
    close_what_the_package_keeps_open()
    fail_on(leftovers(owned_by_wider_fixtures.__contains__), "session")


def close_what_the_package_keeps_open() -> None:
    """Give leases back, close open files, and end the threads behind all that."""
    for name, close in (
        ("threads", "close_all"),  # those that compress hold leases
        ("derived.variants", "clear_all"),
        ("guards", "close_all"),
        ("sources.cache", "clear_all"),
        ("threads", "close_all"),
    ):
        module = sys.modules.get(f"zc_response.{name}")
        if module is not None:
            getattr(module, close)()


@pytest.fixture(autouse=True)
def nothing_outlives_the_test(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test that leaves a descriptor, a child process or a thread behind.

    A test that failed on its own has its traceback, and that keeps objects alive.
    """
    before = held()
    owned_by_wider_fixtures.intersection_update(before)
    yield
    close_what_the_package_keeps_open()
    if request.node.stash.get(passed, False):
        known = before.keys() | owned_by_wider_fixtures
        fail_on(leftovers(lambda key: key not in known), "test")


@pytest.fixture
def reports() -> Iterator[list[Report]]:
    """Collect the reports of the transfers that end during the test."""
    from zc_response import add_listener, remove_listener

    seen: list[Report] = []
    add_listener(seen.append)
    yield seen
    remove_listener(seen.append)


@pytest.fixture(scope="session")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Path]]:
    """Mount a small disk by its kind: `disk("btrfs")` is its root, for all tests.

    Skips where that kind cannot be had; `tests.filesystems.DISK_KINDS` has them all.
    """
    from tests import filesystems
    from zc_response.cli.bench.disks import plain_disk

    directory = tmp_path_factory.mktemp("disks")
    roots: dict[str, Path] = {}

    def mount(kind: str) -> Path:
        if missing := filesystems.why_not(kind):
            pytest.skip(f"no {kind} here: {missing}")
        if kind not in roots:
            making = plain_disk(kind, filesystems.DISK_SIZE, directory)
            roots[kind] = mounts.enter_context(making).path
        return roots[kind]

    with contextlib.ExitStack() as mounts:
        yield mount


@pytest.fixture
def faulty_mount(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[MountFaulty]:
    """Mount a file that is faulty: `faulty_mount(content, faults).file`."""
    from tests import filesystems

    if missing := filesystems.why_not("fuse"):
        pytest.skip(f"no FUSE here: {missing}")

    def mount(content: bytes, faults: Faults | None = None) -> FaultyMount:
        directory = tmp_path_factory.mktemp("faulty")
        making = filesystems.faulty_mount(directory, content, faults)
        return mounts.enter_context(making)

    with contextlib.ExitStack() as mounts:
        yield mount

"""`zc-response doctor` as people run it: on real files and filesystems."""

from __future__ import annotations

import json
import mmap
import os
import pwd
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.filesystems import Faults, MountFaulty
from zc_response.cli.doctor import probes, writers
from zc_response.cli.doctor.facts import Lease
from zc_response.kernel import leases

linux = pytest.mark.skipif(sys.platform != "linux", reason="leases are Linux's")
root = pytest.mark.skipif(os.geteuid() != 0, reason="root is needed")
pytestmark = linux

SIZE = 200_000


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return make(tmp_path)


def make(directory: Path) -> Path:
    path = directory / "film.mp4"
    path.write_bytes(bytes(SIZE))
    path.chmod(0o644)
    return path


def run(*arguments: str | Path, **settings: str) -> subprocess.CompletedProcess[str]:
    mine = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("ZC_RESPONSE_")
    }
    return subprocess.run(
        [sys.executable, "-m", "zc_response.cli", "doctor", *arguments],
        env=mine | settings,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


class Found:
    """What the command says about one path."""

    def __init__(self, *arguments: str | Path, **settings: str) -> None:
        done = run("--json", *arguments, **settings)
        assert done.stdout, done.stderr
        said = json.loads(done.stdout)
        self.status = done.returncode
        assert said["status"] == self.status
        self.topics: dict[str, dict[str, Any]] = {
            each["topic"]: each for each in said["sections"][0]["findings"]
        }

    def case(self, topic: str) -> str:
        return str(self.topics[topic]["case"])

    def what(self, topic: str) -> str:
        return str(self.topics[topic]["what"])


@contextmanager
def unchanged(directory: Path) -> Iterator[None]:
    """Fail if a file's facts, or what is in the directory, is not as it was."""

    def look() -> dict[str, tuple[int, ...]]:
        names = [".", *os.listdir(directory)]
        states = {name: os.stat(directory / name) for name in names}
        return {
            name: (state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns)
            for name, state in states.items()
        }

    before = look()
    yield
    assert look() == before


# Filesystems -----------------------------------------------------------------------

GUARDS = {
    "ext4": ("lease", "firm", "memory"),
    "xfs": ("lease", "firm", "reflink"),
    "btrfs": ("lease", "firm", "reflink"),
    "tmpfs": ("lease", "firm", "memory"),
    "overlay": ("weak-lease", "weak", "memory"),
}


@pytest.mark.parametrize("is_directory", [False, True], ids=["file", "directory"])
@pytest.mark.parametrize("kind", GUARDS)
def test_each_filesystem_has_its_guard(
    disk: Callable[[str], Path], kind: str, is_directory: bool
) -> None:
    directory = disk(kind) / f"doctor-{is_directory}"
    directory.mkdir()
    path = make(directory)
    with unchanged(directory):
        found = Found(directory if is_directory else path)
    guard, lease, snapshot = GUARDS[kind]
    assert found.case("guard") == guard
    assert found.case("lease") == lease
    # Both layers of the test's overlay lie on ext4, which has no reflinks.
    expected = "memory-short" if is_directory and kind == "overlay" else snapshot
    assert found.case("snapshot") == expected
    assert found.what("filesystem").startswith(kind)
    assert found.status == (1 if kind == "overlay" else 0)


def test_fuse_is_not_trusted(faulty_mount: MountFaulty) -> None:
    found = Found(faulty_mount(b"content").file)
    assert found.case("lease") == "untrusted"
    assert found.case("filesystem") == "fuse"
    assert found.status == 1


def test_a_filesystem_that_does_not_answer_is_given_up(
    faulty_mount: MountFaulty,
) -> None:
    mount = faulty_mount(b"content", Faults(hanging=("getattr",)))
    found = probes.file_facts(str(mount.file), patience=0.1)
    assert found.refusal == "its filesystem did not answer for 0.1 seconds"
    assert found.mount_point == str(mount.directory)
    mount.release()


# What cannot be served -------------------------------------------------------------


def test_a_fifo_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    found = Found(tmp_path / "fifo")
    assert "a FIFO" in found.what("file")
    assert found.status == 2


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    found = Found(tmp_path / "media/film.mp4")
    assert found.case("file") == "missing"
    assert str(tmp_path) in found.topics["file"]["why"]
    assert found.status == 2


def test_what_the_kernel_makes_up_is_refused() -> None:
    assert "a file of proc" in Found("/proc/version").what("file")
    assert "files of proc" in Found("/proc/self").what("file")


def test_a_device_is_not_even_opened() -> None:
    assert "a device" in Found("/dev/null").what("file")


def test_one_bad_path_among_good_ones_is_status_2(file: Path) -> None:
    done = run(file, file.parent / "missing")
    assert done.returncode == 2
    assert f"{file}: " in done.stdout


# Files -----------------------------------------------------------------------------


def test_the_file_stays_as_it_is_and_free_to_be_written(file: Path) -> None:
    with unchanged(file.parent):
        assert run(file).returncode < 2
    with file.open("r+b") as writing:  # would wait for a lease
        writing.write(b"new")


@contextmanager
def writing_elsewhere(path: Path) -> Iterator[int]:
    """Another process that has the file open for writing; its pid."""
    code = "import sys; print('ready', file=sys.stderr); sys.stdin.read()"
    command = [sys.executable, "-c", code]
    with path.open("ab") as file:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=file, stderr=subprocess.PIPE
        )
    with process:
        assert process.stdin is not None
        assert process.stderr is not None
        process.stderr.readline()
        yield process.pid
        process.stdin.close()


@pytest.mark.parametrize("kind", ["btrfs", "overlay", "tmpfs"])
def test_a_writer_is_named(disk: Callable[[str], Path], kind: str) -> None:
    directory = disk(kind) / "doctor-writer"
    directory.mkdir()
    path = make(directory)
    with writing_elsewhere(path) as pid:
        found = Found(path)
    assert found.case("lease") == "writer"
    assert f"pid {pid} (" in found.what("lease")
    assert found.status == 1


def test_who_has_mapped_the_file_is_a_writer(file: Path) -> None:
    with file.open("r+b") as writing:
        mapping = mmap.mmap(writing.fileno(), 0)
    nothing = (-1, -1)  # Python's mapping keeps a descriptor: not to be found by that
    with mapping:
        found = writers.writers_of(str(file), *nothing)
    assert any(f"pid {os.getpid()} (" in each for each in found)


def test_the_settings_are_those_of_the_environment(file: Path) -> None:
    assert Found(file, ZC_RESPONSE_INTEGRITY="fast").case("guard") == "count"
    done = run(file, ZC_RESPONSE_INTEGRITY="loose")
    assert done.returncode == 2
    assert "integrity is 'loose'" in done.stderr


def test_a_relative_path_and_a_link_are_resolved(file: Path) -> None:
    (file.parent / "link").symlink_to(file)
    assert str(file) in Found(file.parent / "link").what("file")


def test_no_lease_outlives_a_look_in_the_same_process(file: Path) -> None:
    assert probes.file_facts(str(file)).lease in (Lease.FIRM, Lease.WEAK)
    with file.open("rb") as reading:
        assert leases.is_held(reading.fileno()) is False
    assert f":{file.stat().st_ino} " not in Path("/proc/locks").read_text()


# Directories -----------------------------------------------------------------------


def test_a_directory_is_judged_by_a_file_that_is_not_left_there(
    tmp_path: Path,
) -> None:
    with unchanged(tmp_path):
        found = Found(tmp_path)
    assert found.case("file") == "directory-temporary"


# Other users -----------------------------------------------------------------------


@pytest.fixture
def open_to_all(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory that every user can enter, as pytest's own are not."""
    import tempfile

    with tempfile.TemporaryDirectory(prefix="zc-doctor-") as name:
        os.chmod(name, 0o755)
        yield Path(name)


@root
def test_another_user_has_no_lease_on_a_file_of_roots(open_to_all: Path) -> None:
    found = Found("--user", "nobody", make(open_to_all))
    assert found.case("lease") == "not-owner"
    assert "root (uid 0), and nobody (uid" in found.what("lease")
    assert found.status == 1


@root
def test_another_user_has_one_on_a_file_of_its_own(open_to_all: Path) -> None:
    path = make(open_to_all)
    nobody = pwd.getpwnam("nobody")
    os.chown(path, nobody.pw_uid, nobody.pw_gid)
    for name in ("nobody", str(nobody.pw_uid)):
        assert Found("--user", name, path).case("lease") in ("firm", "weak")


@root
def test_a_directory_that_the_user_cannot_write_to_is_judged_by_a_file(
    open_to_all: Path,
) -> None:
    path = make(open_to_all)
    found = Found("--user", "nobody", open_to_all)
    assert found.case("file") == "directory-found"
    assert str(path) in found.what("file")
    assert found.case("lease") == "not-owner"


@root
def test_in_the_users_own_directory_files_of_others_are_counted(
    open_to_all: Path,
) -> None:
    make(open_to_all)
    os.chown(open_to_all, pwd.getpwnam("nobody").pw_uid, -1)
    found = Found("--user", "nobody", open_to_all)
    assert found.case("file") == "directory-temporary"
    assert "1 of 1 files" in found.what("owners")
    assert found.status == 1


@root
def test_root_sees_the_writer_that_the_user_cannot(open_to_all: Path) -> None:
    path = make(open_to_all)
    os.chown(path, pwd.getpwnam("nobody").pw_uid, -1)
    with path.open("ab"):
        found = Found("--user", "nobody", path)
    assert f"pid {os.getpid()} (" in found.what("lease")


@root
def test_the_directory_that_the_user_may_not_enter_is_named(
    open_to_all: Path,
) -> None:
    closed = open_to_all / "closed"
    closed.mkdir(mode=0o700)
    found = Found("--user", "nobody", make(closed))
    assert f"may not enter {closed}." in found.topics["file"]["why"]
    assert found.status == 2


@root
def test_a_user_in_a_directory_of_roots_is_not_helped_by_relative_names(
    open_to_all: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = open_to_all / "closed"
    closed.mkdir(mode=0o700)
    inside = closed / "inside"
    inside.mkdir()
    make(inside)
    monkeypatch.chdir(inside)
    assert Found("--user", "nobody", "film.mp4").status == 2


def test_an_unknown_user_is_named(file: Path) -> None:
    done = run("--user", "no-such-user", file)
    assert done.returncode == 2
    assert "no user 'no-such-user'" in done.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root may")
def test_only_root_can_be_somebody_else(file: Path) -> None:
    done = run("--user", "nobody", file)
    assert done.returncode == 2
    assert "sudo zc-response doctor --user nobody" in done.stderr


# The command line ------------------------------------------------------------------


def test_help_is_for_people_in_a_hurry() -> None:
    done = run("--help")
    assert done.returncode == 0
    assert "sudo zc-response doctor --user www-data /srv/media" in done.stdout


def test_without_a_path_it_tells_of_the_network_and_the_process() -> None:
    done = run()
    assert done.returncode == 0
    assert "a process of " in done.stdout


def test_a_pipe_gets_plain_lines(file: Path) -> None:
    done = run(file)
    assert re.match(r".*: (good|so-so)\n  \1 +guard  ", done.stdout)
    assert "\x1b" not in done.stdout
    assert done.stderr == ""

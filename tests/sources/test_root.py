from __future__ import annotations

import ctypes
import errno
import os
from pathlib import Path

import pytest

from zc_response.errors import (
    FileForbiddenError,
    FileMissingError,
    NotRegularFileError,
    SourceError,
)
from zc_response.kernel import files
from zc_response.sources import Root


@pytest.fixture(params=["openat2", "resolved in user space"])
def root(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Root:
    """A root with a file, a directory and links; with the system call and without."""
    (tmp_path / "secret").write_bytes(b"secret")
    inside = tmp_path / "root"
    (inside / "dir").mkdir(parents=True)
    (inside / "file").write_bytes(b"public")
    (inside / "dir" / "relative").symlink_to("../file")
    (inside / "absolute").symlink_to(inside / "file")
    (inside / "out").symlink_to("../secret")
    (inside / "out-absolute").symlink_to(tmp_path / "secret")
    (inside / "out-dir").symlink_to(tmp_path)
    (inside / "loop").symlink_to("loop")
    (tmp_path / "root_secret").write_bytes(b"secret")
    if request.param != "openat2":
        monkeypatch.setattr(files, "_openat2", None)
    return Root(inside)


@pytest.mark.parametrize("path", ["file", "dir/../file", "dir/relative", "absolute"])
def test_it_opens_what_lies_below(root: Root, path: str) -> None:
    with root.open(path) as source:
        assert source.read(0, 10) == b"public"


@pytest.mark.parametrize(
    "path",
    [
        "../secret",
        "out",
        "out-absolute",
        "out-dir/secret",
        "../root_secret",
        "dir/../..",
    ],
)
def test_no_path_leads_out(root: Root, path: str) -> None:
    with pytest.raises(FileForbiddenError):
        root.open(path)


def test_an_absolute_path_leads_out(root: Root, tmp_path: Path) -> None:
    with pytest.raises(FileForbiddenError):
        root.open(str(tmp_path / "secret"))


@pytest.mark.parametrize("path", ["none", "file/below", "a\0b", "loop"])
def test_what_is_not_there_is_missing(root: Root, path: str) -> None:
    with pytest.raises(FileMissingError):
        root.open(path)


def test_a_directory_is_not_a_file(root: Root) -> None:
    with pytest.raises(NotRegularFileError):
        root.open("dir")


def test_a_link_of_proc_is_no_way_in(tmp_path: Path) -> None:
    with (tmp_path / "open").open("wb") as file:
        (tmp_path / "magic").symlink_to(f"/proc/self/fd/{file.fileno()}")
        (tmp_path / "root").mkdir()
        (tmp_path / "root" / "magic").symlink_to("../magic")
        with pytest.raises(SourceError):
            Root(tmp_path / "root").open("magic")


def test_the_root_may_be_a_link_that_a_deploy_points_elsewhere(tmp_path: Path) -> None:
    for release in ("one", "two"):
        (tmp_path / release).mkdir()
        (tmp_path / release / "file").write_text(release)
    current = tmp_path / "current"
    current.symlink_to("one")
    root = Root(current)
    with root.open("file") as source:
        assert source.read(0, 10) == b"one"

    os.symlink("two", tmp_path / "new")
    os.replace(tmp_path / "new", current)

    with root.open("file") as source:
        assert source.read(0, 10) == b"two"


def test_a_rename_during_the_walk_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"public")
    system_call, calls = files._openat2, []

    def racing(*arguments: object) -> int:
        calls.append(arguments)
        if len(calls) < 3:
            ctypes.set_errno(errno.EAGAIN)
            return -1
        return int(system_call(*arguments))

    monkeypatch.setattr(files, "_openat2", racing)
    with Root(tmp_path).open("file") as source:
        assert source.read(0, 10) == b"public"
    assert len(calls) == 3

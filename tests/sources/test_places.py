"""Which paths an event loop may touch: those that stay on local filesystems."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.filesystems import DISK_KINDS, MountFaulty, why_not
from zc_response.cli.bench.mounts import mounted
from zc_response.kernel.mounts import Mount
from zc_response.sources import place_of, places
from zc_response.sources.places import Places


def table(tmp_path: Path, **remote: str) -> Places:
    """A local root, and below `tmp_path` a mount for each name, of that type."""
    below = [Mount(str(tmp_path / name), kind) for name, kind in remote.items()]
    return Places([Mount("/", "ext4"), *below])


def test_without_other_mounts_everything_is_local(tmp_path: Path) -> None:
    assert table(tmp_path).are_local(str(tmp_path / "any" / "thing"))


def test_without_a_table_nothing_is_local() -> None:
    assert not Places([]).are_local("/")


@pytest.mark.parametrize(
    "kind", ["nfs", "nfs4", "cifs", "fuse", "fuse.sshfs", "ceph", "autofs", "9p", "new"]
)
def test_what_asks_somebody_else_is_not_local(tmp_path: Path, kind: str) -> None:
    known = table(tmp_path, far=kind)

    assert not known.are_local(str(tmp_path / "far"))
    assert not known.are_local(str(tmp_path / "far" / "file"))
    assert known.are_local(str(tmp_path / "far-away"))
    assert known.are_local(str(tmp_path / "file"))


def test_a_local_filesystem_within_a_remote_one_is_behind_it(tmp_path: Path) -> None:
    """The way there leads over the remote one."""
    known = Places(
        [
            Mount("/", "ext4"),
            Mount(str(tmp_path / "far"), "nfs4"),
            Mount(str(tmp_path / "far" / "near"), "tmpfs"),
        ]
    )

    assert not known.are_local(str(tmp_path / "far" / "near" / "file"))


def test_a_link_to_a_remote_filesystem_leads_away(tmp_path: Path) -> None:
    known = table(tmp_path, far="nfs4")
    (tmp_path / "link").symlink_to(tmp_path / "far" / "file")
    (tmp_path / "relative").symlink_to("far")
    (tmp_path / "two").symlink_to("link")

    for name in ("link", "relative", "relative/file", "two"):
        assert not known.are_local(str(tmp_path / name))


def test_a_link_to_a_local_file_is_local(tmp_path: Path) -> None:
    known = table(tmp_path, far="nfs4")
    (tmp_path / "dir").mkdir()
    (tmp_path / "dir" / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "dir" / "file")
    (tmp_path / "up").symlink_to("dir/../dir/./file")

    assert known.are_local(str(tmp_path / "link"))
    assert known.are_local(str(tmp_path / "up"))


def test_a_link_in_the_middle_of_a_path_is_followed(tmp_path: Path) -> None:
    known = table(tmp_path, far="nfs4")
    (tmp_path / "link").symlink_to("far")

    assert not known.are_local(str(tmp_path / "link" / "deep" / "file"))


def test_the_parent_of_a_link_is_that_of_its_target(tmp_path: Path) -> None:
    """As the kernel has it: `out/..` is not the directory that `out` lies in."""
    (tmp_path / "near" / "sub").mkdir(parents=True)
    (tmp_path / "near" / "file").touch()
    (tmp_path / "trap").symlink_to("out/../secret")
    (tmp_path / "out").symlink_to("near/sub")
    (tmp_path / "near" / "secret").symlink_to(tmp_path / "far")
    known = table(tmp_path, far="nfs4")

    assert not known.are_local(str(tmp_path / "trap"))


def test_links_that_go_round_in_circles_are_given_up(tmp_path: Path) -> None:
    known = table(tmp_path, far="nfs4")
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    (tmp_path / "self").symlink_to("self/self")

    assert not known.are_local(str(tmp_path / "a"))
    assert not known.are_local(str(tmp_path / "self"))


def test_of_two_mounts_at_one_place_the_later_counts(tmp_path: Path) -> None:
    point = str(tmp_path / "here")
    local, remote = Mount(point, "xfs"), Mount(point, "nfs4")

    assert not Places([Mount("/", "ext4"), local, remote]).are_local(point)
    assert Places([Mount("/", "ext4"), remote, local]).are_local(point)


def test_a_mount_over_a_directory_above_hides_what_was_below(tmp_path: Path) -> None:
    """The table still lists it; nobody gets there any more."""
    known = Places(
        [
            Mount("/", "ext4"),
            Mount(str(tmp_path / "a" / "b"), "tmpfs"),
            Mount(str(tmp_path / "a"), "nfs4"),
        ]
    )

    assert not known.are_local(str(tmp_path / "a" / "b" / "file"))


def test_the_deepest_mount_is_the_place_of_a_path() -> None:
    known = Places(
        [Mount("/", "ext4"), Mount("/a/b", "xfs"), Mount("/a", "nfs4")],
    )

    assert known.mount_of("/a/b/c") == "/a/b"
    assert known.mount_of("/a/bc") == "/a"
    assert known.mount_of("/a") == "/a"
    assert known.mount_of("/ab") == "/"
    assert known.mount_of("/a/b/../c") == "/a"
    assert Places([]).mount_of("/a") == "/"


def test_a_relative_path_starts_where_the_process_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = table(tmp_path, far="nfs4")
    (tmp_path / "far").mkdir()
    monkeypatch.chdir(tmp_path)
    assert known.are_local("file")
    assert not known.are_local("far/file")

    monkeypatch.chdir(tmp_path / "far")
    assert not known.are_local("file")


@pytest.mark.parametrize("kind", DISK_KINDS)
def test_a_disk_is_local_and_a_place_of_its_own(
    disk: Callable[[str], Path], kind: str
) -> None:
    root = disk(kind)
    known = places.now()

    assert known.mount_of(str(root / "file")) == str(root)
    assert known.are_local(str(root / "file"))
    assert place_of(str(root / "file")) == str(root)


def test_a_filesystem_of_a_daemon_is_never_asked(
    faulty_mount: MountFaulty, tmp_path: Path
) -> None:
    mount = faulty_mount(b"content")
    for name, target in (("file", mount.file), ("directory", mount.directory)):
        (tmp_path / name).symlink_to(target)
    known = places.now()
    mount.forget()

    for path in (mount.file, tmp_path / "file", tmp_path / "directory" / "file"):
        assert not known.are_local(str(path))
        known.mount_of(str(path))
    assert mount.operations() == []


@pytest.mark.skipif(bool(why_not("tmpfs")), reason=why_not("tmpfs") or "-")
def test_a_mount_that_came_since_is_a_place_of_its_own(tmp_path: Path) -> None:
    """Else a hanging one would take the threads of what it lies on."""
    point = tmp_path / "mount"
    assert place_of(str(point)) != str(point)
    with mounted(point, "-t", "tmpfs", "tmpfs"):
        assert place_of(str(point / "file")) == str(point)


@pytest.mark.skipif(bool(why_not("tmpfs")), reason=why_not("tmpfs") or "-")
def test_a_mount_is_known_when_it_is_asked_for_anew(tmp_path: Path) -> None:
    point = tmp_path / "mount"
    with mounted(point, "-t", "tmpfs", "tmpfs"):
        assert places.now().mount_of(str(point / "file")) == str(point)
        assert place_of(str(point / "file")) == str(point)
    assert places.now().mount_of(str(point / "file")) != str(point)
    assert os.path.isdir(tmp_path)

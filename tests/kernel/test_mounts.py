"""The table of mounts, read as the kernel writes it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.filesystems import why_not
from zc_response.cli.bench.mounts import mounted
from zc_response.kernel import mounts as module
from zc_response.kernel.mounts import Mount, mounts, table

LINE = "36 35 98:0 /mnt1 {point} rw,noatime master:1 - {kind} /dev/root rw,errors=x\n"


def read(text: str) -> list[Mount]:
    return mounts(text.encode("utf-8", "surrogateescape"))


def test_this_process_has_a_root() -> None:
    assert "/" in [mount.point for mount in mounts(table())]


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("/mnt", "/mnt"),
        (r"/a\040b", "/a b"),
        (r"/a\011b", "/a\tb"),
        (r"/a\012b", "/a\nb"),
        (r"/a\134b", "/a\\b"),
        (r"/a\134040b", r"/a\040b"),
        ("/a\rb", "/a\rb"),
        ("/ä", "/ä"),
        (r"/\377", os.fsdecode(b"/\xff")),
        ("/\udcff", "/\udcff"),
        ("/a-b", "/a-b"),
    ],
)
def test_places_are_written_with_octal_numbers(written: str, meant: str) -> None:
    line = LINE.format(point=written, kind="ext4")

    assert read(line) == [Mount(meant, "ext4")]


def test_fields_in_the_middle_may_be_absent_or_many() -> None:
    text = "1 2 0:1 / / rw - overlay overlay rw\n"
    text += "2 1 0:2 / /x rw shared:1 master:2 propagate_from:3 - nfs4 a:/b rw\n"

    assert read(text) == [
        Mount("/", "overlay"),
        Mount("/x", "nfs4"),
    ]


def test_without_a_table_no_mount_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TABLE", str(tmp_path / "none"))

    assert mounts(table()) == []


@pytest.mark.skipif(bool(why_not("tmpfs")), reason=why_not("tmpfs") or "-")
@pytest.mark.parametrize(
    "name", ["plain", "with blank", "tab\there", "back\\slash", "re\rturn"]
)
def test_the_kernel_writes_what_is_read_here(tmp_path: Path, name: str) -> None:
    point = tmp_path / name
    with mounted(point, "-t", "tmpfs", "tmpfs"):
        assert Mount(str(point), "tmpfs") in mounts(table())
    assert str(point) not in [mount.point for mount in mounts(table())]

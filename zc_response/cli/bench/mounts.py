"""Mounts that last as long as a block, and go away whatever happens in it.

It may know the programs of util-linux and FUSE's device, and nothing of what the
mounts are for. A process that still holds a file open cannot keep a mount: it is then
detached, and the kernel takes it down once the file is closed.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Final

from zc_response.cli.bench.errors import BenchmarkError
from zc_response.kernel.mounts import mounts, table

PATIENCE: Final = 20.0  # seconds; a small filesystem is made and mounted in one
_BUSY: Final = (
    2.0  # seconds in which a process that has been ended lets go of its files
)
_SYSTEM: Final = "/usr/sbin:/sbin"  # not in the PATH of every user
_CAP_SYS_ADMIN: Final = 21


def program(name: str) -> str | None:
    """The path of a program, those for the administrator included."""
    return shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:{_SYSTEM}")


def run(*command: str | Path) -> str:
    """What a program prints. Raises `BenchmarkError` with its complaint."""
    name = str(command[0])
    try:
        done = subprocess.run(
            [program(name) or name, *command[1:]],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise BenchmarkError(f"{name}: {exc}") from exc
    if done.returncode:
        complaint = done.stderr.strip() or f"exit status {done.returncode}"
        raise BenchmarkError(f"{name}: {complaint}")
    return done.stdout.strip()


def may_mount() -> bool:
    """Whether the process has CAP_SYS_ADMIN: root in a container often has not."""
    return _has_sys_admin("CapEff")


def may_mount_fuse() -> bool:
    """Whether fusermount3, which is set-uid root, can mount on the user's behalf."""
    barred = _status().get("NoNewPrivs") == "1" or not _has_sys_admin("CapBnd")
    return may_mount() or (program("fusermount3") is not None and not barred)


def _has_sys_admin(capabilities: str) -> bool:
    return bool(int(_status().get(capabilities, "0"), 16) >> _CAP_SYS_ADMIN & 1)


def _status() -> dict[str, str]:
    """What /proc tells of this process, by name."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    pairs = (line.partition(":") for line in lines)
    return {name: value.strip() for name, _colon, value in pairs}


def kernel_has(filesystem: str) -> bool:
    """Whether the kernel knows a filesystem, or has a module for it."""
    listed = Path("/proc/filesystems").read_text(encoding="ascii").split()
    if filesystem in listed:
        return True
    try:
        run("modprobe", "--dry-run", "--quiet", filesystem)
    except BenchmarkError:
        return False
    return True


@contextlib.contextmanager
def mounted(target: Path, *arguments: str | Path) -> Iterator[None]:
    """mount(8) with these arguments on `target`, which is made if need be."""
    target.mkdir(exist_ok=True)
    run("mount", *arguments, target)
    try:
        yield
    finally:
        unmount(target)


def unmount(target: Path) -> None:
    """Unmount `target`: soon if it is in use, and as a last resort by detaching it."""
    deadline = time.monotonic() + _BUSY
    while os.path.ismount(target) and time.monotonic() < deadline:
        with contextlib.suppress(BenchmarkError):
            run("umount", target)
            return
        time.sleep(0.05)
    if is_mounted(target):
        run("umount", "--lazy", target)


def is_mounted(target: Path) -> bool:
    """Whether something is mounted on `target`, answered without touching that."""
    wanted = os.path.realpath(target.parent) + "/" + target.name
    return any(mount.point == wanted for mount in mounts(table()))


@contextlib.contextmanager
def loop_device(image: Path) -> Iterator[Path]:
    """A loop device on `image`.

    Detaching one that is still mounted makes the kernel do it after the unmount.
    """
    device = Path(run("losetup", "--find", "--show", image))
    try:
        yield device
    finally:
        run("losetup", "--detach", device)


@contextlib.contextmanager
def fuse(target: Path, daemon: Sequence[str]) -> Iterator[subprocess.Popen[str]]:
    """A FUSE filesystem on `target`, served by the process `daemon`.

    The daemon is to end when its standard input does: so it cannot outlive us. When it
    is killed the kernel fails whatever still waits for it (ENOTCONN, ECONNABORTED),
    so that a daemon which hangs holds nobody up.
    """
    target.mkdir(exist_ok=True)
    with tempfile.TemporaryFile("w+") as errors:  # a pipe could fill up
        pipe = subprocess.PIPE
        process = subprocess.Popen(
            daemon, stdin=pipe, stdout=pipe, stderr=errors, text=True
        )
        with process:
            try:
                _wait_for_mount(target, process, errors)
                yield process
            finally:
                process.kill()
                process.wait()
                if is_mounted(target):
                    _unmount_dead(target)


def _wait_for_mount(
    target: Path, process: subprocess.Popen[str], errors: IO[str]
) -> None:
    deadline = time.monotonic() + PATIENCE
    while not is_mounted(target):
        if process.poll() is not None:
            errors.seek(0)
            said = errors.read().strip().rpartition("\n")[2]
            raise BenchmarkError(f"the FUSE filesystem did not start: {said}")
        if time.monotonic() > deadline:
            raise BenchmarkError("the FUSE filesystem did not start in time")
        time.sleep(0.01)


def _unmount_dead(target: Path) -> None:
    """Unmount what has no daemon any more; without root only fusermount3 may."""
    if may_mount():
        run("umount", "--lazy", target)
    else:
        run("fusermount3", "-u", "-z", target)

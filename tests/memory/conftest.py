"""Bytes to be sent from memory, and systems that will not have that."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

import pytest

from zc_response.kernel import copies

CONTENT = bytes(range(256)) * 4096 * 3  # 3 MiB: more than one step

Refuse = Callable[[str, int], None]


@pytest.fixture
def refuse(monkeypatch: pytest.MonkeyPatch) -> Refuse:
    """Have a call of the kernel fail, as under a seccomp filter."""

    def refuse(name: str, number: int = errno.EPERM) -> None:
        def refused(*_args: object) -> None:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(copies, name, refused)

    return refuse


@pytest.fixture(params=["sealed", "unsealed", "on disk", "on disk, of old"])
def kept(request: pytest.FixtureRequest, refuse: Refuse) -> tuple[str, str]:
    """Each place where a memory file can be kept: its guard, and what is said of it."""
    if request.param == "sealed":
        return "sealed", ""
    if request.param == "unsealed":
        refuse("seal", errno.EPERM)
        return "private", "F_ADD_SEALS: Operation not permitted"
    refuse("memory_file", errno.ENOSYS)
    if request.param == "on disk, of old":
        refuse("unnamed_file", errno.EOPNOTSUPP)
    return "private", "memfd_create: Function not implemented"

"""Pages that are sent from where they are mapped, and what happens at their end."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.transmit.lines import CONTENT, connected, receive
from zc_response.kernel import mappings
from zc_response.kernel.mappings import Mapping
from zc_response.kernel.pages import PAGE


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "f"
    path.write_bytes(CONTENT)
    return path


@pytest.fixture
def fd(path: Path) -> Iterator[int]:
    fd = os.open(path, os.O_RDONLY)
    yield fd
    os.close(fd)


def sent(mapping: Mapping, offset: int, count: int) -> bytes:
    with connected() as (ours, peer):
        taken = mapping.send(ours.fileno(), offset, count, more=False)
        return receive(peer, taken)


def test_any_range_inside_of_it_can_be_sent(fd: int) -> None:
    mapping = Mapping(fd, PAGE + 5, 10_000)
    assert mapping.covers(PAGE, 5 + 10_000)
    assert not mapping.covers(PAGE - 1, 2)
    assert not mapping.covers(PAGE + 5, 10_001)
    mapping.warm(PAGE + 7, 9000)
    assert sent(mapping, PAGE + 7, 9000) == CONTENT[PAGE + 7 : PAGE + 9007]
    mapping.close()


def test_it_needs_no_descriptor_to_live(path: Path) -> None:
    with path.open("rb") as file:
        mapping = Mapping(file.fileno(), 0, PAGE)
    assert sent(mapping, 0, PAGE) == CONTENT[:PAGE]
    mapping.close()


def test_where_the_file_has_ended_sending_fails_and_nobody_is_killed(
    path: Path, fd: int
) -> None:
    mapping = Mapping(fd, 0, len(CONTENT))
    os.truncate(path, 2 * PAGE)
    mapping.warm(0, len(CONTENT))
    assert sent(mapping, PAGE, PAGE) == CONTENT[PAGE : 2 * PAGE]
    with pytest.raises(OSError, match="Bad address") as caught:
        sent(mapping, 2 * PAGE, PAGE)
    assert caught.value.errno == errno.EFAULT
    mapping.close()


def test_what_is_closed_can_be_closed_and_not_be_sent_from(fd: int) -> None:
    mapping = Mapping(fd, 0, PAGE)
    mapping.close()
    mapping.close()
    with pytest.raises(ValueError, match="closed"):
        sent(mapping, 0, PAGE)


def test_one_that_nobody_closed_is_unmapped_with_a_warning(fd: int) -> None:
    mapping = Mapping(fd, 0, PAGE)
    with pytest.warns(ResourceWarning, match="unclosed mapping"):
        del mapping


def test_a_call_that_a_signal_interrupted_is_made_again(
    fd: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ctypes

    real, answers = mappings._send, [-1, -1]

    def interrupted(*arguments: object) -> int:
        ctypes.set_errno(errno.EINTR)
        return answers.pop() if answers else int(real(*arguments))

    monkeypatch.setattr(mappings, "_send", interrupted)
    mapping = Mapping(fd, 0, PAGE)
    assert sent(mapping, 0, PAGE) == CONTENT[:PAGE]
    assert answers == []
    mapping.close()


def test_a_directory_has_none(tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_RDONLY)
    with pytest.raises(OSError, match="No such device"):
        Mapping(fd, 0, PAGE)
    os.close(fd)

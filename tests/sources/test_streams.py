"""Whose the descriptors are, and how large the pipes."""

from __future__ import annotations

import fcntl
import os
import socket
import subprocess
from typing import Any

import pytest

from zc_response import NotStreamError
from zc_response.sources import open_stream, streams


def pipe_size(fd: int) -> int:
    return fcntl.fcntl(fd, 1032)  # F_GETPIPE_SZ


def open_pipe() -> Any:
    out, into = os.pipe()
    os.close(into)
    return open_stream(out)


def test_a_pipe_is_made_as_large_as_an_ordinary_user_may_have_it() -> None:
    with open_pipe() as stream:
        assert pipe_size(stream.fileno()) == streams.PIPE_BYTES


def test_only_so_many_pipes_are_that_large_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(streams, "WIDE_PIPES", 1)
    with open_pipe(), open_pipe() as second:
        assert pipe_size(second.fileno()) < streams.PIPE_BYTES
    with open_pipe() as third:
        assert pipe_size(third.fileno()) == streams.PIPE_BYTES


def test_a_file_object_is_closed_and_its_pipe_stays_open() -> None:
    out, into = os.pipe()
    os.close(into)
    file = os.fdopen(out, "rb")
    with open_stream(file) as stream:
        assert file.closed
        assert stream.is_over()


def test_closed_twice_it_is_closed_once() -> None:
    stream = open_pipe()
    stream.close()
    assert stream.pipe == -1
    stream.close()


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_SEQPACKET])
def test_packets_are_no_stream(kind: int) -> None:
    near, far = socket.socketpair(type=kind)
    with far, pytest.raises(NotStreamError, match="neither a pipe nor a connected"):
        open_stream(near)
    assert near.fileno() == -1


def test_text_is_no_stream_and_its_process_is_ended() -> None:
    process = subprocess.Popen(["cat", "/dev/zero"], stdout=subprocess.PIPE, text=True)
    with pytest.raises(NotStreamError, match="reads in a way of its own"):
        open_stream(process)
    process.wait(10)


def test_a_device_is_no_stream() -> None:
    with pytest.raises(NotStreamError, match="/dev/zero is neither"):
        open_stream(os.open("/dev/zero", os.O_RDONLY))

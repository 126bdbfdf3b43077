"""Trying out what this process may do, on pipes, sockets and files of its own.

Seccomp filters, sandboxes and limits are seen only by who tries. Each trial says in the
kernel's words why it was refused, and says nothing if it was not, or could not be made.
"""

from __future__ import annotations

import contextlib
import os
import socket
import tempfile
from collections.abc import Callable, Iterator

from zc_response.kernel import copies, files, pipes, sockets
from zc_response.kernel.buffers import aligned
from zc_response.kernel.pages import PAGE
from zc_response.sources import FileSource
from zc_response.sources.streams import PIPE_BYTES


def refusal_of_sendfile() -> str:
    """Why nothing can be sent from a file to a socket."""
    with contextlib.suppress(OSError), _pair() as ours, _file() as fd:
        return _refusal(lambda: sockets.sendfile(ours.fileno(), fd, 0, 1))
    return ""


def refusal_of_splice() -> str:
    """Why nothing can be moved from a pipe to a socket."""
    with contextlib.suppress(OSError), _pair() as ours, _pipe() as (reading, writing):
        os.write(writing, b"x")
        return _refusal(lambda: pipes.splice(reading, ours.fileno(), 1, more=False))
    return ""


def refusal_of_seals() -> str:
    """Why a file in memory cannot be made, or cannot be sealed."""

    def seal() -> None:
        with _closing(copies.memory_file("zc_response trial")) as fd:
            copies.seal(fd)

    return _refusal(seal)


def refusal_of_direct(source: FileSource) -> str:
    """Why a file cannot be read around the page cache."""

    def read() -> None:
        with source.unbuffered() as file:
            files.read_into(file.fileno(), aligned(PAGE), 0)

    return _refusal(read)


def size_of_a_pipe() -> int:
    """Bytes that a pipe of ours holds; 0 if there is none."""
    try:
        with _pipe() as (reading, _writing):
            pipes.widen(reading, PIPE_BYTES)
            return pipes.size(reading)
    except OSError:
        return 0


def _refusal(call: Callable[[], object]) -> str:
    try:
        call()
    except OSError as exc:
        return exc.strerror or str(exc)
    return ""


@contextlib.contextmanager
def _file() -> Iterator[int]:
    """A file with something in it, on disk where memory is refused."""
    try:
        made = copies.memory_file("zc_response trial")
    except OSError:
        made = copies.nameless_file(tempfile.gettempdir())
    with _closing(made) as fd:
        os.write(fd, b"x")
        yield fd


@contextlib.contextmanager
def _pipe() -> Iterator[tuple[int, int]]:
    reading, writing = pipes.new_pipe()
    with _closing(reading), _closing(writing):
        yield reading, writing


@contextlib.contextmanager
def _closing(fd: int) -> Iterator[int]:
    try:
        yield fd
    finally:
        os.close(fd)


@contextlib.contextmanager
def _pair() -> Iterator[socket.socket]:
    """One end of a connection, which does not wait; the other end is there, too."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        yield ours

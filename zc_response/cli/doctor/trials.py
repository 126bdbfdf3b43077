"""Trying out what this process may do, on pipes, sockets and files of its own.

Seccomp filters, sandboxes and limits are seen only by who tries. Each trial says in the
kernel's words why it failed, and says nothing if it did not.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator

from zc_response.kernel import copies, files, pipes, sockets
from zc_response.kernel.buffers import aligned
from zc_response.kernel.pages import PAGE
from zc_response.sources import FileSource
from zc_response.sources.streams import PIPE_BYTES


def refusal_of_sendfile() -> str:
    """Why nothing can be sent from a file in memory to a socket."""
    with _refusal() as words, _pair() as (ours, _theirs), _memory() as fd:
        sockets.sendfile(ours.fileno(), fd, 0, 1)
    return "".join(words)


def refusal_of_splice() -> str:
    """Why nothing can be moved from a pipe to a socket."""
    with _refusal() as words, _pair() as (ours, _theirs), _pipe() as (reading, writing):
        os.write(writing, b"x")
        pipes.splice(reading, ours.fileno(), 1, more=False)
    return "".join(words)


def refusal_of_seals() -> str:
    """Why a file in memory cannot be made, or cannot be sealed."""
    with _refusal() as words, _memory() as fd:
        copies.seal(fd)
    return "".join(words)


def refusal_of_direct(source: FileSource) -> str:
    """Why a file cannot be read around the page cache."""
    with _refusal() as words, source.unbuffered() as file:
        files.read_into(file.fileno(), aligned(PAGE), 0)
    return "".join(words)


def size_of_a_pipe() -> int:
    """Bytes that a pipe of ours holds; 0 if there is none."""
    try:
        with _pipe() as (reading, _writing):
            pipes.widen(reading, PIPE_BYTES)
            return pipes.size(reading)
    except OSError:
        return 0


@contextlib.contextmanager
def _refusal() -> Iterator[list[str]]:
    words: list[str] = []
    try:
        yield words
    except OSError as exc:
        words.append(exc.strerror or str(exc))


@contextlib.contextmanager
def _memory() -> Iterator[int]:
    fd = copies.memory_file("zc_response trial")
    try:
        os.write(fd, b"x")
        yield fd
    finally:
        os.close(fd)


@contextlib.contextmanager
def _pipe() -> Iterator[tuple[int, int]]:
    reading, writing = pipes.new_pipe()
    try:
        yield reading, writing
    finally:
        os.close(reading)
        os.close(writing)


@contextlib.contextmanager
def _pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two ends of a connection; neither waits."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        yield ours, theirs

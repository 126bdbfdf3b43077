"""Bytes that come once, in order, at their own pace: a pipe, or a connected socket.

A stream is the one owner of its descriptor, and of the process at the other end, if
that is ours. Nobody else may read from it. It never waits: `waiting` says what can be
taken at once, and `fileno` what to watch where that is nothing.
"""

from __future__ import annotations

import io
import os
import socket
import stat
from collections.abc import Callable
from typing import Any, Final, TypeAlias

from zc_response.errors import NotStreamError, TruncatedError
from zc_response.kernel import pipes
from zc_response.sources.producers import Command, Producer

Streamable: TypeAlias = "Command | int | Any | Callable[[], Any]"
"""What a stream can be made of: see `open_stream`."""

PIPE_BYTES: Final = 1024 * 1024
"""How much a pipe may hold: the most that an ordinary user may ask for.

Against 64 KiB, 1 GiB from a process that writes as fast as it can took two thirds of
the CPU time and of the time, against 256 KiB nine tenths and six tenths.
"""
WIDE_PIPES: Final = 16
"""So many in a process may be that large at once: a quarter of what one user's pipes
may take together, beyond which he gets very small ones, other programs' too."""

_wide = 0


class Stream:
    """A pipe that is read once, and who writes to it.

    `loaded` counts the bytes at the front of `pipe` that have been promised to
    somebody, and not been taken yet. `residue` is what somebody had read ahead: it
    comes first.
    """

    is_counted = False
    """True if a length that is known also says where it ends."""

    def __init__(
        self,
        fd: int,
        name: str,
        producer: Producer | None = None,
        residue: bytes = b"",
    ) -> None:
        """Take over `fd`, and the producer."""
        global _wide
        self.pipe = fd
        self.residue = residue
        self.name = name
        self.loaded = 0
        self._producer = producer
        self._pidfd = -1
        self._is_wide = _wide < WIDE_PIPES
        if self._is_wide:
            _wide += 1
            pipes.widen(fd, PIPE_BYTES)

    def fileno(self) -> int:
        """What becomes readable when there is more, or when the producer has ended."""
        return self._pidfd if self._pidfd >= 0 else self.pipe

    def waiting(self) -> int:
        """Bytes that can be taken at once; 0 if there are none, or no more."""
        return len(self.residue) or pipes.waiting(self.pipe)

    def is_over(self) -> bool:
        """True if nothing is left, nor will ever come."""
        return not self.residue and pipes.is_over(self.pipe)

    def load(self, count: int) -> int:
        """Have up to `count` bytes, which wait, ready in `pipe`; how many those are.

        0 if they can only be read. Raises OSError if that is refused.
        """
        self.loaded = 0 if self.residue else count
        return self.loaded

    def read(self, count: int) -> bytes:
        """The next bytes that wait, at most `count`; the loaded ones first."""
        if self.residue:
            data, self.residue = self.residue[:count], self.residue[count:]
            return data
        data = os.read(self.pipe, min(count, self.loaded or count))
        self.loaded = max(self.loaded - len(data), 0)
        return data

    def take(self, count: int) -> bytes:
        """The next `count` bytes, which wait. Raises TruncatedError if they do not."""
        data = self.read(count)
        while len(data) < count:  # a pipe of packets (O_DIRECT) gives one at a time
            more = self.read(count - len(data))
            if not more:
                raise self._robbed()
            data += more
        return data

    def check_loaded(self) -> None:
        """Raise TruncatedError if nothing is there of what was loaded."""
        if self.loaded and not pipes.waiting(self.pipe):
            raise self._robbed()

    def _robbed(self) -> TruncatedError:
        return TruncatedError(f"{self.name}: somebody else reads from it")

    @property
    def has_producer(self) -> bool:
        """True if a process writes to it, whose exit status tells of its end."""
        return self._producer is not None

    def has_ended_well(self) -> bool:
        """True if its end is a good end; False if that remains to be seen.

        For a process it is its exit status that says so: until it has one, `fileno` is
        what tells of it, or -1 if nobody does. Raises ProducerError if it failed.
        """
        if self._producer is None or self._producer.has_ended():
            return True
        if self._pidfd < 0:
            self._pidfd = pipes.process_descriptor(self._producer.pid)
        return False

    @property
    def tells_its_end(self) -> bool:
        """True if `fileno` tells of the producer's end."""
        return self._pidfd >= 0

    def close(self) -> None:
        """Close it, and have the producer end. Twice is once."""
        global _wide
        pipe, self.pipe = self.pipe, -1
        pidfd, self._pidfd = self._pidfd, -1
        for fd in (pipe, pidfd):
            if fd >= 0:
                os.close(fd)
        if pipe >= 0 and self._is_wide:
            _wide -= 1
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.end()

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()


class SocketStream(Stream):
    """A connected stream socket that is read once.

    splice(2) wants a pipe on one side, so there is one of its own in between. It holds
    nothing but what has been promised, and is closed with the stream, never used again.
    """

    is_counted = True

    def __init__(self, fd: int, name: str, residue: bytes = b"") -> None:
        self._socket = socket.socket(fileno=fd)
        self._socket.setblocking(False)
        self._into = -1
        try:
            out, self._into = pipes.new_pipe()
        except OSError:
            self._socket.close()
            raise
        super().__init__(out, name, residue=residue)

    def fileno(self) -> int:
        """The socket's."""
        return self._socket.fileno()

    def waiting(self) -> int:
        """See `Stream`."""
        ready = self.loaded or len(self.residue)
        return ready or pipes.waiting(self._socket.fileno())

    def is_over(self) -> bool:
        """See `Stream`. Raises OSError if the connection has broken."""
        if self.residue:
            return False
        try:
            return not self._socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False

    def load(self, count: int) -> int:
        """See `Stream`."""
        if self.residue:
            return 0
        try:
            self.loaded = pipes.splice(
                self._socket.fileno(), self._into, count, more=False
            )
        except BlockingIOError:
            self.loaded = 0
        return self.loaded

    def read(self, count: int) -> bytes:
        """See `Stream`."""
        if self.loaded or self.residue:
            return super().read(count)
        try:
            return self._socket.recv(count)
        except BlockingIOError:
            return b""

    def close(self) -> None:
        """See `Stream`."""
        self._socket.close()
        into, self._into = self._into, -1
        if into >= 0:
            os.close(into)
        super().close()


def open_stream(what: Streamable) -> Stream:
    """The stream of a command, a process, a file object, a socket or a descriptor.

    A command (a sequence of strings) is started. A process is a `subprocess.Popen` with
    `stdout=PIPE`. A callable is called, for any of these. Whatever it is, it is the
    stream's from now on: file objects and sockets are closed, and read through a
    duplicate of their descriptor.

    Raises NotStreamError for what is neither a pipe nor a connected stream socket,
    ProducerError for a command that cannot be started, and OSError where the system
    has no more descriptors.
    """
    if callable(what) and not hasattr(what, "fileno"):
        what = what()
    if isinstance(what, Stream):
        return what
    if isinstance(what, list | tuple):
        producer = Producer.start(what)
        return _of_process(producer)
    if hasattr(what, "poll") and hasattr(what, "stdout"):
        return _of_process(Producer(what))
    return _of_descriptor(*_taken(what), None)


def discard(what: Streamable) -> None:
    """Close what would have become a stream; a command is not even started."""
    if isinstance(what, list | tuple) or (
        callable(what) and not hasattr(what, "fileno")
    ):
        return
    open_stream(what).close()


def _of_process(producer: Producer) -> Stream:
    try:
        stdout = producer.process.stdout
        if stdout is None:
            raise NotStreamError(f"{producer}: the process needs stdout=PIPE")
        return _of_descriptor(*_taken(stdout), producer)
    except BaseException:
        producer.end()
        raise


def _taken(what: Any) -> tuple[int, bytes]:
    """A descriptor of our own, and what was read ahead; what it came from is closed."""
    if isinstance(what, int):
        try:
            os.fstat(what)  # or a number that is none would be closed later on
        except OSError as exc:
            raise NotStreamError(f"descriptor {what}: {exc.strerror}") from exc
        return what, b""
    try:
        if hasattr(what, "getpeercert"):
            raise NotStreamError("a TLS socket: its bytes are encrypted")
        if not _reads_plainly(what):
            raise NotStreamError(f"{what!r} reads in a way of its own")
        residue = b""
        if isinstance(what, io.BufferedReader):
            os.set_blocking(what.fileno(), False)
            residue = what.read1(len(what.peek(1)))
        return os.dup(what.fileno()), residue
    finally:
        if hasattr(what, "close"):
            what.close()


def _reads_plainly(what: Any) -> bool:
    """True if what it reads are the very bytes behind its descriptor."""
    if isinstance(what, io.BufferedReader | io.BufferedRandom):
        what = what.raw
    is_greens = type(what).__module__.startswith("gevent.")  # a process's stdout there
    return is_greens or isinstance(what, io.FileIO | socket.SocketIO | socket.socket)


def _of_descriptor(fd: int, residue: bytes, producer: Producer | None) -> Stream:
    try:
        mode = os.fstat(fd).st_mode
        name = str(producer) if producer is not None else os.readlink(_LINK % fd)
        if stat.S_ISFIFO(mode):
            return Stream(fd, name, producer, residue)
        if not stat.S_ISSOCK(mode) or not _is_connected_stream(fd):
            kind = "a regular file" if stat.S_ISREG(mode) else name
            raise NotStreamError(f"{kind} is neither a pipe nor a connected socket")
    except BaseException:
        os.close(fd)
        raise
    return SocketStream(fd, name, residue)


_LINK: Final = "/proc/self/fd/%d"


def _is_connected_stream(fd: int) -> bool:
    with socket.socket(fileno=os.dup(fd)) as sock:
        if sock.type != socket.SOCK_STREAM:
            return False
        try:
            sock.getpeername()
        except OSError:
            return False
    return True

"""The process that writes a body: how it is started, how it has ended, how it is ended.

Nobody waits for a process here but a thread of this module's own: first it is asked to
end (SIGTERM), then made to (SIGKILL), and in any case waited for, so that no zombie is
left.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Sequence
from functools import partial
from typing import Any, Final

from zc_response.errors import ProducerError
from zc_response.native import original
from zc_response.threads import lane

PROCESSES: Final = "processes"
"""The lane whose threads start processes and wait for their end."""
KILL_SECONDS: Final = 2.0
"""How long a process that was asked to end may take."""
_LOOK_SECONDS: Final = 0.01

Command = Sequence[str | os.PathLike[str]]


class Producer:
    """A process, ours to end. Anything that works like `subprocess.Popen` will do."""

    __slots__ = ("_has_group", "process")

    def __init__(self, process: Any, *, has_group: bool = False) -> None:
        self.process = process
        self._has_group = has_group

    @classmethod
    def start(cls, command: Command) -> Producer:
        """Start a command whose output is to be sent; it has nothing to read.

        In a session of its own, so that whatever it starts can be ended with it. Raises
        ProducerError if it cannot be started: an OSError in the middle of a response
        servers take for the connection's.
        """
        parts = [os.fspath(part) for part in command]
        try:
            process = subprocess.Popen(  # gevent's own, where that has replaced it
                parts,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                bufsize=0,
                start_new_session=True,
            )
        except OSError as exc:
            raise ProducerError(f"{parts[0]}: {exc.strerror}") from exc
        return cls(process, has_group=True)

    @property
    def pid(self) -> int:
        """Its number."""
        number: int = self.process.pid
        return number

    def has_ended(self) -> bool:
        """True once it has; then it has been waited for.

        Raises ProducerError if it failed: its status is not 0, or a signal ended it, or
        somebody else has waited for it, and so nobody can tell.
        """
        self._check_that_it_is_ours()
        status = self.process.poll()
        if status:
            raise ProducerError(f"{self} ended with {_described(status)}")
        return status is not None

    @property
    def _is_native(self) -> bool:
        """False for gevent's: its hub waits for it, and only greenlets may ask."""
        return type(self.process).__module__ == "subprocess"

    def _check_that_it_is_ours(self) -> None:
        """Python takes a status that was lost for 0 (`Popen.poll`).

        It is lost where anybody waits for all children: a handler of SIGCHLD, or the
        hub of gevent, whose own Popen knows of that.
        """
        if self.process.returncode is None and self._is_native:
            try:
                os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError as exc:
                raise ProducerError(f"{self}: its exit status is lost") from exc

    def end(self) -> None:
        """Have it end, if it still runs; that it does is seen to by a thread."""
        if self.process.poll() is not None:
            return
        self._signal(signal.SIGTERM)
        try:
            lane(PROCESSES).submit(partial(self._see_to_it, KILL_SECONDS))
        except RuntimeError:  # the system has no more threads
            self._see_to_it(0)

    def _see_to_it(self, seconds: float) -> None:
        sleep = original("time", "sleep")
        until = time.monotonic() + seconds
        while not self._is_gone() and time.monotonic() < until:
            sleep(_LOOK_SECONDS)
        if not self._is_gone():
            self._signal(signal.SIGKILL)
            if self._is_native:
                self.process.wait()

    def _is_gone(self) -> bool:
        if self._is_native:
            self.process.poll()
        return self.process.returncode is not None

    def _signal(self, number: int) -> None:
        try:
            if self._has_group:
                os.killpg(self.pid, number)
            else:
                os.kill(self.pid, number)
        except (ProcessLookupError, PermissionError):  # it has just ended
            pass

    def __str__(self) -> str:
        args = self.process.args
        return str(args if isinstance(args, str) else args[0])


def _described(status: int) -> str:
    if status > 0:
        return f"status {status}"
    try:
        return signal.Signals(-status).name
    except ValueError:
        return f"signal {-status}"

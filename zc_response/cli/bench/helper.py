"""A helper process of the benchmark, and how its parent speaks to it: by lines.

The load runs in processes of its own, so that neither the one who measures nor another
load stands in its way. The parent starts one with a request, as JSON; the helper says
"ready", waits for a line on standard input, works, and prints its result as JSON. Every
wait of the parent is bounded, and a helper that is closed is gone.
"""

from __future__ import annotations

import json
import queue
import select
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from typing import IO, Any, Final

from zc_response.cli.bench.errors import LoadError

READY: Final = "ready"

# The parent's side -----------------------------------------------------------------


class Helper:
    """The process of one module. Close it.

    `inside` is a command that the process is run by: nsenter, for one. The descriptors
    that it is to `keep` have the same numbers there.
    """

    def __init__(
        self,
        module: str,
        request: dict[str, Any],
        patience: float,
        inside: Sequence[str] = (),
        keep: Sequence[int] = (),
    ) -> None:
        self._patience = patience
        self._process = subprocess.Popen(
            [*inside, sys.executable, "-m", module, json.dumps(request)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            pass_fds=keep,
        )
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def _listen(self) -> None:
        for line in _pipe(self._process.stdout):
            self._lines.put(line)
        self._lines.put("")

    @property
    def pid(self) -> int:
        """Its process id, or that of the command it is run by."""
        return self._process.pid

    def wait_until_ready(self) -> None:
        """Wait for its word that all is ready."""
        if self.line().strip() != READY:
            raise LoadError("the client said something unexpected")

    def go(self) -> None:
        """Let it begin; or, if it works until it is told, let it end."""
        stdin = _pipe(self._process.stdin)
        try:
            stdin.write("go\n")
            stdin.flush()
        except BrokenPipeError:
            pass  # it has ended: its next line says why

    def result(self) -> Any:
        """What it found."""
        return json.loads(self.line())

    def line(self) -> str:
        """Its next line. Raises LoadError if it ended or takes too long."""
        try:
            line = self._lines.get(timeout=self._patience)
        except queue.Empty:
            raise LoadError(f"no answer within {self._patience:.0f} s") from None
        if not line:
            raise LoadError(_last_line(_pipe(self._process.stderr)) or "it crashed")
        return line

    def newest_line(self) -> str:
        """The last of its lines so far; waits for one."""
        line = self.line()
        while not self._lines.empty():
            line = self.line()
        return line

    def close(self) -> None:
        """End it, if it has not ended."""
        self._process.kill()
        self._process.wait()
        self._listener.join()
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            _close(_pipe(pipe))


def _pipe(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None  # every one of them was asked for
    return pipe


def _close(pipe: IO[str]) -> None:
    try:
        pipe.close()
    except BrokenPipeError:
        pass  # what it was still to be told


def _last_line(pipe: IO[str]) -> str:
    return pipe.read().strip().rpartition("\n")[2]


# The helper's side -----------------------------------------------------------------


def play(work: Callable[[dict[str, Any]], Any]) -> int:
    """Do the work that the command line asks for; return the exit status."""
    try:
        result = work(json.loads(sys.argv[1]))
    except LoadError as exc:
        print(exc, file=sys.stderr)
        return 1
    print(json.dumps(result), flush=True)
    return 0


def wait_for_go() -> None:
    """Say that all is ready, and wait for the parent's word."""
    print(READY, flush=True)
    sys.stdin.readline()


def told_to_end(seconds: float) -> bool:
    """Wait at most so long for the parent's word; True if it came or nobody is left."""
    return bool(select.select([sys.stdin], [], [], seconds)[0])

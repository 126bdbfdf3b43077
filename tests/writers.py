"""Other processes that do something to a file: timed, and never left behind."""

from __future__ import annotations

import select
import subprocess
import sys
from pathlib import Path
from typing import Final

from tests.live import PATIENCE

OPEN: Final = "file = os.open(path, os.O_WRONLY)"
"""Wait until one may write; nothing is written."""
OVERWRITE: Final = """
with open(path, "r+b", 0) as file:
    left = os.fstat(file.fileno()).st_size
    while left:
        left -= file.write(b"\\xff" * min(left, 1 << 20))
"""
"""Change all bytes in place."""
TRUNCATE: Final = "os.truncate(path, 0)"

_LIFE: Final = 60  # seconds, after which the process ends by itself
_PROGRAM: Final = f"""
import os, signal, sys, time
signal.alarm({_LIFE})
path, code = sys.argv[1:]
print("ready", flush=True)
sys.stdin.readline()
began = time.monotonic()
exec(code)
print(time.monotonic() - began, flush=True)
sys.stdin.readline()
"""


class Writer:
    """A process that runs `code` once, with `path` in it, when it is told to `go`.

    What it has opened it keeps open until the block ends.
    """

    def __init__(self, path: Path | str, code: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-ISE", "-c", _PROGRAM, str(path), code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._orders, self._answers = self._process.stdin, self._process.stdout
        self._seconds: float | None = None
        assert self._answers.readline() == "ready\n"

    def go(self) -> Writer:
        """Let it begin."""
        self._orders.write("\n")
        self._orders.flush()
        return self

    def is_through(self, within: float = 0.0) -> bool:
        """True if it has done what it does, or does it in so many seconds."""
        if self._seconds is None:
            if not select.select([self._answers], [], [], within)[0]:
                return False
            answer = self._answers.readline()
            assert answer, "the writer has failed"
            self._seconds = float(answer)
        return True

    def seconds(self) -> float:
        """How long it took, once it is through."""
        assert self.is_through(PATIENCE), "the writer still waits"
        assert self._seconds is not None
        return self._seconds

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._process.kill()
        self._process.communicate()

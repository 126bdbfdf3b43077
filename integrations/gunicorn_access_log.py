"""gunicorn's access log, for downloads that outlast a worker's work on them.

gunicorn writes a line when a worker has done with a request (`Logger.access`, which a
`logger_class` may replace). For a download that was handed over that is too early: its
line waits until that is over, and has the bytes and the seconds of all of it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any, Final

_LINE: Final = "_zc_response_line"
"""The attribute of a Response whose line has to wait."""


def make_wait(logger: Any) -> None:
    """Have a worker's logger keep lines back that have to wait."""
    write = logger.access

    def access(
        response: Any, request: Any, environ: Any, request_time: timedelta
    ) -> None:
        line: LogLine | None = getattr(response, _LINE, None)
        if line is None:
            write(response, request, environ, request_time)
        else:
            line.say(partial(write, response, request, environ), request_time)

    logger.access = access


class LogLine:
    """The line of one response, which is written once it has been said, and ended.

    Whichever comes last, in whichever thread, writes it.
    """

    def __init__(self, response: Any) -> None:
        self._lock = threading.Lock()
        self._write: Callable[[], None] | None = None
        self._is_over = False
        setattr(response, _LINE, self)

    def say(self, write: Callable[[timedelta], None], so_far: timedelta) -> None:
        """Have it written by `write`, with the time that all of it took."""
        said_at = time.monotonic()

        def write_all() -> None:
            write(so_far + timedelta(seconds=time.monotonic() - said_at))

        with self._lock:
            if not self._is_over:
                self._write = write_all
                return
        write(so_far)

    def end(self) -> None:
        """Tell that the response has ended, and that the Response counts its bytes."""
        with self._lock:
            self._is_over, write = True, self._write
        if write is not None:
            write()

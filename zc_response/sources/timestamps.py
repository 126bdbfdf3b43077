"""How far the timestamps of files can be trusted to tell two changes apart."""

from __future__ import annotations

import os
import re
import sys
from typing import Final


def _grain_ns() -> int:
    """How long two changes of a file may share one timestamp; 0 if they never do.

    Linux 6.13 and later give a file a fresh timestamp whenever the last one has been
    looked at (multigrain timestamps); before, the clock ticked every 1 to 10 ms, and
    other filesystems round to a second or two.
    """
    release = re.match(r"(\d+)\.(\d+)", os.uname().release)
    if (
        sys.platform == "linux"
        and release
        and tuple(map(int, release.groups())) >= (6, 13)
    ):
        return 0
    return 2_000_000_000


GRAIN_NS: Final = _grain_ns()

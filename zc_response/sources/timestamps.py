"""How far the timestamps of files can be trusted to tell two changes apart."""

from __future__ import annotations

import os
import re
import sys
from typing import Final

MULTIGRAIN: Final = frozenset(("ext4", "xfs", "btrfs", "tmpfs", "overlay"))
"""Filesystems that give a file a fresh timestamp whenever the last one has been looked
at, from Linux 6.13 on. An overlay shows the timestamps of what lies below it, which is
hardly ever anything else."""
COARSE_NS: Final = 2_000_000_000
"""What others round to: a tick of the clock (1 to 10 ms), at most two seconds."""


def grain_ns(filesystem: str) -> int:
    """How long two changes of a file may share one timestamp; 0 if they never do."""
    return 0 if _HAS_MULTIGRAIN and filesystem in MULTIGRAIN else COARSE_NS


def _kernel_has_multigrain() -> bool:
    release = re.match(r"(\d+)\.(\d+)", os.uname().release)
    if sys.platform != "linux" or release is None:
        return False
    return tuple(map(int, release.groups())) >= (6, 13)


_HAS_MULTIGRAIN: Final = _kernel_has_multigrain()

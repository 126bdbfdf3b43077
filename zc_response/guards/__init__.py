"""What keeps a file honest while it is sent.

A hold is what one transfer has on one file: it knows where the bytes come from now, and
whether they are still those that the header promised. What stands behind it depends on
the policy's `integrity`, on the filesystem, and on what the kernel grants:

    count      the bytes are counted; a body that ends early aborts its connection
    stat       and the file's facts are compared, between steps and before the last byte
    lease      nobody can write to the file without our letting go of it
    snapshot   somebody wanted to write: the rest is sent from a private copy
    sealed     nobody can change the bytes, ever: they are in sealed memory
    private    nobody else can get at them: they are in a file without a name

    holds      one transfer's hold on one file
    leases     the leases of this process, shared by all who send from a file
    keeper     the thread that hears of writers
    snapshots  private copies: by reflink, or in memory
"""

from __future__ import annotations

from zc_response.guards.holds import (
    COUNT,
    LEASE,
    STAT,
    Hold,
    read_at_once,
    read_borrowed,
)
from zc_response.guards.leases import close_all, lease_or_reason
from zc_response.guards.snapshots import Snapshot, make as make_snapshot
from zc_response.sources import SNAPSHOT

__all__ = [
    "COUNT",
    "LEASE",
    "SNAPSHOT",
    "STAT",
    "Hold",
    "Snapshot",
    "close_all",
    "lease_or_reason",
    "make_snapshot",
    "read_at_once",
    "read_borrowed",
]

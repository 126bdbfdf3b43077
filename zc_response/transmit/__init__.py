"""From segments to bytes on the wire.

A strategy is a generator of steps, written once: it does a bounded piece of work and
yields what it waits for. A driver is whoever waits: it knows a loop or a thread, and
nothing of files. `choose` picks the strategy from what the server lets us reach.
"""

from __future__ import annotations

from zc_response.transmit.access import MULTIPLEXED, Access, reach, say_goodbye
from zc_response.transmit.asyncio_driver import drive
from zc_response.transmit.blocking_driver import (
    drive_briefly,
    drive_here,
    finish,
    own_or_borrow,
)
from zc_response.transmit.body import Body
from zc_response.transmit.choose import (
    Choice,
    Strategy,
    choose,
    is_huge,
    is_to_be_lent,
)
from zc_response.transmit.copy import (
    gather,
    gather_at_once,
    read_whole,
)
from zc_response.transmit.job import Job
from zc_response.transmit.offload import Done, handed_over
from zc_response.transmit.outbox import Outbox, body_into, stream_into
from zc_response.transmit.progress import Progress
from zc_response.transmit.steps import Cursor, Want, source_of
from zc_response.transmit.streaming import Frame, beginning
from zc_response.transmit.transfer import Transfer, reset
from zc_response.transmit.turns import Turns, turns_of
from zc_response.transmit.waits import Waits

__all__ = [
    "MULTIPLEXED",
    "Access",
    "Body",
    "Choice",
    "Cursor",
    "Done",
    "Frame",
    "Job",
    "Outbox",
    "Progress",
    "Strategy",
    "Transfer",
    "Turns",
    "Waits",
    "Want",
    "beginning",
    "body_into",
    "choose",
    "drive",
    "drive_briefly",
    "drive_here",
    "finish",
    "gather",
    "gather_at_once",
    "handed_over",
    "is_huge",
    "is_to_be_lent",
    "own_or_borrow",
    "reach",
    "read_whole",
    "reset",
    "say_goodbye",
    "source_of",
    "stream_into",
    "turns_of",
]

"""What a driver needs of a transfer."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Protocol

from zc_response.report import Tally
from zc_response.transmit.steps import Steps


class Job(Protocol):
    """What the driver needs of a transfer."""

    tally: Tally
    stall_timeout: float

    @property
    def filesystem(self) -> Hashable:
        """Whose threads take the steps that may wait for a disk."""

    def check(self) -> None:
        """Raise DisconnectedError if the connection is lost, or why else it is over."""

    @property
    def unacknowledged(self) -> int:
        """Bytes that were sent and the client has not taken."""

    def fileno(self) -> int:
        """The descriptor to wait for, after `own`."""

    def input(self) -> int:
        """The descriptor that tells of what is wanted by READABLE."""

    def check_client(self) -> None:
        """Raise DisconnectedError if the client has closed its side of the connection.

        For who waits for a producer: nothing that is sent would tell.
        """

    def steps(self) -> Steps:
        """All of the work."""

    def wait_inside(self, seconds: float) -> None:
        """Let steps wait for the client, on a blocking socket, but no longer than that
        at a time; 0: never any more."""

    def on_wake(self, wake: Callable[[], object]) -> None:
        """Call `wake`, in any thread, when the steps should be taken without delay."""

    def borrow(self) -> None:
        """Get ready for a turn without a descriptor of its own."""

    def own(self) -> None:
        """Take a descriptor to wait with."""

    def park(self) -> int:
        """Give it up; another that may be watched."""

    def abort(self) -> None:
        """Have the connection end with RST when the job is closed."""

    def reset(self) -> None:
        """Have the connection end with RST at once."""

    def close(self) -> None:
        """Give everything back."""

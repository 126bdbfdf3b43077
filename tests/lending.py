"""Loopback, made to look like the way to another host's network card.

What is lent is copied on every way that a test can have: so where one is about a card
that reads the memory itself, that word of the kernel's is left out. All the rest is the
kernel's own: the calls, the notices, when they come, and what a reset does.
"""

from __future__ import annotations

from collections import OrderedDict

import pytest

from zc_response.kernel import zerocopy
from zc_response.kernel.zerocopy import Notices
from zc_response.transmit import peers
from zc_response.transmit.peers import Way


def lead_elsewhere(patch: pytest.MonkeyPatch) -> None:
    """Every client is on another host, and nothing is known of the way there."""
    patch.setattr(peers, "_answers", OrderedDict())
    patch.setattr(peers, "_copied_at", {})
    patch.setattr(peers, "_ask", lambda *_: Way(is_here=False, interface="eth7"))


def gather(patch: pytest.MonkeyPatch) -> None:
    """A card reads what is lent: nothing is copied."""
    taken = zerocopy.notices
    patch.setattr(
        zerocopy, "notices", lambda sock: Notices(taken(sock).calls, copied=False)
    )

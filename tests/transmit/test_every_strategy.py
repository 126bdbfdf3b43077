"""No strategy is a dead letter: how each is reached, and who has seen it at work."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest

from tests.asgi.test_lending import WITNESSED as LENT
from tests.asgi.test_system_calls import WITNESSED
from zc_response.policy import Policy
from zc_response.transmit import Access, Strategy, access, choose

DOCS = Path(__file__).parents[2] / "docs"
ASKED_FOR = {Strategy.DIRECT, Strategy.ZEROCOPY}
"""Those that are never taken unless they are asked for: what they cost is their user's
to weigh, or a win has not been shown."""
SETTINGS = {
    Strategy.SENDFILE: "`strategy`",
    Strategy.MMAP: "`strategy`",
    Strategy.COPY: "`strategy`",
    Strategy.DIRECT: "`direct_min`",
    Strategy.SPLICE: "[pipes](pipes.md)",
    Strategy.ZEROCOPY: "`zerocopy_min`",
}
"""What docs/strategies.md names as the way to each."""

every_strategy = pytest.mark.parametrize("strategy", Strategy)


@every_strategy
@pytest.mark.skipif(not DOCS.exists(), reason="away from the checkout")
def test_the_documentation_has_it_and_the_setting_that_asks_for_it(
    strategy: Strategy,
) -> None:
    page = (DOCS / "strategies.md").read_text(encoding="utf-8")
    assert f"\n| `{strategy}` |" in page
    assert SETTINGS[strategy] in page


@every_strategy
def test_it_can_be_asked_for_by_the_policy_unless_it_is_for_pipes(
    strategy: Strategy, monkeypatch: pytest.MonkeyPatch
) -> None:
    if strategy is Strategy.SPLICE:  # whoever sends a pipe has it
        choice = choose(SOCKET, Policy(), is_firm=True, count=0, flows=True)
    elif strategy is Strategy.ZEROCOPY:
        monkeypatch.setattr(access, "may_lend", lambda _fd: True)
        policy = Policy(zerocopy_min=1)
        choice = choose(SOCKET, policy, is_firm=True, count=1, in_memory=True)
    else:
        policy = Policy(strategy=strategy.value)
        choice = choose(SOCKET, policy, is_firm=True, count=1)
    assert choice.strategy is strategy


def test_by_default_each_is_taken_in_some_case_but_those_that_have_to_be_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(access, "is_same_host", lambda _fd: True)
    cases = product(("safe", "strict"), (SOCKET, Access()), (True, False))
    taken = {
        choose(
            way, Policy(integrity=level), is_firm=True, count=1, flows=flows
        ).strategy
        for level, way, flows in cases
    }
    assert taken == set(Strategy) - ASKED_FOR


def test_each_was_seen_at_work_by_strace() -> None:
    assert set(Strategy) == WITNESSED | LENT


SOCKET = Access(fileno=lambda: 7)

"""How much at a time: numbers for any machine and any client."""

from __future__ import annotations

from hypothesis import assume, given, strategies as st

from tests import strategies as _profile  # noqa: F401  # sets no deadline
from zc_response.transmit.pace import FIRST_STEP, LEAST_STEP, STEP_SECONDS, Pace

MIB = 1 << 20
sizes = st.integers(1, 64 * MIB)
moments = st.lists(
    st.tuples(st.integers(0, 64 * MIB), st.floats(0, 100)), min_size=1, max_size=30
)


@given(sizes, sizes, sizes, st.lists(st.floats(0, 10), max_size=40))
def test_a_step_stays_within_its_bounds(
    most: int, least_unsent: int, most_unsent: int, seconds: list[float]
) -> None:
    pace = Pace(most, least_unsent, most_unsent)
    assert 1 <= pace.step <= most
    for each in seconds:
        pace.stepped(each)
        assert min(LEAST_STEP, most) <= pace.step <= most


@given(sizes, sizes, moments)
def test_what_waits_unsent_stays_within_its_bounds(
    least: int, most: int, moments: list[tuple[int, float]]
) -> None:
    """Whatever the clock does; a most that is below the least means the least."""
    pace = Pace(MIB, least, most)
    sent, now = 0, 0.0
    for more, seconds in moments:
        sent, now = sent + more, now + seconds
        bound = pace.full(sent, now)
        assert bound is None or bound == pace.unsent
        assert least <= pace.unsent <= max(least, most)


@given(st.floats(STEP_SECONDS * 1.01, 100), sizes)
def test_steps_shrink_where_they_are_slow(seconds: float, most: int) -> None:
    assume(most > LEAST_STEP)
    pace = Pace(most, 1, 1)
    before = pace.step
    pace.stepped(seconds)
    assert pace.step < before or pace.step == LEAST_STEP

    for _ in range(20):
        pace.stepped(seconds)
    assert pace.step == LEAST_STEP


@given(st.floats(0, STEP_SECONDS * 0.49), sizes)
def test_steps_grow_where_they_are_quick(seconds: float, most: int) -> None:
    pace = Pace(most, 1, 1)
    for _ in range(20):
        pace.stepped(seconds)

    assert pace.step == most


def test_steps_start_below_what_a_slow_machine_takes() -> None:
    assert Pace(64 * MIB, 1, 1).step == FIRST_STEP
    assert Pace(1000, 1, 1).step == 1000


def test_a_step_that_is_neither_quick_nor_slow_stays() -> None:
    pace = Pace(64 * MIB, 1, 1)
    pace.stepped(STEP_SECONDS * 0.75)

    assert pace.step == FIRST_STEP


@given(moments)
def test_a_stalled_client_gets_the_least(moments: list[tuple[int, float]]) -> None:
    """Whatever it took before."""
    pace = Pace(MIB, 128 * 1024, 4 * MIB)
    sent, now = 0, 0.0
    for more, seconds in moments:
        sent, now = sent + more, now + seconds
        pace.full(sent, now)

    pace.full(sent, now + 60)
    pace.full(sent + 1, now + 120)
    # Half of it or less is not worth a call to the kernel.
    assert pace.unsent < 2 * 128 * 1024


def test_a_fast_client_gets_more_and_in_the_end_the_most() -> None:
    pace = Pace(MIB, 128 * 1024, 4 * MIB)
    bounds = []
    for number in range(100):
        rate = 2 ** min(number, 34)  # bytes a second, faster and faster
        pace._full_sent, pace._full_at = 0, 0.0
        pace.full(rate, 1.0)
        bounds.append(pace.unsent)

    assert bounds == sorted(bounds)
    assert bounds[0] == 128 * 1024
    assert 2 * MIB < bounds[-1] <= 4 * MIB  # half of it is as good


def test_the_first_time_says_nothing_of_the_pace() -> None:
    """What went into an empty socket has not been taken by anybody."""
    pace = Pace(MIB, 128 * 1024, 4 * MIB)

    assert pace.full(64 * MIB, 0.001) is None
    assert pace.unsent == 128 * 1024


def test_a_clock_that_stands_still_or_goes_back_does_no_harm() -> None:
    pace = Pace(MIB, 128 * 1024, 4 * MIB)
    for now in (5.0, 5.0, 3.0, 3.0, 9.0):
        pace.full(10 * MIB, now)
        assert 128 * 1024 <= pace.unsent <= 4 * MIB

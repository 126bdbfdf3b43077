"""Medians, percentiles and ratios are what their names say."""

from __future__ import annotations

import pytest

from tests.cli.samples import sample
from zc_response.cli.bench.figures import CPU_PER_REQUEST, RATE, amount, cost, speed
from zc_response.cli.bench.files import KIB, MIB, format_size, parse_size
from zc_response.cli.bench.stats import (
    Summary,
    least_share,
    median_ratio,
    percentile,
    rotated,
    summarize,
)


def test_a_summary_has_the_median_and_both_ends() -> None:
    assert summarize([3, 1, 2]) == Summary(median=2, low=1, high=3)


def test_nothing_has_no_summary() -> None:
    assert summarize([]) is None


@pytest.mark.parametrize(
    ("share", "expected"), [(0.5, 50), (0.99, 99), (0.999, 100), (1, 100), (0, 1)]
)
def test_a_percentile_is_a_figure_that_so_many_do_not_exceed(
    share: float, expected: int
) -> None:
    assert percentile(range(100, 0, -1), share) == expected


def test_ratios_are_taken_within_a_round() -> None:
    """The machine was slow in the second round, for both alike."""
    assert median_ratio({0: 400, 1: 40, 2: 8}, {0: 100, 1: 10}) == 4


def test_without_a_common_round_there_is_no_ratio() -> None:
    assert median_ratio({0: 1}, {1: 1}) is None


def test_the_least_share_shows_who_starves() -> None:
    assert least_share([1, 2, 3]) == 0.5
    assert least_share([0, 2]) == 0


def test_each_candidate_comes_first_once() -> None:
    assert [rotated("abc", turn)[0] for turn in range(3)] == ["a", "b", "c"]


def test_small_files_are_judged_by_requests() -> None:
    assert speed(4 * KIB) is RATE
    assert cost(4 * KIB) is CPU_PER_REQUEST


def test_cpu_time_is_counted_for_a_gigabyte_and_for_a_request() -> None:
    run = sample(cpu_seconds=0.5, body_bytes=2_000_000_000, requests=10)
    assert run.cpu_per_gigabyte == 0.25
    assert run.cpu_per_request == 50_000


@pytest.mark.parametrize(
    ("number", "text"),
    [(None, ""), (0, "0"), (0.01234, "0.0123"), (5, "5.00"), (12345.6, "12,300")],
)
def test_amounts_have_three_digits(number: float | None, text: str) -> None:
    assert amount(number) == text


@pytest.mark.parametrize(
    ("text", "size"), [("4KiB", 4 * KIB), ("1 mib", MIB), ("17", 17)]
)
def test_sizes_are_read_as_people_write_them(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "4KB", "-1", "0", "1e3", "65GiB"])
def test_what_is_no_size_is_named(text: str) -> None:
    with pytest.raises(ValueError, match=repr(text)):
        parse_size(text)


def test_a_size_is_shown_in_its_largest_unit() -> None:
    assert format_size(1536) == "1536 B"
    assert format_size(2 * MIB) == "2 MiB"

"""Records become tables, plots and one page."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.cli.samples import everything, latency, record, sample, throughput
from zc_response.cli.bench.charts import charts
from zc_response.cli.bench.console import show
from zc_response.cli.bench.errors import BenchmarkError
from zc_response.cli.bench.markdown import markdown
from zc_response.cli.bench.page import page
from zc_response.cli.bench.plots import draw, standalone
from zc_response.cli.bench.records import KINDS, load, newest, path_in, save
from zc_response.cli.bench.tables import failures, tables, text

RESOURCE = re.compile(r"""(?:src|href|url)\s*[=(]\s*["']?\s*(?!#)[^"')\s>]+""")
"""What would have a browser fetch something: a reference that is no fragment."""


def row(of: str, *, table: int = 0, kind: str = "throughput") -> list[str]:
    made = throughput() if kind == "throughput" else latency("cold")
    return next(list(row) for row in tables(made)[table].rows if row[0] == of)


def test_a_table_has_the_median_the_range_and_the_ratio_of_the_rounds() -> None:
    assert row("response") == ["response", "350", "300 - 400", "5.00"]


def test_ratios_are_to_those_one_asks_for() -> None:
    made = throughput()
    made.baselines = ["response"]
    assert tables(made)[0].head[-1] == "x response"
    assert list(tables(made)[0].rows[0])[-1] == "0.208"


def test_a_candidate_without_a_sample_has_no_row() -> None:
    assert [row[0] for row in tables(throughput())[0].rows] == ["stock", "response"]


def test_latencies_are_given_in_milliseconds() -> None:
    assert row("stock", kind="cold")[:5] == ["stock", "ext4", "1.00", "5.00", "9.00"]


def test_of_a_count_every_digit_is_shown() -> None:
    assert tables(latency("churn"))[0].rows[0][2] == "1,234,567"


def test_too_much_memory_gets_a_verdict() -> None:
    grown = record("memory", samples=[sample(rss_peak=2**30)])
    assert tables(grown)[0].rows[0][-1] == "too much"


def test_a_failure_is_told_with_its_reason() -> None:
    failed = record()
    failed.fail("nginx", 1024, "it was not there")
    assert failures(failed) == ["FAILED: nginx, 1 KiB: it was not there"]


def test_markdown_names_failures() -> None:
    failed = throughput()
    failed.fail("nginx", None, "it was not there")
    assert "\n\nFAILED: nginx: it was not there.\n\n" in markdown(failed)


def test_a_quantity_that_nobody_counted_has_no_column() -> None:
    made = latency("stalled")
    assert "read: whole" in tables(made)[1].head
    del made.measurements[0].values["whole"]  # they share them
    assert "read: whole" not in tables(made)[1].head


def test_a_table_is_aligned_as_text() -> None:
    lines = text(tables(throughput())[0]).splitlines()
    assert len(set(map(len, lines[1:2] + lines[3:4]))) == 1


@pytest.mark.parametrize("number", range(len(KINDS)), ids=KINDS)
def test_each_kind_of_record_is_shown(
    number: int, capsys: pytest.CaptureFixture[str]
) -> None:
    show(everything()[number])
    assert "response" in capsys.readouterr().out


def test_markdown_names_candidates_by_their_titles() -> None:
    assert "| the response one | 350 (5.00 × stock) |" in markdown(throughput())


def test_markdown_has_a_row_for_each_place() -> None:
    assert "| the stock one | ext4 | 1.00 | 5.00 | 9.00 |" in markdown(latency("cold"))


# Files -----------------------------------------------------------------------------


@pytest.mark.parametrize("number", range(len(KINDS)), ids=KINDS)
def test_a_record_is_read_as_it_was_written(tmp_path: Path, number: int) -> None:
    made = everything()[number]
    path = path_in(tmp_path, made)
    save(made, path)
    assert load(path) == made


def test_what_is_no_record_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text("[]")
    with pytest.raises(BenchmarkError, match=r"x\.json is not a benchmark's record"):
        load(path)


def test_the_newest_run_is_found(tmp_path: Path) -> None:
    for name in ("zc-bench-1", "zc-bench-2", "zc-other-3"):
        save(record(), path_in(tmp_path / name, record()))
    assert newest(tmp_path).name == "zc-bench-2"


# Plots and the page ----------------------------------------------------------------


def test_there_is_a_plot_for_each_question() -> None:
    assert [chart.name for chart in charts(everything())] == [
        *("throughput", "requests", "cpu", "memory", "cold", "crowd", "stalled"),
        *("writers", "strategies"),
    ]


def test_every_caption_says_what_is_better() -> None:
    for chart in charts(everything()):
        assert chart.caption.startswith(("Higher is better", "Lower is better"))


def test_a_plot_takes_its_colours_from_the_page() -> None:
    svg = draw(charts([throughput()])[0])
    assert "var(--ink)" in svg
    assert "#010203" not in svg
    assert ">350<" in svg.replace(" ", "").replace("\n", "")


def test_a_place_without_a_panel_stays_empty() -> None:
    """Three panels in two columns leave one."""
    five = record("cold")
    for place in ("ext4", "xfs", "btrfs"):
        five.measurements += latency("cold", place).measurements
    svg = draw(charts([five])[0])
    assert svg.count('<g id="axes_') == 4
    assert svg.count('<g id="matplotlib.axis_') == 2 * 3


def test_a_plot_of_its_own_brings_its_colours() -> None:
    svg = standalone(draw(charts([throughput()])[0]))
    assert svg.startswith("<svg")
    assert "prefers-color-scheme:dark" in svg


def test_a_plot_of_the_same_figures_is_the_same() -> None:
    chart = charts([throughput()])[0]
    assert draw(chart) == draw(chart)


def test_the_page_needs_nothing_from_elsewhere() -> None:
    made = page(everything(), draw)
    assert not RESOURCE.findall(made)
    assert set(re.findall(r"https?://[^\"<\s]*", made)) == {
        "http://www.w3.org/2000/svg",  # names of vocabularies: nobody fetches them
        "http://www.w3.org/1999/xlink",
    }
    assert "<script" not in made


def test_the_page_has_the_figures_the_plots_and_the_machine() -> None:
    made = page(everything(), draw)
    assert "<td>300 - 400</td>" in made
    assert made.count("<svg ") == len(charts(everything()))
    assert "<dd>Linux 6</dd>" in made


def test_what_could_be_markup_is_escaped() -> None:
    assert "a CPU &lt;fast&gt;" in page([throughput()], draw)


def test_without_matplotlib_the_page_has_tables_only() -> None:
    made = page([throughput()], None)
    assert "<svg" not in made
    assert "Without matplotlib" in made


def test_what_differed_between_two_records_is_told_with_each() -> None:
    bbr, reno = (
        record(environment={"kernel": "Linux 6", "congestion control": name})
        for name in ("bbr", "reno")
    )
    made = page([bbr, reno], None)
    assert "Congestion control bbr." in made
    assert "Congestion control reno." in made
    assert "Kernel Linux" not in made

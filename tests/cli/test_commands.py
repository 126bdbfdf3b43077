"""The command line: what it says, and what it leaves behind."""

from __future__ import annotations

import json
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.cli.samples import latency, throughput
from zc_response import __version__, cli
from zc_response.cli.bench import disks, lending
from zc_response.cli.bench.records import KINDS, path_in, save
from zc_response.cli.commands import zc_response

linux = pytest.mark.skipif(sys.platform != "linux", reason="it measures Linux")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(zc_response, arguments)


def test_the_version_is_told() -> None:
    assert __version__ in run("--version").output


@pytest.mark.parametrize(
    "command",
    ["", "all", *KINDS, "report"],
)
def test_each_command_has_help(command: str) -> None:
    result = run("bench", *command.split(), "--help")
    assert result.exit_code == 0
    assert "Usage" in result.output


def test_without_a_command_the_benchmark_says_what_there_is() -> None:
    assert "throughput" in run("bench").output


def test_a_bad_size_is_explained() -> None:
    result = run("bench", "throughput", "--sizes", "4KiB,huge")
    assert result.exit_code == 2
    assert "'huge' is not a size; write 4KiB" in result.output


def test_a_number_out_of_bounds_is_explained() -> None:
    result = run("bench", "throughput", "--rounds", "0")
    assert result.exit_code == 2
    assert "--rounds" in result.output


def test_an_unknown_candidate_is_named() -> None:
    result = run("bench", "memory", "--candidates", "apache")
    assert result.exit_code == 2
    assert "no candidate 'apache'; there are: nginx" in result.output


def test_a_missing_program_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda *arguments, **options: None)
    result = run("bench", "throughput", "--candidates", "nginx", "--sizes", "1MiB")
    assert result.exit_code == 2
    assert "nginx is not installed" in result.output


def test_a_missing_load_generator_is_named() -> None:
    result = run("bench", "throughput", "--wrk", "no-such-wrk")
    assert result.exit_code == 2
    assert "there is no program 'no-such-wrk'" in result.output


def test_what_cannot_run_is_listed_with_its_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("shutil.which", lambda *arguments, **options: None)
    assert "cannot run: nginx is not installed" in run("bench", "candidates").output


def test_without_click_one_line_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def find_spec(name: str) -> ModuleSpec | None:
        return None if name == "click" else ModuleSpec(name, None)

    monkeypatch.setattr(cli, "find_spec", find_spec)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == (
        "zc-response needs click: pip install 'zc-response[cli]'"
    )


# Reports ---------------------------------------------------------------------------


def test_a_report_writes_the_page_and_the_plots(tmp_path: Path) -> None:
    for made in (throughput(), latency("cold")):
        save(made, path_in(tmp_path, made))
    page, plots = tmp_path / "page.html", tmp_path / "plots"

    result = run(
        *("bench", "report", str(tmp_path)), f"--html={page}", f"--svg={plots}"
    )

    assert result.exit_code == 0
    assert "300 - 400" in page.read_text()
    assert {"cold.svg", "throughput.svg"} <= {path.name for path in plots.iterdir()}


def test_two_records_of_one_scenario_have_no_common_plots(tmp_path: Path) -> None:
    path = path_in(tmp_path, throughput())
    save(throughput(), path)
    result = run("bench", "report", str(path), str(path), f"--svg={tmp_path / 'plots'}")
    assert result.exit_code == 2
    assert not (tmp_path / "plots").exists()


def test_a_directory_without_a_record_is_named(tmp_path: Path) -> None:
    result = run("bench", "report", str(tmp_path))
    assert result.exit_code == 2
    assert f"no record in {tmp_path}" in result.output


def test_where_nothing_was_measured_yet_there_is_no_newest_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("bench", "report").exit_code == 2


# Real runs -------------------------------------------------------------------------


def measure(tmp_path: Path, command: str, *options: str) -> dict[str, object]:
    common = (f"--output={tmp_path / 'out'}", f"--directory={tmp_path}", "--rounds=1")
    result = run("bench", command, *common, *options)
    assert result.exit_code == 0, result.output
    assert "<td>" in (tmp_path / "out/report.html").read_text()
    made: dict[str, object] = json.loads((tmp_path / f"out/{command}.json").read_text())
    assert [path.name for path in tmp_path.iterdir()] == ["out"]  # files are gone
    return made


@linux
def test_throughput_is_measured(tmp_path: Path) -> None:
    made = measure(
        *(tmp_path, "throughput", "--sizes=4KiB,1MiB", "--seconds=0.1"),
        "--candidates=stock,response",
    )
    samples = made["samples"]
    assert isinstance(samples, list)
    assert [(each["candidate"], each["size"]) for each in samples] == [
        *[("stock", 4096), ("response", 4096)],
        *[("stock", 2**20), ("response", 2**20)],
    ]
    assert all(each["requests"] and each["cpu_seconds"] > 0 for each in samples)


@linux
def test_a_body_in_chunks_is_measured_too(tmp_path: Path) -> None:
    made = measure(
        *(tmp_path, "throughput", "--sizes=1MiB", "--seconds=0.1"),
        "--candidates=granian-static,granian",
    )
    assert made["failures"] == []


def values(made: dict[str, object]) -> dict[str, float]:
    measurements = made["measurements"]
    assert isinstance(measurements, list)
    (measurement,) = measurements
    found: dict[str, float] = measurement["values"]
    return found


@linux
def test_quick_requests_amid_downloads_are_measured(tmp_path: Path) -> None:
    options = ("--downloads=5", "--size=256KiB", "--seconds=0.3")
    made = values(measure(tmp_path, "crowd", *options, "--candidates=response"))
    assert 0 < made["least"] <= 1
    assert 0 < made["p50"] <= made["p99"] <= made["max"]


@linux
def test_stalled_clients_are_measured(tmp_path: Path) -> None:
    options = ("--stalled=5", "--size=16MiB", "--seconds=0.2")
    made = values(measure(tmp_path, "stalled", *options, "--candidates=response"))
    assert made["stalled"] == 5
    assert made["left"] == 0


@linux
def test_memory_is_measured(tmp_path: Path) -> None:
    result = run(
        *("bench", "memory", "--size=4MiB", "--candidates=response", "--markdown"),
        *(f"--output={tmp_path / 'out'}", f"--directory={tmp_path}"),
    )
    assert result.exit_code == 0, result.output
    assert "| our FileResponse on ZeroCopyProtocol | 4 MiB |" in result.output


@linux
def test_what_stays_in_the_page_cache_is_measured(tmp_path: Path) -> None:
    size = 48 << 20  # more than a socket holds at the end
    made = measure(tmp_path, "page-cache", f"--size={size}", "--rounds=1")
    found = made["measurements"]
    assert isinstance(found, list)
    left = {each["candidate"]: each["values"]["left"] for each in found}
    assert left["direct"] == 0
    assert 0 <= left["drop"] < size * 0.75 <= left["sendfile"] <= size


@linux
def test_the_strategies_are_measured_without_a_server(tmp_path: Path) -> None:
    made = measure(tmp_path, "strategies", "--sizes=4KiB,1MiB", "--seconds=0.01")
    found = made["measurements"]
    assert isinstance(found, list)
    names = {"read-write", "sendfile", "mmap", "direct", "copy"}
    assert {each["candidate"] for each in found} == names
    places = {"4 KiB, hot", "1 MiB, hot", "1 MiB, cold"}
    assert {each["place"] for each in found} == places
    assert all(each["values"]["rate"] > 0 for each in found)


@linux
def test_what_is_lent_is_measured_beside_what_is_copied(tmp_path: Path) -> None:
    links = [link for link in ("loopback", "veth") if not lending.why_not(link)]
    options = ("--sizes=64KiB,1MiB", "--seconds=0.01", f"--links={','.join(links)}")
    made = measure(tmp_path, "lending", *options)
    found = made["measurements"]
    assert isinstance(found, list)
    assert {each["candidate"] for each in found} == {"write", "lend"}
    places = {f"{size}, {link}" for size in ("64 KiB", "1 MiB") for link in links}
    assert {each["place"] for each in found} == places
    assert all(each["values"]["rate"] > 0 for each in found)


def test_a_link_that_is_none_is_refused(tmp_path: Path) -> None:
    result = run("bench", "lending", "--links=wire", f"--output={tmp_path}")
    assert result.exit_code == 2
    assert "--links wire: there are loopback, veth" in result.output


def usable_disk() -> str:
    """A filesystem that can be made slow here."""
    kinds = [kind for kind in disks.KINDS if not disks.why_not(kind)]
    if not kinds:
        pytest.skip(f"no disk can be made slow here: {disks.why_not('fuse')}")
    return kinds[0]


@linux
def test_quick_requests_beside_a_slow_disk_are_measured(tmp_path: Path) -> None:
    options = ("--size=1MiB", "--rate=20", f"--filesystems={usable_disk()}")
    made = values(measure(tmp_path, "cold", *options, "--candidates=stock"))
    assert made["share"] > 0
    assert made["quick"] > 0


@linux
def test_a_disk_that_cannot_be_made_is_named() -> None:
    result = run("bench", "cold", "--filesystems", "floppy")
    assert result.exit_code == 2
    assert "floppy" in result.output


@linux
def test_who_wants_to_write_is_measured(tmp_path: Path) -> None:
    if missing := disks.why_not("tmpfs", slow=False):
        pytest.skip(f"no tmpfs here: {missing}")
    options = ("--stalled=20", "--filesystems=tmpfs", "--size=8MiB", "--seconds=2")
    made = measure(tmp_path, "writers", *options)
    measurements = made["measurements"]
    assert isinstance(measurements, list)
    assert [each["place"] for each in measurements] == [
        *["tmpfs, 20 stalled"] * 2,
        *["tmpfs, 1 download"] * 2,
    ]
    for each in measurements:
        assert 0 < each["values"]["max"] < 3  # 1.5 s where nobody else is busy
        assert each["values"]["left"] == 0

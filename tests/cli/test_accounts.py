"""What is read from /proc, and from a load generator."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import pytest

from zc_response.cli.bench import environment, holders, load, procfs
from zc_response.cli.bench.client import check_head
from zc_response.cli.bench.errors import BenchmarkError, LoadError
from zc_response.cli.bench.namespace import check, command
from zc_response.cli.bench.servers import Site, nginx_conf
from zc_response.cli.bench.stalled import many_descriptors, possible, settle


def test_the_processor_time_of_a_process_is_user_and_system_time() -> None:
    assert procfs.parse_cpu_ticks(f"1 (a b) c) S {'0 ' * 10} 30 12 0") == 42


def test_memory_is_given_in_bytes() -> None:
    status = "Name:\tx\nVmHWM:\t    12 kB\nVmRSS:\t     8 kB\n"
    assert procfs.parse_field(status, "VmRSS") == 8 * 1024
    assert procfs.parse_field(status, "VmPeak") == 0


def test_the_pages_of_tcp_are_found() -> None:
    sockstat = "sockets: used 9\nTCP: inuse 3 orphan 0 alloc 4 mem 17\nUDP: mem 2\n"
    assert procfs.parse_tcp_pages(sockstat) == 17


def test_a_counter_stands_below_its_name() -> None:
    netstat = "TcpExt: A TCPAbortOnMemory B\nTcpExt: 1 7 2\nIpExt: C\nIpExt: 3\n"
    assert procfs.parse_netstat(netstat, "TCPAbortOnMemory") == 7
    assert procfs.parse_netstat(netstat, "Unknown") == 0


def test_a_process_and_its_descendants_are_one_family() -> None:
    assert procfs.descendants(1, {2: 1, 3: 2, 9: 8}) == [1, 2, 3]


def test_ones_own_accounts_can_be_read() -> None:
    pid = os.getpid()
    assert procfs.resident(pid) > 0
    assert procfs.descriptors(pid) > 0
    assert procfs.tcp_memory() >= 0


def test_the_filesystem_of_a_path_is_that_of_the_nearest_mount() -> None:
    mounts = (
        "1 0 0:1 / / rw - ext4 /dev/a rw\n"
        "2 1 0:2 / /mnt/x rw shared:1 - xfs /dev/b rw\n"
    )
    assert environment.filesystem(mounts, Path("/mnt/x/y")) == "xfs"
    assert environment.filesystem(mounts, Path("/mnt/xy")) == "ext4"


# Answers ---------------------------------------------------------------------------


def head(*fields: str, status: str = "200 OK") -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status}", *fields]).encode()


def test_a_response_says_how_long_it_is() -> None:
    assert not check_head(head("content-length: 5"), 5)


def test_a_chunked_response_says_so() -> None:
    assert check_head(head("Transfer-Encoding: chunked"), 5)


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        (head("Content-Length: 4"), "should be 5 and is 4"),
        (head("Content-Length: 5", "Content-Length: 6"), "is 5 and 6"),
        (head(), "is missing"),
        (head("Content-Length: 5", status="404 Not Found"), "404"),
    ],
)
def test_a_wrong_answer_is_a_failure(answer: bytes, complaint: str) -> None:
    with pytest.raises(LoadError, match=complaint):
        check_head(answer, 5)


def summary(**changes: int) -> str:
    facts = {"requests": 2, "bytes": 300, "microseconds": 5, "failed": 0, "timeouts": 0}
    return "Running\n" + str({**facts, **changes}).replace("'", '"') + "\n"


def test_wrk_tells_its_traffic_in_its_last_line() -> None:
    traffic = load.parse_summary(summary(), 100)
    assert (traffic.requests, traffic.body_bytes) == (2, 200)


@pytest.mark.parametrize("change", [{"failed": 1}, {"requests": 0}, {"bytes": 199}])
def test_bodies_that_are_missing_are_a_failure(change: dict[str, int]) -> None:
    with pytest.raises(LoadError):
        load.parse_summary(summary(**change), 100)


# Many clients ----------------------------------------------------------------------


def test_clients_come_from_several_addresses_when_ports_run_out() -> None:
    addresses = [holders.source_address(number) for number in (0, 19_999, 20_000)]
    assert addresses == ["127.0.0.1", "127.0.0.1", "127.0.0.2"]


def test_clients_come_in_waves() -> None:
    assert [len(wave) for wave in holders.waves(600)] == [250, 250, 100]


def test_a_limit_of_descriptors_is_kept() -> None:
    assert possible(10_000, 19_000) == 9_947
    assert possible(10_000, 30_000) == 10_000


def test_the_limit_of_descriptors_comes_back() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    with many_descriptors(before[1]) as limit:
        assert limit == before[1]
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == before


def test_one_waits_until_a_number_no_longer_grows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("zc_response.cli.bench.stalled.SETTLE_STEP", 0)
    numbers = iter([10, 20, 40, 40, 80])
    settle(lambda: next(numbers))
    assert next(numbers) == 80


# Where it runs ---------------------------------------------------------------------


def test_a_congestion_control_needs_a_namespace() -> None:
    line = command("reno", ["python", "-m", "x"], as_root=True)
    assert line[:2] == ["unshare", "-n"]
    assert line[-5:] == ["sh", "reno", "python", "-m", "x"]


def test_without_root_the_namespace_has_a_user_of_its_own() -> None:
    assert command("reno", [], as_root=False)[1] == "-rn"


def test_a_congestion_control_that_is_not_allowed_is_named() -> None:
    with pytest.raises(BenchmarkError, match="vegas: allowed are reno, bbr"):
        check("vegas", ["reno", "bbr"])


def test_nginx_gets_as_many_connections_as_are_asked_for(tmp_path: Path) -> None:
    site = Site(files=tmp_path, scratch=tmp_path, port=1, connections=10_000)
    assert "worker_connections 11024;" in nginx_conf(site, as_root=False)

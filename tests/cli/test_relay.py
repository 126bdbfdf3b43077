"""Behind a TUN device is another host, and strict sends to it by reference."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live import HOOKED, eventually, serve
from zc_response import Policy, Report
from zc_response.cli.bench import relay
from zc_response.cli.bench.mounts import run
from zc_response.cli.bench.relay import NAMES, Remote
from zc_response.integrations.starlette import FileResponse

CONTENT = b"".join(number.to_bytes(8, "big") for number in range(256 * 1024))  # 2 MiB
CLIENT = """\
import hashlib, sys, urllib.request
with urllib.request.urlopen(sys.argv[1], timeout=20) as answer:
    print(hashlib.sha256(answer.read()).hexdigest())
"""


@pytest.fixture
def there() -> Iterator[Remote]:
    if missing := relay.why_not():
        pytest.skip(f"no other host here: {missing}")
    with relay.remote(60) as there:
        yield there


class Strict(FileResponse):
    policy = Policy(integrity="strict")


@pytest.mark.parametrize(
    ("is_remote", "strategy", "reason"),
    [
        (True, "sendfile", "plain socket"),
        (False, "mmap", "strict, and the client may be on this host"),
    ],
)
def test_strict_sends_by_reference_to_another_host_only(
    tmp_path: Path,
    there: Remote,
    reports: list[Report],
    is_remote: bool,
    strategy: str,
    reason: str,
) -> None:
    file = tmp_path / "file"
    file.write_bytes(CONTENT)

    with serve(Strict(file), http=HOOKED["httptools"], address=there.host) as server:
        client = [sys.executable, "-c", CLIENT, f"http://{there.host}:{server.port}/"]
        got = subprocess.run(
            [*(there.inside if is_remote else ()), *client],
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
        eventually(lambda: reports)

    assert got.stdout.strip() == hashlib.sha256(CONTENT).hexdigest()
    (report,) = reports
    assert (report.strategy, report.reason, report.guard) == (strategy, reason, "lease")


def test_the_other_host_is_gone_in_the_end() -> None:
    if missing := relay.why_not():
        pytest.skip(f"no other host here: {missing}")
    with relay.remote(60) as there:
        assert NAMES[1] in run(*there.inside, "ip", "-brief", "link")
        assert NAMES[0] in run("ip", "-brief", "link")
    eventually(lambda: NAMES[0] not in run("ip", "-brief", "link"))

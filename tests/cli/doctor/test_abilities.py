"""What the doctor says of calls that a process may be refused, and how it finds out."""

from __future__ import annotations

import errno
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests import seccomp
from tests.cli.doctor.test_verdicts import FILE, SERVICE
from zc_response.cli.doctor import trials
from zc_response.cli.doctor.abilities import judge_abilities, judge_direct
from zc_response.cli.doctor.facts import ProcessFacts
from zc_response.cli.doctor.findings import Finding, Grade
from zc_response.cli.doctor.network import OUT_THERE
from zc_response.kernel import copies, pipes, sockets, tls
from zc_response.kernel.routes import route_to
from zc_response.policy import Policy
from zc_response.sources import FileSource


def topics(process: ProcessFacts) -> dict[str, Finding]:
    return {each.topic: each for each in judge_abilities(process)}


def test_a_process_that_may_do_everything_is_good() -> None:
    found = judge_abilities(SERVICE)
    assert {each.grade for each in found} == {Grade.GOOD}


def test_each_refused_call_is_named() -> None:
    process = replace(SERVICE, sendfile_words="No", splice_words="Never")
    calls = [each for each in judge_abilities(process) if each.topic == "calls"]
    assert [(each.case, each.what) for each in calls] == [
        ("no-sendfile", "sendfile(2) is refused: No"),
        ("no-splice", "splice(2) is refused: Never"),
    ]


def test_refused_seals_are_quoted() -> None:
    seals = topics(replace(SERVICE, seal_words="Operation not permitted"))["seals"]
    assert seals.case == "refused"
    assert "Operation not permitted" in seals.what


def test_small_pipes_are_told_how_to_grow() -> None:
    found = topics(replace(SERVICE, pipe_size=65536))["pipes"]
    assert "only 64 KiB" in found.what
    assert "fs.pipe-max-size=1048576" in found.advice[0]


@pytest.mark.parametrize(
    ("asks", "loaded", "case"),
    [
        (True, True, "possible"),
        (True, False, "no-module"),
        (True, None, "no-module"),
        (False, True, "no-python"),
        (False, False, "no-python-module"),
    ],
)
def test_tls_in_the_kernel_takes_python_and_a_module(
    asks: bool, loaded: bool | None, case: str
) -> None:
    process = replace(SERVICE, asks_for_ktls=asks, has_tls=loaded)
    found = topics(process)["kTLS"]
    assert found.case == case
    assert len(found.advice) == case.count("python") + case.count("module")


@pytest.mark.parametrize(
    ("policy", "words", "grade"),
    [
        (Policy(), "", Grade.GOOD),
        (Policy(), "Invalid argument", Grade.GOOD),
        (Policy(direct_min=1), "", Grade.GOOD),
        (Policy(direct_min=1), "Invalid argument", Grade.SO_SO),
        (Policy(strategy="direct"), "Invalid argument", Grade.SO_SO),
    ],
)
def test_reading_around_the_page_cache_matters_to_who_asks_for_it(
    policy: Policy, words: str, grade: Grade
) -> None:
    found = judge_direct(replace(FILE, direct_words=words), policy)
    assert found.grade is grade
    assert words in found.what


# Trials ------------------------------------------------------------------------------

TRIALS: dict[str, tuple[object, str, Callable[[], str]]] = {
    "sendfile": (sockets, "sendfile", trials.refusal_of_sendfile),
    "splice": (pipes, "splice", trials.refusal_of_splice),
    "memfd_create": (copies, "memory_file", trials.refusal_of_seals),
    "F_ADD_SEALS": (copies, "seal", trials.refusal_of_seals),
}


@pytest.mark.parametrize("call", TRIALS)
def test_what_is_allowed_is_not_refused(call: str) -> None:
    assert TRIALS[call][2]() == ""


@pytest.mark.parametrize("call", TRIALS)
def test_what_is_refused_is_quoted(call: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module, name, trial = TRIALS[call]

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, f"no {call} for you")

    monkeypatch.setattr(module, name, refuse)
    assert trial() == f"no {call} for you"


def test_without_files_in_memory_sendfile_is_tried_with_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is refused there is not held against sendfile."""

    def refuse(_name: str) -> int:
        raise OSError(errno.EPERM, "no memfd_create for you")

    monkeypatch.setattr(copies, "memory_file", refuse)
    assert trials.refusal_of_sendfile() == ""
    assert trials.refusal_of_seals() == "no memfd_create for you"


def test_a_pipe_is_as_large_as_the_system_lets_it_be() -> None:
    most = int(Path("/proc/sys/fs/pipe-max-size").read_text())
    assert trials.size_of_a_pipe() == min(most, 2**20)


def test_without_pipes_there_is_no_size(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> tuple[int, int]:
        raise OSError(errno.EMFILE, "too many")

    monkeypatch.setattr(pipes, "new_pipe", refuse)
    assert trials.size_of_a_pipe() == 0


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs"])
def test_disks_can_be_read_around_the_page_cache(
    disk: Callable[[str], Path], kind: str
) -> None:
    path = disk(kind) / "trial"
    path.write_bytes(bytes(9000))
    with FileSource.open(path) as source:
        assert trials.refusal_of_direct(source) == ""


def test_a_filesystem_without_that_is_quoted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "trial"
    path.write_bytes(bytes(9000))

    def refuse(_fd: int) -> int:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    monkeypatch.setattr("zc_response.kernel.files.open_directly", refuse)
    with FileSource.open(path) as source:
        assert trials.refusal_of_direct(source) == "Invalid argument"


@pytest.mark.parametrize(
    ("listed", "loaded"), [("espintcp mptcp tls\n", True), ("mptcp\n", False)]
)
def test_the_kernels_tls_is_found_in_its_list(
    listed: str, loaded: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ulp").write_text(listed)
    monkeypatch.setattr(tls, "_UPPER_LAYERS", str(tmp_path / "ulp"))
    assert tls.is_loaded() is loaded
    monkeypatch.setattr(tls, "_UPPER_LAYERS", str(tmp_path / "none"))
    assert tls.is_loaded() is None


# In a sandbox ------------------------------------------------------------------------


@pytest.mark.skipif(bool(seccomp.why_not()), reason=seccomp.why_not() or "-")
@pytest.mark.parametrize(
    ("call", "topic", "case"),
    [
        ("sendfile", "calls", "no-sendfile"),
        ("splice", "calls", "no-splice"),
        ("memfd_create", "seals", "refused"),
        ("ethtool", "copies", "unknown-refused"),
    ],
)
def test_what_a_seccomp_filter_refuses_is_found(
    call: str, topic: str, case: str
) -> None:
    sandbox = [sys.executable, seccomp.__file__, call]
    doctor = [sys.executable, "-m", "zc_response.cli", "doctor", "--json"]
    done = subprocess.run(
        [*sandbox, *doctor, "--peer", _other_host()],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if not done.stdout and not done.stderr:
        pytest.skip("this kernel has no seccomp filters")
    assert done.stdout, done.stderr
    found = {
        each["topic"]: each["case"]
        for section in json.loads(done.stdout)["sections"]
        for each in section["findings"]
    }
    assert found[topic] == case
    assert found.get("calls") == (case if topic == "calls" else "allowed")


def _other_host() -> str:
    """An address that is not this host's; nothing is sent to it."""
    try:
        route_to(socket.AF_INET, socket.inet_aton(OUT_THERE[0]))
    except OSError:
        pytest.skip("no way out of this host")
    return OUT_THERE[0]

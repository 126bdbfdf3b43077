"""What the doctor says of facts, for every refusal and every kind of filesystem."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from zc_response.cli.doctor import facts
from zc_response.cli.doctor.facts import (
    Facts,
    FileFacts,
    Lease,
    ProcessFacts,
    Reflink,
    Residency,
    Sample,
)
from zc_response.cli.doctor.findings import Finding, Grade, exit_status
from zc_response.cli.doctor.verdicts import findings, judge_file, judge_process
from zc_response.policy import Policy

MIB = 2**20

SERVICE = ProcessFacts(
    user=33,
    user_name="www-data",
    release="6.18.0",
    are_leases_enabled=True,
    descriptors=8192,
    signals=30_000,
    pipe_size=MIB,
    has_tls=True,
    python="3.13.0",
    openssl="OpenSSL 3.5.0",
    asks_for_ktls=True,
)
FILE = FileFacts(
    path="/srv/film.mp4",
    real_path="/srv/film.mp4",
    filesystem="xfs",
    kind="xfs",
    mount_point="/srv",
    size=200 * MIB,
    owner=33,
    owner_name="www-data",
    lease=Lease.FIRM,
    reflink=Reflink.DONE,
    residency=Residency.ASKED,
)
DIRECTORY = {"is_directory": True, "sample": Sample.TEMPORARY, "size": 8192}


def topics(
    changes: dict[str, Any],
    policy: Policy | None = None,
    process: ProcessFacts = SERVICE,
) -> dict[str, Finding]:
    """The findings about a file on xfs that is like FILE but for these changes."""
    section = judge_file(replace(FILE, **changes), process, policy or Policy())
    return {each.topic: each for each in section.findings}


def status(changes: dict[str, Any], policy: Policy | None = None) -> int:
    section = judge_file(replace(FILE, **changes), SERVICE, policy or Policy())
    return exit_status([section])


def advice(finding: Finding) -> str:
    return " ".join(finding.advice)


def test_a_lease_and_a_reflink_are_the_best_guard() -> None:
    found = topics({})
    assert {each.grade for each in found.values()} == {Grade.GOOD}
    assert found["guard"].what == (
        "safe here: a lease, then a reflink snapshot; a deploy that rewrites the file "
        "waits a few ms"
    )
    assert status({}) == 0


# Leases ----------------------------------------------------------------------------


def test_who_does_not_own_the_file_is_told_how_to_get_the_capability() -> None:
    found = topics({"lease": Lease.NOT_OWNER, "owner": 0, "owner_name": "root"})
    lease = found["lease"]
    assert "of root (uid 0), and www-data (uid 33) asks" in lease.what
    assert "AmbientCapabilities=CAP_LEASE" in advice(lease)
    assert "CapabilityBoundingSet=" in advice(lease)
    assert "--cap-add LEASE" in advice(lease)
    assert "securityContext" in advice(lease)
    assert found["guard"].case == "stat"
    assert status({"lease": Lease.NOT_OWNER}) == 1


def test_nobody_is_told_to_run_a_service_as_root() -> None:
    root = {"lease": Lease.NOT_OWNER, "owner": 0, "owner_name": "root"}
    deploy = {"lease": Lease.NOT_OWNER, "owner": 1000, "owner_name": "deploy"}
    assert "run it as" not in advice(topics(root)["lease"])
    assert "run it as deploy (uid 1000)" in advice(topics(deploy)["lease"])


def test_writers_are_named() -> None:
    found = topics({"lease": Lease.WRITER, "writers": ("pid 7 (rsync)",)})
    assert found["lease"].what.endswith("open for writing: pid 7 (rsync)")
    assert "rename" in advice(found["lease"])


def test_of_writers_that_cannot_be_seen_it_says_where_they_can_be() -> None:
    lease = topics({"lease": Lease.WRITER})["lease"]
    assert "container" in lease.why
    assert "as root" in advice(lease)


def test_leases_that_are_switched_off_can_be_switched_on() -> None:
    process = replace(SERVICE, are_leases_enabled=False)
    lease = topics({"lease": Lease.INVALID}, process=process)["lease"]
    assert "switched off" in lease.what
    assert "sysctl fs.leases-enable=1" in advice(lease)


def test_a_filesystem_without_leases_is_not_taken_for_a_switch() -> None:
    lease = topics({"lease": Lease.INVALID})["lease"]
    assert "the filesystem has no leases" in lease.what
    assert "sysctl" not in advice(lease)


def test_any_other_refusal_is_quoted() -> None:
    changes = {"lease": Lease.FAILED, "lease_words": "refused: Not on Sundays"}
    lease = topics(changes)["lease"]
    assert "Not on Sundays" in lease.what
    assert lease.advice


@pytest.mark.parametrize(
    ("filesystem", "kind", "reason"),
    [
        ("nfs", "nfs4", "Another machine"),
        ("cifs", "cifs", "Another machine"),
        ("9p", "9p", "Another machine"),
        ("fuse", "fuse.sshfs", "The program behind it"),
        ("f2fs", "f2fs", "may break no lease"),
        ("unknown", "", "may break no lease"),
    ],
)
def test_an_untrusted_filesystem_gets_a_reason_and_a_better_one(
    filesystem: str, kind: str, reason: str
) -> None:
    changes = {"filesystem": filesystem, "kind": kind, "lease": Lease.UNTRUSTED}
    lease = topics(changes)["lease"]
    assert reason in lease.why
    assert (kind or "unknown") in lease.what
    assert "ext4, xfs, btrfs or tmpfs" in advice(lease)
    assert status(changes) == 1


def test_overlay_is_weak_and_a_volume_is_better() -> None:
    found = topics({"filesystem": "overlay", "kind": "overlay", "lease": Lease.WEAK})
    assert "layers below" in found["lease"].why
    assert "volume" in advice(found["lease"])
    assert found["guard"].case == "weak-lease"
    assert found["guard"].grade is Grade.SO_SO


@pytest.mark.parametrize("filesystem", ["squashfs", "erofs", "iso9660"])
def test_nobody_writes_to_a_read_only_filesystem(filesystem: str) -> None:
    changes = {
        "filesystem": filesystem,
        "lease": Lease.UNTRUSTED,
        "reflink": Reflink.NOT_TRIED,
    }
    found = topics(changes)
    assert {each.grade for each in found.values()} == {Grade.GOOD}
    assert status(changes) == 0


# Snapshots -------------------------------------------------------------------------


def test_a_file_that_fits_is_copied_into_memory() -> None:
    changes = {"size": 64 * MIB, "reflink": Reflink.NOT_TRIED, "filesystem": "ext4"}
    found = topics(changes)
    assert "all 64 MiB, in 50 ms" in found["snapshot"].what
    assert "a snapshot in memory" in found["guard"].what
    assert status(changes) == 0


def test_a_file_that_does_not_fit_is_less_well_guarded() -> None:
    changes = {"size": 129 * MIB, "reflink": Reflink.NOT_TRIED, "filesystem": "ext4"}
    found = topics(changes)
    assert "ZC_RESPONSE_SNAPSHOT_BYTES" in advice(found["snapshot"])
    assert "xfs or btrfs" in advice(found["snapshot"])
    assert status(changes) == 1


def test_without_snapshots_downloads_are_aborted() -> None:
    found = topics({"reflink": Reflink.NOT_TRIED}, Policy(snapshot_bytes=0))
    assert "snapshot_bytes is 0" in found["snapshot"].what
    assert "aborted" in found["guard"].what


def test_a_reflink_needs_a_directory_to_write_to() -> None:
    snapshot = topics({"reflink": Reflink.NO_DIRECTORY})["snapshot"]
    assert "TMPDIR" in advice(snapshot)
    assert snapshot.grade is Grade.SO_SO


def test_without_a_lease_it_says_what_would_come_after_one() -> None:
    changes = {"lease": Lease.NOT_OWNER, "reflink": Reflink.NO_DIRECTORY}
    snapshot = topics(changes)["snapshot"]
    assert snapshot.what.startswith("none without a lease; with one: in memory")
    assert "TMPDIR" in advice(snapshot)


def test_where_there_will_be_no_lease_there_is_nothing_after_it() -> None:
    snapshot = topics({"lease": Lease.UNTRUSTED})["snapshot"]
    assert (snapshot.what, snapshot.advice) == ("none without a lease", ())


def test_xfs_is_no_advice_on_xfs() -> None:
    there = topics({"reflink": Reflink.NO_DIRECTORY})["snapshot"]
    assert "Use xfs" not in advice(there)


def test_why_there_is_no_reflink_is_quoted() -> None:
    changes = {"reflink": Reflink.REFUSED, "reflink_words": "Operation not supported"}
    assert "Operation not supported" in topics(changes)["snapshot"].why


# The other topics ------------------------------------------------------------------


def test_an_old_kernel_makes_young_entity_tags_weak() -> None:
    process = replace(SERVICE, grain_ns=2_000_000_000, release="6.1.0")
    found = topics({}, process=process)
    assert "weak until 2 s after a change" in found["ETag"].what
    assert "6.13" in advice(found["ETag"])
    assert found["guard"].grade is Grade.GOOD  # that is another matter


def test_a_filesystem_with_coarse_timestamps_is_named() -> None:
    found = topics({"filesystem": "vfat", "kind": "vfat", "lease": Lease.UNTRUSTED})
    assert "vfat has no fine-grained timestamps" in found["ETag"].why


@pytest.mark.parametrize("residency", Residency)
def test_where_memory_is_unknown_steps_are_taken_in_threads(
    residency: Residency,
) -> None:
    memory = topics({"residency": residency})["page cache"]
    is_unknown = residency in (Residency.HIDDEN, Residency.NEVER)
    assert ("thread" in memory.why) == is_unknown
    assert (memory.grade is Grade.SO_SO) == is_unknown


def test_a_network_filesystem_is_slow_to_answer() -> None:
    changes = {"filesystem": "nfs", "kind": "nfs4", "is_local": False}
    found = topics(changes)["filesystem"]
    assert found.what == "nfs4 at /srv, over a network"
    assert found.grade is Grade.SO_SO


# Policies --------------------------------------------------------------------------


def test_fast_only_counts() -> None:
    guard = topics({}, Policy(integrity="fast"))["guard"]
    assert guard.case == "count"
    assert "ZC_RESPONSE_INTEGRITY" in advice(guard)
    assert status({}, Policy(integrity="fast")) == 1


def test_strict_with_a_lease_is_the_best() -> None:
    guard = topics({}, Policy(integrity="strict"))["guard"]
    assert guard.what.startswith("strict here: a lease until all has arrived")
    assert guard.grade is Grade.GOOD


@pytest.mark.parametrize("lease", [Lease.WEAK, Lease.WRITER, Lease.UNTRUSTED])
def test_strict_without_a_firm_lease_copies(lease: Lease) -> None:
    guard = topics({"lease": lease}, Policy(integrity="strict"))["guard"]
    assert "bodies are copied" in guard.what
    assert guard.grade is Grade.SO_SO


# Directories -----------------------------------------------------------------------


def test_a_directory_is_judged_by_a_sample() -> None:
    found = topics(DIRECTORY | {"sample": Sample.FOUND, "sample_path": "/srv/a.mp4"})
    assert found["file"].what == "a directory, judged by /srv/a.mp4"


def test_in_a_directory_files_of_others_have_no_lease() -> None:
    changes = DIRECTORY | {"files_seen": 9, "files_of_others": 2}
    found = topics(changes)
    assert "2 of 9 files" in found["owners"].what
    assert found["guard"].grade is Grade.SO_SO
    assert "owners" not in topics(changes, process=replace(SERVICE, has_cap_lease=True))


def test_of_large_files_in_a_directory_memory_has_a_part() -> None:
    found = topics(DIRECTORY | {"reflink": Reflink.NOT_TRIED})
    assert found["snapshot"].what.startswith("in memory: files up to 128 MiB")


def test_an_empty_directory_tells_little() -> None:
    changes = DIRECTORY | {
        "sample": Sample.NONE,
        "lease": Lease.NOT_ASKED,
        "reflink": Reflink.NOT_TRIED,
    }
    found = topics(changes)
    assert advice(found["file"]) == "Name a file."
    assert list(found) == ["guard", "file", "filesystem", "lease", "ETag"]
    assert status(changes) == 1


# What cannot be served -------------------------------------------------------------


def test_what_cannot_be_served_has_one_finding_and_status_2() -> None:
    changes = {"refusal": "a FIFO, not a regular file"}
    assert list(topics(changes)) == ["file"]
    assert status(changes) == 2


def test_the_directory_that_may_not_be_entered_is_named() -> None:
    changes = {"refusal": "Permission denied", "obstacle": "/home/my user"}
    found = topics(changes)["file"]
    assert found.why == "www-data (uid 33) may not enter /home/my user."
    assert "chmod o+x '/home/my user'" in advice(found)


def test_a_missing_file_is_looked_for_as_far_as_there_are_directories() -> None:
    changes = {"refusal": "No such file", "is_missing": True, "obstacle": "/srv"}
    assert topics(changes)["file"].why == "The way to it ends in /srv."


def test_the_worst_path_decides() -> None:
    every = (FILE, replace(FILE, lease=Lease.WEAK), replace(FILE, refusal="a FIFO"))
    for count in (1, 2, 3):
        sections = findings(Facts(process=SERVICE, files=every[:count]), Policy())
        assert exit_status(sections) == count - 1


# The process -----------------------------------------------------------------------


def of_process(policy: Policy, **changes: Any) -> dict[str, Finding]:
    section = judge_process(replace(SERVICE, **changes), policy)
    assert section.grade is None
    return {each.topic: each for each in section.findings}


def test_a_roomy_process_is_good() -> None:
    found = of_process(Policy())
    assert {each.grade for each in found.values()} == {Grade.GOOD}


def test_a_short_lease_break_time_shortens_the_budget() -> None:
    found = of_process(Policy(break_budget=5), break_time=4.0)["writers"]
    assert "at most 2 s, not 5 s" in found.what
    assert "fs.lease-break-time=10" in advice(found)


def test_few_descriptors_mean_few_open_files() -> None:
    found = of_process(Policy(open_files=512), descriptors=1024)["open files"]
    assert "128 stay open between responses, not 512" in found.what
    assert "LimitNOFILE=4096" in advice(found)


def test_any_number_of_descriptors_is_enough() -> None:
    assert of_process(Policy(), descriptors=-1)["open files"].case == "enough"


def test_few_pending_signals_are_found() -> None:
    assert of_process(Policy(), signals=8)["signals"].case == "few-signals"


# On the way from another process ---------------------------------------------------


def test_facts_survive_a_pipe() -> None:
    odd = replace(FILE, path="/srv/\udcff\n", writers=("pid 1 (a)", "pid 2 (b)"))
    sent = Facts(process=SERVICE, files=(FILE, odd))
    assert facts.from_json(facts.to_json(sent)) == sent

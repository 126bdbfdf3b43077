"""From facts to findings. Pure: the same facts and policy give the same findings."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from zc_response.cli.doctor.abilities import judge_abilities, judge_direct
from zc_response.cli.doctor.dma import judge_route, no_route
from zc_response.cli.doctor.facts import (
    Facts,
    FileFacts,
    Lease,
    ProcessFacts,
    Reflink,
    Residency,
    Sample,
)
from zc_response.cli.doctor.findings import Finding, Grade, Section
from zc_response.policy import Policy
from zc_response.sources.timestamps import MULTIGRAIN

GOOD, SO_SO, BAD = Grade.GOOD, Grade.SO_SO, Grade.BAD

NETWORK: Final = frozenset(("nfs", "cifs", "smb2", "ceph", "9p"))
READ_ONLY: Final = frozenset(("squashfs", "erofs", "iso9660"))
"""Filesystems that nobody can write to."""

FEW_SIGNALS: Final = 64
_MS_PER_COPIED_MIB: Final = 50 / 64  # see Policy.snapshot_bytes
_SHARE_OF_DESCRIPTORS: Final = 8  # see Policy.open_files
_BETTER: Final = "Serve from ext4, xfs, btrfs or tmpfs: a copy, or a volume on one."
_RENAME: Final = (
    "Publish files by renaming them into place: that is safe without any guard."
)


def findings(facts: Facts, policy: Policy) -> list[Section]:
    """All that there is to say: a section for each path, for each peer or default
    route, and for the process."""
    files = [judge_file(each, facts.process, policy) for each in facts.files]
    routes = [judge_route(each) for each in facts.routes] or [no_route()]
    return [*files, *routes, judge_process(facts.process, policy)]


# A path ----------------------------------------------------------------------------


def judge_file(file: FileFacts, process: ProcessFacts, policy: Policy) -> Section:
    """What to expect of a path; the grade is that of its guard."""
    if file.refusal:
        return Section(title=file.path, grade=BAD, findings=(_refused(file, process),))
    guard = _guard(file, process, policy)
    has_sample = file.sample is not Sample.NONE
    judged = [guard, _file(file, process, policy), _filesystem(file)]
    judged.append(_lease(file, process))
    if _has_others(file, process):
        judged.append(_owners(file, process))
    if has_sample:
        judged.append(_snapshot(file, process, policy))
    judged.append(_timestamps(file, process, policy))
    if has_sample:
        judged += [_memory(file), judge_direct(file, policy)]
    return Section(title=file.path, grade=guard.grade, findings=tuple(judged))


def _refused(file: FileFacts, process: ProcessFacts) -> Finding:
    why = advice = ""
    if file.is_missing:
        if file.obstacle:
            why = f"The way to it ends in {file.obstacle}."
        advice = "Look for a spelling mistake, or a volume that is not mounted."
    elif file.obstacle:
        why = f"{_who(process)} may not enter {file.obstacle}."
        advice = f"Let it: chmod o+x {shlex.quote(file.obstacle)}, or by a group."
    elif file.refusal == "Permission denied":
        verb = "read and enter" if file.is_directory else "read"
        why = f"{_who(process)} may not {verb} it."
        advice = (
            "Let it, by owner, group or mode. If these do already, SELinux or "
            "AppArmor forbid it."
        )
    elif not file.is_local:
        why = f"It lies on {_kind(file)} at {file.mount_point}."
        advice = "Is its server, or the program behind it, still there?"
    return Finding(
        topic="file",
        case="missing" if file.is_missing else "refused",
        grade=BAD,
        what=f"cannot be served: {file.refusal}",
        why=why,
        advice=(advice,) if advice else (),
    )


def _file(file: FileFacts, process: ProcessFacts, policy: Policy) -> Finding:
    if file.is_directory:
        words = {
            Sample.TEMPORARY: "a directory, judged by a temporary file in it",
            Sample.FOUND: f"a directory, judged by {file.sample_path}",
            Sample.NONE: "a directory without a file that can be read",
        }
        return Finding(
            topic="file",
            case=f"directory-{file.sample.value}",
            grade=SO_SO if file.sample is Sample.NONE else GOOD,
            what=words[file.sample],
            why=(
                f"{_who(process)} may not write to it either, so there is nothing to "
                "ask the kernel with."
                if file.sample is Sample.NONE
                else ""
            ),
            advice=("Name a file.",) if file.sample is Sample.NONE else (),
        )
    small = ", read in one go (small_bytes)" if file.size <= policy.small_bytes else ""
    place = "" if file.path == file.real_path else f": {file.real_path}"
    return Finding(
        topic="file",
        case="regular",
        grade=GOOD,
        what=f"a regular file of {_size(file.size)}{small}{place}",
    )


def _filesystem(file: FileFacts) -> Finding:
    where = f"{_kind(file)} at {file.mount_point}"
    if file.is_local:
        what = f"{where}, local"
        return Finding(topic="filesystem", case="local", grade=GOOD, what=what)
    kind = _sort(file)
    words = {
        "network": "over a network",
        "fuse": "a program's (FUSE)",
    }
    return Finding(
        topic="filesystem",
        case=kind,
        grade=SO_SO,
        what=f"{where}, {words.get(kind, 'not known to answer at once')}",
        why=(
            "Each question may wait for somebody else: files are opened and read in "
            "threads, never by the event loop."
        ),
        advice=("Serve what is asked for often from a local filesystem.",),
    )


def _lease(file: FileFacts, process: ProcessFacts) -> Finding:
    what, why, advice = _LEASES[file.lease](file, process)
    is_good = file.lease is Lease.FIRM or _is_read_only(file)
    return Finding(
        topic="lease",
        case="needless" if _is_read_only(file) else file.lease.value,
        grade=GOOD if is_good else SO_SO,
        what=what,
        why=why,
        advice=advice,
    )


_Words = tuple[str, str, tuple[str, ...]]


def _lease_firm(file: FileFacts, process: ProcessFacts) -> _Words:
    return "granted: nobody can write to the file without our letting go of it", "", ()


def _lease_weak(file: FileFacts, process: ProcessFacts) -> _Words:
    return (
        f"granted, but those of {file.filesystem} are weak",
        "They do not see who writes to the layers below, on the host. So the file's "
        "size and mtime are compared as well.",
        ("Serve from a volume or bind mount on ext4, xfs or btrfs.",),
    )


def _lease_untrusted(file: FileFacts, process: ProcessFacts) -> _Words:
    if _is_read_only(file):
        return f"none needed: nobody can write to {file.filesystem}", "", ()
    reasons = {
        "network": "Another machine can write to it, and this kernel does not hear.",
        "fuse": "The program behind it can change it, and the kernel does not hear.",
    }
    reason = reasons.get(_sort(file), "A write to it may break no lease.")
    return f"not asked for: {_kind(file)} is not to be trusted", reason, (_BETTER,)


def _lease_not_owner(file: FileFacts, process: ProcessFacts) -> _Words:
    owner = _user(file.owner, file.owner_name)
    instead = f", or run it as {owner}" if file.owner else ""
    return (
        f"refused: the file is of {owner}, and {_who(process)} asks",
        "A lease is for the owner, or for who has the capability CAP_LEASE. It gives "
        "no right to read or write anything.",
        (*_GRANTS, f"Or let the service's user own the files{instead}."),
    )


_GRANTS: Final = (
    "systemd: AmbientCapabilities=CAP_LEASE in the unit's [Service]; where there is "
    "a CapabilityBoundingSet=, CAP_LEASE in that too.",
    "docker run --cap-add LEASE; Kubernetes: securityContext, capabilities, add: "
    '["LEASE"]. A user other than root needs it on the interpreter as well, in the '
    "image: setcap cap_lease+ep /usr/bin/python3.x.",
)


def _lease_writer(file: FileFacts, process: ProcessFacts) -> _Words:
    words = file.lease_words or "somebody has the file open for writing"
    if file.writers:
        return (
            f"refused: {words}: {', '.join(file.writers)}",
            "There is a lease again when that is closed.",
            ("Write to a new file and rename it into place when it is complete.",),
        )
    return (
        f"refused: {words}",
        "No such process can be seen: it is another user's, outside of this "
        "container, or the kernel (a loop device, an NFS server).",
        ("Ask as root. Write to a new file and rename it into place.",),
    )


def _lease_invalid(file: FileFacts, process: ProcessFacts) -> _Words:
    if process.are_leases_enabled:
        reason = f"This kernel ({process.release}) has none for {_kind(file)}."
        return "refused: the filesystem has no leases", reason, (_BETTER,)
    return (
        "refused: leases are switched off",
        "The sysctl fs.leases-enable is 0.",
        ("sysctl fs.leases-enable=1, and the same in /etc/sysctl.d, on the host.",),
    )


def _lease_failed(file: FileFacts, process: ProcessFacts) -> _Words:
    return (
        f"none: {file.lease_words}",
        "A sandbox or a seccomp filter can be the cause.",
        ("Allow fcntl(2) with F_SETLEASE, and signalfd4(2).",),
    )


def _lease_not_asked(file: FileFacts, process: ProcessFacts) -> _Words:
    return "not asked for: there is no file to ask with", "", ("Name a file.",)


_LEASES: Final[dict[Lease, Callable[[FileFacts, ProcessFacts], _Words]]] = {
    Lease.FIRM: _lease_firm,
    Lease.WEAK: _lease_weak,
    Lease.UNTRUSTED: _lease_untrusted,
    Lease.NOT_OWNER: _lease_not_owner,
    Lease.WRITER: _lease_writer,
    Lease.INVALID: _lease_invalid,
    Lease.FAILED: _lease_failed,
    Lease.NOT_ASKED: _lease_not_asked,
}


def _has_others(file: FileFacts, process: ProcessFacts) -> bool:
    """True if a lease for the sample does not mean one for all files beside it."""
    is_granted = file.lease in (Lease.FIRM, Lease.WEAK)
    return is_granted and file.files_of_others > 0 and not process.has_cap_lease


def _owners(file: FileFacts, process: ProcessFacts) -> Finding:
    return Finding(
        topic="owners",
        case="others",
        grade=SO_SO,
        what=(
            f"{file.files_of_others} of {file.files_seen} files looked at are not of "
            f"{_who(process)}: no lease on them"
        ),
        why="A lease is for the owner, or for who has the capability CAP_LEASE.",
        advice=(*_GRANTS, "Or let the service's user own the files."),
    )


def _snapshot(file: FileFacts, process: ProcessFacts, policy: Policy) -> Finding:
    if _is_read_only(file):
        return _no_snapshot(GOOD, "none needed")
    found = _snapshot_with_lease(file, process, policy)
    if file.lease in (Lease.FIRM, Lease.WEAK):
        return found
    if file.lease is Lease.UNTRUSTED:
        return _no_snapshot(SO_SO, "none without a lease")
    # Who is about to see to the lease can see to this as well.
    what = f"none without a lease; with one: {found.what}"
    return replace(found, case="no-lease", grade=SO_SO, what=what)


def _no_snapshot(grade: Grade, what: str) -> Finding:
    return Finding(topic="snapshot", case="no-lease", grade=grade, what=what)


def _snapshot_with_lease(
    file: FileFacts, process: ProcessFacts, policy: Policy
) -> Finding:
    topic = "snapshot"
    if file.reflink is Reflink.DONE:
        what = "a reflink: whatever the size, in some milliseconds"
        return Finding(topic=topic, case="reflink", grade=GOOD, what=what)
    most = _size(policy.snapshot_bytes)
    why, advice = _why_no_reflink(file, process)
    if _snapshot_suffices(file, policy):
        whole = (
            f"files up to {most}" if file.is_directory else f"all {_size(file.size)}"
        )
        what = f"in memory: {whole}, in {_milliseconds(file, policy)}"
        return Finding(topic=topic, case="memory", grade=GOOD, what=what, why=why)
    return Finding(
        topic=topic,
        case="memory-short",
        grade=SO_SO,
        what=(
            f"in memory, up to {most} (snapshot_bytes)"
            if policy.snapshot_bytes
            else "nothing is copied (snapshot_bytes is 0)"
        ),
        why=f"{why} When somebody writes to a file, downloads that need more of it "
        "are aborted.",
        advice=(*advice, _RENAME),
    )


def _why_no_reflink(file: FileFacts, process: ProcessFacts) -> tuple[str, list[str]]:
    more = "raise ZC_RESPONSE_SNAPSHOT_BYTES."
    if file.reflink is Reflink.NO_DIRECTORY:
        return (
            f"No reflink: {_who(process)} has no directory at {file.mount_point} to "
            f"put it into ({file.reflink_words}).",
            [
                "Set TMPDIR to a directory on the same filesystem that it may write "
                f"to; or {more}",
            ],
        )
    advice = [f"Use xfs or btrfs, which have reflinks; or {more}"]
    if file.reflink is Reflink.REFUSED:
        return f"No reflink: {file.reflink_words}.", advice
    return f"{_kind(file)} has no reflinks.", advice


def _snapshot_suffices(file: FileFacts, policy: Policy) -> bool:
    """True if no download has to be aborted for want of a copy."""
    if file.reflink is Reflink.DONE:
        return True
    if file.is_directory:
        return policy.snapshot_bytes > 0 and file.reflink is Reflink.NOT_TRIED
    return file.size <= policy.snapshot_bytes


def _milliseconds(file: FileFacts, policy: Policy) -> str:
    """How long a copy into memory takes, about."""
    size = policy.snapshot_bytes if file.is_directory else file.size
    return f"{max(1.0, size / 2**20 * _MS_PER_COPIED_MIB):.0f} ms or so"


def _timestamps(file: FileFacts, process: ProcessFacts, policy: Policy) -> Finding:
    made = "mtime and size" if policy.etag == "mtime" else "inode, ctime, mtime, size"
    topic, made = "ETag", f"of {made}"
    if _is_read_only(file):
        return Finding(topic=topic, case="read-only", grade=GOOD, what=made)
    if process.grain_ns:
        return Finding(
            topic=topic,
            case="coarse-kernel",
            grade=SO_SO,
            what=f"{made}; weak until {process.grain_ns / 1e9:g} s after a change",
            why=(
                f"On Linux {process.release} two changes in a row can share one "
                "timestamp. A download of so young a file cannot be resumed."
            ),
            advice=("Linux 6.13 and later tell any two changes apart.",),
        )
    if file.filesystem not in MULTIGRAIN:
        return Finding(
            topic=topic,
            case="coarse-filesystem",
            grade=SO_SO,
            what=f"{made}; weak until 2 s after a change",
            why=(
                f"{_kind(file)} has no fine-grained timestamps: two changes in a row "
                "can share one. A download of so young a file cannot be resumed."
            ),
            advice=(
                "Publish files by renaming them into place, with "
                "ZC_RESPONSE_ETAG=change: another file has another inode.",
            ),
        )
    what = f"{made}; each change has a timestamp of its own"
    return Finding(topic=topic, case="exact", grade=GOOD, what=what)


def _memory(file: FileFacts) -> Finding:
    topic, case = "page cache", file.residency.value
    if file.residency is Residency.ALWAYS:
        what = "its files are memory: nobody waits for a disk"
        return Finding(topic=topic, case=case, grade=GOOD, what=what)
    if file.residency in (Residency.ASKED, Residency.READ):
        how = {
            Residency.ASKED: "",
            Residency.READ: ", by reading a byte here and there",
        }
        state = "is" if file.begins_in_memory else "is not"
        begin = "" if file.is_directory else f"; its beginning {state} in memory now"
        what = f"it can be asked what is in memory{how[file.residency]}{begin}"
        return Finding(topic=topic, case=case, grade=GOOD, what=what)
    why = "So all of it counts as cold: each step is taken in a thread."
    if file.residency is Residency.HIDDEN:
        what = "what is in memory is told to the file's owner and writers only"
        advice = ("Let the service's user own the files, or serve from a volume.",)
    else:
        what = f"{_kind(file)} does not tell what is in memory"
        advice = ("Serve what is asked for often from a local filesystem.",)
    return Finding(
        topic=topic, case=case, grade=SO_SO, what=what, why=why, advice=advice
    )


# The guard: all of it in one line ----------------------------------------------------


def _guard(file: FileFacts, process: ProcessFacts, policy: Policy) -> Finding:
    judge = {"fast": _fast, "safe": _safe, "strict": _strict}[policy.integrity]
    case, grade, what, why, advice = judge(file, policy)
    if grade is GOOD and _has_others(file, process):
        case, grade = "owners", SO_SO
        what += "; no lease on files of others"
    return Finding(
        topic="guard",
        case=case,
        grade=grade,
        what=f"{policy.integrity} here: {what}",
        why=why,
        advice=advice,
    )


_Verdict = tuple[str, Grade, str, str, tuple[str, ...]]


def _fast(file: FileFacts, policy: Policy) -> _Verdict:
    what = "the bytes are counted, and nothing else is looked at"
    why = "A file that is rewritten in place can reach a client as a mixture."
    default = "Unset ZC_RESPONSE_INTEGRITY: `safe` is the default."
    return "count", SO_SO, what, why, (default, _RENAME)


def _safe(file: FileFacts, policy: Policy) -> _Verdict:
    if _is_read_only(file):
        return "read-only", GOOD, "nobody can write to the file", "", ()
    if file.lease is Lease.NOT_ASKED:
        return "unknown", SO_SO, "not known without a file", "", ()
    if file.lease not in (Lease.FIRM, Lease.WEAK):
        return (
            "stat",
            SO_SO,
            "no lease; size and mtime are compared between steps",
            "When a file is rewritten in place, its downloads are aborted; what was "
            "sent by then can be a mixture.",
            ("See below for a lease.", _RENAME),
        )
    after, suffices = _afterwards(file, policy), _snapshot_suffices(file, policy)
    if file.lease is Lease.WEAK:
        what = f"a weak lease and a look at size and mtime, then {after}"
        return "weak-lease", SO_SO, what, "", ()
    case = "lease" if suffices else "lease-alone"
    return case, GOOD if suffices else SO_SO, f"a lease, then {after}", "", ()


def _strict(file: FileFacts, policy: Policy) -> _Verdict:
    if file.lease is Lease.NOT_ASKED:
        return "unknown", SO_SO, "not known without a file", "", ()
    if file.lease is not Lease.FIRM:
        return (
            "stat",
            SO_SO,
            "no firm lease, so bodies are copied and compared: never a mixture, but "
            "slower",
            "When a file is rewritten in place, its downloads are aborted.",
            ("See below for a lease.",),
        )
    after, suffices = _afterwards(file, policy), _snapshot_suffices(file, policy)
    case = "lease" if suffices else "lease-alone"
    what = f"a lease until all has arrived, then {after}; copies for this host"
    return case, GOOD if suffices else SO_SO, what, "", ()


def _afterwards(file: FileFacts, policy: Policy) -> str:
    """What comes after the lease, when somebody wants to write."""
    deploy = "a deploy that rewrites the file waits"
    if file.reflink is Reflink.DONE:
        return f"a reflink snapshot; {deploy} a few ms"
    if _snapshot_suffices(file, policy):
        wait = _milliseconds(file, policy)
        upto = "up to " if file.is_directory else ""
        return f"a snapshot in memory; {deploy} {upto}{wait}"
    if policy.snapshot_bytes:
        most = _size(policy.snapshot_bytes)
        return f"a snapshot of up to {most}; who needs more is aborted"
    return "nothing: downloads are aborted when somebody writes"


# The process -----------------------------------------------------------------------


def judge_process(process: ProcessFacts, policy: Policy) -> Section:
    """What to expect of a process like this one."""
    user = _user(process.user, process.user_name)
    has = "has" if process.has_cap_lease else "has no"
    return Section(
        title=f"a process of {user}, which {has} CAP_LEASE",
        grade=None,
        findings=(
            _break_time(process, policy),
            _open_files(process, policy),
            _signals(process),
            *judge_abilities(process),
        ),
    )


def _break_time(process: ProcessFacts, policy: Policy) -> Finding:
    topic = "writers"
    longest, budget = process.break_time / 2, policy.break_budget
    if budget <= longest:
        what = f"wait at most {budget:g} s (break_budget)"
        return Finding(topic=topic, case="budget", grade=GOOD, what=what)
    return Finding(
        topic=topic,
        case="break-time",
        grade=SO_SO,
        what=f"wait at most {longest:g} s, not {budget:g} s (break_budget)",
        why=(
            f"The kernel takes a lease away after {process.break_time:g} s "
            "(fs.lease-break-time); half of that is left to let go."
        ),
        advice=(f"sysctl fs.lease-break-time={max(2 * budget, 10):.0f}",),
    )


def _open_files(process: ProcessFacts, policy: Policy) -> Finding:
    topic = "open files"
    share = process.descriptors // _SHARE_OF_DESCRIPTORS
    if process.descriptors < 0 or policy.open_files <= share:
        what = f"{policy.open_files} stay open between responses (open_files)"
        return Finding(topic=topic, case="enough", grade=GOOD, what=what)
    needed = policy.open_files * _SHARE_OF_DESCRIPTORS
    return Finding(
        topic=topic,
        case="few-descriptors",
        grade=SO_SO,
        what=f"{share} stay open between responses, not {policy.open_files}",
        why=(
            f"This process may have {process.descriptors} descriptors, and an eighth "
            "of them is used for that. A service has a limit of its own."
        ),
        advice=(f"systemd: LimitNOFILE={needed}; a shell: ulimit -n {needed}",),
    )


def _signals(process: ProcessFacts) -> Finding:
    topic = "signals"
    if process.signals < 0 or process.signals >= FEW_SIGNALS:
        what = "there is room for the kernel to say that somebody wants to write"
        return Finding(topic=topic, case="enough", grade=GOOD, what=what)
    return Finding(
        topic=topic,
        case="few-signals",
        grade=SO_SO,
        what=f"only {process.signals} can wait (RLIMIT_SIGPENDING)",
        why=(
            "When there is no room to say that somebody wants to write, that somebody "
            "waits up to a quarter of a second longer."
        ),
        advice=("systemd: LimitSIGPENDING=1024; a shell: ulimit -i 1024",),
    )


# Words -----------------------------------------------------------------------------


def _is_read_only(file: FileFacts) -> bool:
    return file.filesystem in READ_ONLY


def _sort(file: FileFacts) -> str:
    if file.filesystem in NETWORK:
        return "network"
    return "fuse" if file.filesystem == "fuse" else "other"


def _kind(file: FileFacts) -> str:
    return file.kind or file.filesystem


def _who(process: ProcessFacts) -> str:
    return _user(process.user, process.user_name)


def _user(number: int, name: str) -> str:
    return f"{name} (uid {number})" if name else f"uid {number}"


def _size(size: int) -> str:
    number = float(size)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if number < 1024:
            return f"{number:.3g} {unit}" if unit != "bytes" else f"{size} bytes"
        number /= 1024
    return f"{number:.4g} TiB"

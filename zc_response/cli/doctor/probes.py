"""Finding out what is so with a path and with this process. Nothing is judged here.

No file is changed, and none is left behind: what is tried out is a file without a name.
"""

from __future__ import annotations

import contextlib
import errno
import os
import platform
import pwd
import re
import resource
import ssl
import stat
import tempfile
import threading
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Final

from zc_response.cli.doctor import trials
from zc_response.cli.doctor.facts import (
    Facts,
    FileFacts,
    Lease,
    ProcessFacts,
    Reflink,
    Residency,
    Sample,
)
from zc_response.cli.doctor.network import routes_to
from zc_response.cli.doctor.proc import read
from zc_response.errors import (
    FileChangedError,
    FileMissingError,
    SourceError,
    source_error,
)
from zc_response.guards import close_all, lease_or_reason
from zc_response.guards.leases import REFUSALS, TRUSTED, WEAK
from zc_response.guards.snapshots import REFLINKS, reflink
from zc_response.kernel import copies, files, leases, pages, tls
from zc_response.sources import FileSource, grain_ns, place_of
from zc_response.sources.places import is_local, now
from zc_response.threads import lane
from zc_response.transmit.residency import ANSWERS, Answer, is_resident

PATIENCE: Final = 30.0
"""Seconds that a filesystem may take to answer."""

_MOST_ENTRIES: Final = 1000  # of a directory, that are looked at
_BEGINNING: Final = 1024 * 1024
_CAP_LEASE: Final = 28
_TRIAL: Final = bytes(8192)


def gather(paths: tuple[str, ...], peers: tuple[str, ...]) -> Facts:
    """Everything about these paths, the ways to these peers, and this process."""
    return Facts(
        process=process_facts(),
        files=tuple(map(file_facts, paths)),
        routes=routes_to(peers),
    )


# The process -----------------------------------------------------------------------


def process_facts() -> ProcessFacts:
    """What is so with this process and its kernel."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = getattr(resource, "RLIMIT_SIGPENDING", None)
    return ProcessFacts(
        user=os.geteuid(),
        user_name=_name_of(os.geteuid()),
        has_cap_lease=_has_cap_lease(),
        release=os.uname().release,
        grain_ns=grain_ns("ext4"),
        are_leases_enabled=_are_leases_enabled(),
        break_time=leases.break_time(),
        descriptors=soft,
        most_descriptors=hard,
        signals=-1 if limit is None else resource.getrlimit(limit)[0],
        sendfile_words=trials.refusal_of_sendfile(),
        splice_words=trials.refusal_of_splice(),
        seal_words=trials.refusal_of_seals(),
        pipe_size=trials.size_of_a_pipe(),
        has_tls=tls.is_loaded(),
        python=platform.python_version(),
        openssl=ssl.OPENSSL_VERSION,
        asks_for_ktls=_asks_for_ktls(),
    )


def _asks_for_ktls() -> bool:
    """Python has the option from 3.12 on, OpenSSL heeds it from 3.0 on."""
    return hasattr(ssl, "OP_ENABLE_KTLS") and ssl.OPENSSL_VERSION_INFO >= (3,)


def _name_of(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return ""


def _has_cap_lease() -> bool:
    status = read("/proc/self/status")
    found = re.search(r"^CapEff:\s*([0-9a-f]+)$", status, re.MULTILINE)
    return bool(found and int(found[1], 16) >> _CAP_LEASE & 1)


def _are_leases_enabled() -> bool | None:
    text = read("/proc/sys/fs/leases-enable").strip()
    return bool(int(text)) if text.isdigit() else None


# A path ----------------------------------------------------------------------------


def file_facts(path: str, patience: float = PATIENCE) -> FileFacts:
    """What is so with a path.

    It is asked in a thread of its filesystem: one that does not answer is a fact, too.
    """
    # As the service sees it, whoever may enter the directory that we are in.
    absolute = os.path.abspath(path)
    place = now()
    known: dict[str, Any] = {
        "path": path,
        "real_path": absolute,
        "mount_point": place.mount_of(absolute),
        "kind": place.kind_of(absolute),
    }
    found: list[FileFacts | BaseException] = []
    is_done = threading.Event()

    def ask() -> None:
        try:
            found.append(_ask(path, absolute))
        except BaseException as exc:
            found.append(exc)
        is_done.set()

    lane(place_of(absolute)).submit(ask)
    if not is_done.wait(patience):
        refusal = f"its filesystem did not answer for {patience:g} seconds"
        return FileFacts(**known, refusal=refusal, is_local=False)
    (answer,) = found
    if isinstance(answer, OSError | ValueError):
        error = source_error(answer, path)
        return FileFacts(
            **known,
            refusal=str(error.strerror),
            is_missing=isinstance(error, FileMissingError),
            is_directory=os.path.isdir(absolute),
            obstacle=_obstacle(absolute),
        )
    if isinstance(answer, BaseException):
        raise answer
    return answer


def _ask(path: str, absolute: str) -> FileFacts:
    status = os.stat(absolute)
    if stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode):
        # To open some devices is to do something to them.
        raise OSError(errno.EINVAL, "a device, not a regular file")
    real_path = os.path.realpath(absolute)
    place = now()
    known: dict[str, Any] = {
        "path": path,
        "real_path": real_path,
        "mount_point": place.mount_of(real_path),
        "kind": place.kind_of(real_path),
    }
    if stat.S_ISDIR(status.st_mode):
        return _directory(absolute, known)
    with FileSource.open(absolute) as source:
        return FileFacts(**known, **_look_at(source, absolute))


def _directory(path: str, known: dict[str, Any]) -> FileFacts:
    known["is_directory"] = True
    if not os.access(path, os.X_OK):
        raise OSError(errno.EACCES, os.strerror(errno.EACCES))
    known["files_seen"], known["files_of_others"] = _owners(path)
    with _sample(path) as (sample, source):
        known["sample"] = sample
        if source is not None:
            known["sample_path"] = source.path
            return FileFacts(**known, **_look_at(source, path))
    fd = os.open(path, files.DIRECTORY)
    try:
        filesystem = files.filesystem(fd)
    finally:
        os.close(fd)
    if filesystem in files.MADE_UP.values():
        message = f"files of {filesystem} have no length of their own"
        raise OSError(errno.EINVAL, message)
    return FileFacts(
        **known,
        filesystem=filesystem,
        is_local=is_local(path, filesystem),
        lease=Lease.NOT_ASKED if filesystem in TRUSTED | WEAK else Lease.UNTRUSTED,
    )


def _owners(path: str) -> tuple[int, int]:
    """How many files are in a directory, and how many of them are not ours."""
    seen = others = 0
    for entry in _regular(path):
        with contextlib.suppress(OSError):
            seen += 1
            others += entry.stat(follow_symlinks=False).st_uid != os.geteuid()
    return seen, others


def _regular(path: str) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(path) as entries:
            for entry in islice(entries, _MOST_ENTRIES):
                if entry.is_file(follow_symlinks=False):
                    yield entry
    except OSError:
        return


@contextlib.contextmanager
def _sample(directory: str) -> Iterator[tuple[Sample, FileSource | None]]:
    """A file to judge a directory by."""
    source = _temporary(directory)
    sample = Sample.TEMPORARY
    if source is None:
        source, sample = _first(directory), Sample.FOUND
    if source is None:
        yield Sample.NONE, None
        return
    with source:
        yield sample, source


def _temporary(directory: str) -> FileSource | None:
    """A new file that has no name (any more); None if none may be made."""
    path = os.path.join(directory, "(a temporary file)")
    try:
        return FileSource(_reopened(copies.unnamed_file(directory), ""), path)
    except OSError as exc:
        if exc.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT):
            return None
    try:
        fd, name = tempfile.mkstemp(prefix=".zc-response-", dir=directory)
        try:
            return FileSource(_reopened(fd, name), path)
        finally:
            os.unlink(name)
    except OSError:
        return None


def _reopened(fd: int, name: str) -> int:
    """The file with something in it, for reading: no lease where a writer is."""
    try:
        os.write(fd, _TRIAL)
        return files.open_for_reading(name or f"/proc/self/fd/{fd}")
    finally:
        os.close(fd)


def _first(directory: str) -> FileSource | None:
    for entry in _regular(directory):
        with contextlib.suppress(SourceError):
            return FileSource.open(entry.path)
    return None


def _look_at(source: FileSource, path: str) -> dict[str, Any]:
    facts, status = source.facts, source.status
    found: dict[str, Any] = {
        "filesystem": facts.filesystem,
        "is_local": is_local(path, facts.filesystem),
        "size": facts.size,
        "device": facts.device,
        "inode": facts.inode,
        "owner": status.st_uid,
        "owner_name": _name_of(status.st_uid),
        "residency": _residency(source),
        "direct_words": trials.refusal_of_direct(source),
    }
    count = min(facts.size, _BEGINNING)
    with contextlib.suppress(OSError):
        found["begins_in_memory"] = count > 0 and is_resident(source, 0, count)
    found["lease"], found["lease_words"] = _lease(source)
    found["reflink"], found["reflink_words"] = _reflink(source)
    return found


def _lease(source: FileSource) -> tuple[Lease, str]:
    """What the guards get, given back at once: a writer would wait for it."""
    if source.facts.filesystem not in TRUSTED | WEAK:
        return Lease.UNTRUSTED, ""
    try:
        lease = lease_or_reason(source)
    except FileChangedError as exc:
        return Lease.WRITER, str(exc.strerror)
    finally:
        close_all()
    if isinstance(lease, str):
        numbers = {words: number for number, words in REFUSALS.items()}
        return _CASES.get(numbers.get(lease, 0), Lease.FAILED), lease
    return (Lease.WEAK if lease.is_weak else Lease.FIRM), ""


_CASES: Final = {
    errno.EACCES: Lease.NOT_OWNER,
    errno.EAGAIN: Lease.WRITER,
    errno.EINVAL: Lease.INVALID,
}


def _reflink(source: FileSource) -> tuple[Reflink, str]:
    if source.facts.filesystem not in REFLINKS:
        return Reflink.NOT_TRIED, ""
    try:
        reflink(source).release()
    except OSError as exc:
        rights = (None, errno.EACCES, errno.EPERM, errno.EROFS)
        lacks_directory = exc.errno in rights
        case = Reflink.NO_DIRECTORY if lacks_directory else Reflink.REFUSED
        return case, exc.strerror or str(exc)
    return Reflink.DONE, ""


def _residency(source: FileSource) -> Residency:
    answer = ANSWERS.get(source.facts.filesystem, Answer.NEVER)
    if answer is Answer.LOOK:
        is_told = pages.mapped(source.fileno(), 0, 1) is not None
        return Residency.ASKED if is_told else Residency.HIDDEN
    if answer is Answer.ASK:
        return Residency.ASKED if _is_told(source) else Residency.READ
    return Residency.ALWAYS if answer is Answer.ALWAYS else Residency.NEVER


def _is_told(source: FileSource) -> bool:
    try:
        pages.cached(source.fileno(), 0, 1)
    except OSError:
        return False
    return True


def _obstacle(path: str) -> str:
    """Where the way to a path ends; empty if the path itself is the matter."""
    for parent in reversed(Path(path).parents):
        if not os.access(parent, os.X_OK):
            return str(parent if os.path.lexists(parent) else parent.parent)
    return ""

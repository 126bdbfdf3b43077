"""What the command does: find out, judge, print."""

from __future__ import annotations

from dataclasses import asdict, replace

from zc_response.cli.doctor import console, facts, probes
from zc_response.cli.doctor.errors import DoctorError
from zc_response.cli.doctor.facts import Facts, FileFacts, Lease
from zc_response.cli.doctor.findings import exit_status
from zc_response.cli.doctor.network import check
from zc_response.cli.doctor.users import as_user
from zc_response.cli.doctor.verdicts import findings
from zc_response.cli.doctor.writers import writers_of
from zc_response.errors import PolicyError
from zc_response.policy import Policy


def doctor(
    paths: tuple[str, ...],
    *,
    peers: tuple[str, ...] = (),
    user: str | None,
    as_json: bool,
) -> int:
    """Examine some paths, and ways to peers; print what was found; the exit status.

    Raises DoctorError if that cannot be done at all.
    """
    check(peers)
    try:
        policy = Policy.from_environment()
    except PolicyError as exc:
        raise DoctorError(str(exc)) from exc
    sections = findings(_find_out(paths, peers, user), policy)
    if as_json:
        console.show_json(sections, user=user, policy=asdict(policy))
    else:
        console.show(sections)
    return exit_status(sections)


def _find_out(
    paths: tuple[str, ...], peers: tuple[str, ...], user: str | None
) -> Facts:
    if user is None:
        found = probes.gather(paths, peers)
    else:
        said = as_user(user, lambda: facts.to_json(probes.gather(paths, peers)))
        found = facts.from_json(said)
    return replace(found, files=tuple(map(_with_writers, found.files)))


def _with_writers(file: FileFacts) -> FileFacts:
    """The facts, and who writes to the file; root can see more than the user."""
    if file.lease is not Lease.WRITER:
        return file
    writers = writers_of(file.real_path, file.device, file.inode)
    return replace(file, writers=writers)

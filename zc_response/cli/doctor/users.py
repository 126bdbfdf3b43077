"""Finding out as another user: in a child process, which has that user's rights.

What the child says is data of a process with fewer rights than ours: JSON, and never
code. It imports nothing: the interpreter may lie where that user may not read.
"""

from __future__ import annotations

import json
import os
import pwd
import traceback
from collections.abc import Callable

from zc_response.cli.doctor.errors import DoctorError


def as_user(name: str, work: Callable[[], bytes]) -> bytes:
    """What `work` returns where it has the rights of a user, by name or number.

    The rights are those that a service of that user starts with: its groups, and no
    capabilities. Raises DoctorError if there is no such user, or we are not root.
    """
    account = _account(name)
    if os.geteuid() != 0:
        raise DoctorError(
            f"only root can ask as another user: sudo zc-response doctor --user {name}"
        )
    receiving, sending = os.pipe()
    child = os.fork()
    if not child:
        os.close(receiving)
        _live_and_die(account, work, sending)
    os.close(sending)
    with open(receiving, "rb") as pipe:
        said = pipe.read()
    _pid, status = os.waitpid(child, 0)
    if status or not said:
        raise DoctorError(f"the process that asked as {name} has failed")
    if said[:1] == _FAILED:
        raise DoctorError(f"cannot become {name}: {json.loads(said[1:])}")
    return said[1:]


_DONE, _FAILED = b"+", b"-"


def _account(name: str) -> pwd.struct_passwd:
    try:
        return pwd.getpwuid(int(name)) if name.isdigit() else pwd.getpwnam(name)
    except (KeyError, OverflowError):
        raise DoctorError(f"there is no user {name!r} here") from None


def _live_and_die(
    account: pwd.struct_passwd, work: Callable[[], bytes], sending: int
) -> None:
    status = 1
    try:
        with open(sending, "wb") as pipe:
            try:
                _become(account)
            except OSError as exc:
                pipe.write(_FAILED + json.dumps(exc.strerror).encode("ascii"))
            else:
                pipe.write(_DONE + work())
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)  # whatever is to be done at exit is the parent's to do


def _become(account: pwd.struct_passwd) -> None:
    os.setgroups(os.getgrouplist(account.pw_name, account.pw_gid))
    os.setresgid(account.pw_gid, account.pw_gid, account.pw_gid)
    os.setresuid(account.pw_uid, account.pw_uid, account.pw_uid)

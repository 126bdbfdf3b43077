"""Runs a command with one system call refused, as a sandbox would: seccomp(2).

    python tests/seccomp.py CALL command ...

CALL is a name in `CALLS`; the kernel answers it with EPERM. Where it has no such
filters, nothing is run, and nothing is printed.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import sys
from typing import Final

_ETHTOOL: Final = 0x8946  # SIOCETHTOOL, the second argument of ioctl(2)
_SETSIG: Final = 10  # F_SETSIG, that of fcntl(2)
CALLS: Final[dict[str, dict[str, tuple[int, int | None]]]] = {
    "x86_64": {
        "F_SETSIG": (72, _SETSIG),
        "sendfile": (40, None),
        "splice": (275, None),
        "memfd_create": (319, None),
        "ethtool": (16, _ETHTOOL),
    },
    "aarch64": {
        "F_SETSIG": (25, _SETSIG),
        "sendfile": (71, None),
        "splice": (76, None),
        "memfd_create": (279, None),
        "ethtool": (29, _ETHTOOL),
    },
}
"""By machine: the number of a call, and what its second argument has to be."""

_LOAD: Final = 0x20  # BPF_LD | BPF_W | BPF_ABS
_EQUAL: Final = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
_RETURN: Final = 0x06
_NUMBER: Final = 0  # places in struct seccomp_data
_SECOND: Final = 24
_ALLOW: Final = 0x7FFF0000
_REFUSE: Final = 0x00050001  # with EPERM
_NO_NEW_PRIVILEGES: Final = 38  # PR_SET_NO_NEW_PRIVS
_SET_SECCOMP: Final = 22  # PR_SET_SECCOMP
_FILTER: Final = 2  # SECCOMP_MODE_FILTER


def why_not() -> str:
    """What is missing here; empty if nothing is."""
    if sys.platform != "linux" or platform.machine() not in CALLS:
        return "the numbers of system calls are not known for this machine"
    return ""


def refuse(call: str) -> bool:
    """Have this process, and all it runs, refused a call from now on.

    False where the kernel has no seccomp filters.
    """
    number, second = CALLS[platform.machine()][call]
    program = [(_LOAD, 0, 0, _NUMBER)]
    if second is None:
        program += [(_EQUAL, 0, 1, number)]
    else:
        program += [(_EQUAL, 0, 3, number), (_LOAD, 0, 0, _SECOND)]
        program += [(_EQUAL, 0, 1, second)]
    program += [(_RETURN, 0, 0, _REFUSE), (_RETURN, 0, 0, _ALLOW)]
    code = ctypes.create_string_buffer(
        b"".join(struct.pack("HBBI", *line) for line in program)
    )
    described = struct.pack("HxxxxxxP", len(program), ctypes.addressof(code))
    prctl = ctypes.CDLL(None).prctl
    return not (
        prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0) or prctl(_SET_SECCOMP, _FILTER, described)
    )


if __name__ == "__main__":
    if refuse(sys.argv[1]):
        os.execvp(sys.argv[2], sys.argv[2:])

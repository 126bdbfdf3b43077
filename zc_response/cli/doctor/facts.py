"""What the doctor found out, in plain values, and how they cross a pipe."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any


class Sample(str, Enum):
    """The file that was looked at."""

    ITSELF = "itself"
    """The one that was asked about."""
    TEMPORARY = "temporary"
    """A new one without a name, in the directory that was asked about."""
    FOUND = "found"
    """The first in that directory that can be read."""
    NONE = "none"


class Lease(str, Enum):
    """What the package's own guards said to a lease."""

    FIRM = "firm"
    WEAK = "weak"
    UNTRUSTED = "untrusted"
    """The kernel was not asked: what it grants here is worth nothing."""
    NOT_OWNER = "not-owner"
    WRITER = "writer"
    INVALID = "invalid"
    """Leases are switched off, or the filesystem has none."""
    FAILED = "failed"
    NOT_ASKED = "not-asked"


class Reflink(str, Enum):
    """What became of a copy that shares its data."""

    DONE = "done"
    NO_DIRECTORY = "no-directory"
    """There is no directory of that filesystem that the process may write to."""
    REFUSED = "refused"
    NOT_TRIED = "not-tried"
    """The filesystem does not have it."""


class Residency(str, Enum):
    """How it is found out what of the file is in memory."""

    ALWAYS = "always"
    ASKED = "asked"
    READ = "read"
    """The cheap question is refused: a byte of each stretch is read instead."""
    HIDDEN = "hidden"
    """The kernel does not tell this process."""
    NEVER = "never"


@dataclass(frozen=True, slots=True, kw_only=True)
class FileFacts:
    """What is so with one path. `refusal` says why it cannot be served, if so."""

    path: str
    real_path: str
    refusal: str = ""
    is_missing: bool = False
    obstacle: str = ""
    """The directory where the way to it ends."""
    is_directory: bool = False
    sample: Sample = Sample.ITSELF
    sample_path: str = ""
    filesystem: str = "unknown"
    """By its number (statfs)."""
    kind: str = ""
    """By its name in the table of mounts, which can say more: `fuse.sshfs`."""
    mount_point: str = ""
    is_local: bool = True
    size: int = 0
    device: int = 0
    inode: int = 0
    owner: int = 0
    owner_name: str = ""
    lease: Lease = Lease.NOT_ASKED
    lease_words: str = ""
    writers: tuple[str, ...] = ()
    reflink: Reflink = Reflink.NOT_TRIED
    reflink_words: str = ""
    residency: Residency = Residency.NEVER
    begins_in_memory: bool = False
    direct_words: str = ""
    """Why it cannot be read around the page cache (O_DIRECT), if so."""
    files_seen: int = 0
    """In a directory: how many files of its own were looked at."""
    files_of_others: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class InterfaceFacts:
    """What is so with an interface that packets leave by."""

    name: str
    kind: str = ""
    """As in `kernel/interfaces.py`: empty for hardware."""
    driver: str = ""
    mtu: int = 0
    refusal: str = ""
    """Why its features are not known, if so."""
    features: tuple[str, ...] = ()
    """Those that are on."""
    off: tuple[str, ...] = ()
    """Those that are off: of others nothing is known."""
    switches: tuple[str, ...] = ()
    """Those that can be switched on or off."""
    below: tuple[InterfaceFacts, ...] = ()
    """Those that what it takes leaves by: one of them, if there are several."""
    is_below_elsewhere: bool = False
    """What it stands on lies in another network namespace."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteFacts:
    """What is so with the way to a peer. `refusal` says why there is none, if so."""

    peer: str
    """The address that was asked about; empty for the default route."""
    version: int
    """Of IP: 4 or 6."""
    refusal: str = ""
    is_local: bool = False
    """The peer is this host."""
    gateway: str = ""
    mtu: int = 0
    """What a socket sends in one packet."""
    mtu_of_route: int = 0
    """What the route and its interface would let it send."""
    interface: InterfaceFacts | None = None
    is_encrypted: bool | None = None
    """By IPsec; None if this process may not know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessFacts:
    """What is so with the process, and with the kernel it runs on."""

    user: int
    user_name: str = ""
    has_cap_lease: bool = False
    release: str = ""
    grain_ns: int = 0
    are_leases_enabled: bool | None = None
    break_time: float = 45.0
    descriptors: int = 0
    """RLIMIT_NOFILE; -1 for no limit, as with the others."""
    most_descriptors: int = 0
    signals: int = 0
    """RLIMIT_SIGPENDING."""
    sendfile_words: str = ""
    """Why the call is refused, if it is."""
    splice_words: str = ""
    seal_words: str = ""
    """Why no file in memory can be sealed, if so."""
    pipe_size: int = 0
    """What a pipe of ours holds."""
    has_tls: bool | None = None
    """The kernel's TLS is loaded."""
    python: str = ""
    openssl: str = ""
    asks_for_ktls: bool = False
    """Python and OpenSSL are those that can be told to use it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """All of them."""

    process: ProcessFacts
    files: tuple[FileFacts, ...]
    routes: tuple[RouteFacts, ...] = ()


def to_json(facts: Facts) -> bytes:
    """The facts as text: what comes from a process with fewer rights is no pickle."""
    return json.dumps(asdict(facts)).encode("ascii")


def from_json(text: bytes) -> Facts:
    """What `to_json` was given."""
    found = json.loads(text)
    return Facts(
        process=ProcessFacts(**found["process"]),
        files=tuple(map(_file, found["files"])),
        routes=tuple(map(_route, found["routes"])),
    )


def _file(values: dict[str, Any]) -> FileFacts:
    values["sample"] = Sample(values["sample"])
    values["lease"] = Lease(values["lease"])
    values["writers"] = tuple(values["writers"])
    values["reflink"] = Reflink(values["reflink"])
    values["residency"] = Residency(values["residency"])
    return FileFacts(**values)


def _route(values: dict[str, Any]) -> RouteFacts:
    interface = values["interface"]
    values["interface"] = interface and _interface(interface)
    return RouteFacts(**values)


def _interface(values: dict[str, Any]) -> InterfaceFacts:
    values["features"] = tuple(values["features"])
    values["off"] = tuple(values["off"])
    values["switches"] = tuple(values["switches"])
    values["below"] = tuple(map(_interface, values["below"]))
    return InterfaceFacts(**values)

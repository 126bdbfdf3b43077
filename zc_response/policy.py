"""Every threshold and switch of the package, in one frozen record.

A policy comes from keywords, from the environment (`ZC_RESPONSE_<FIELD>`), or from
the defaults below. Each default says where it comes from; what the project's benchmark
decided names the part of it that shows it again (`zc-response bench cold`).
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Final

from zc_response.errors import PolicyError

_PREFIX: Final = "ZC_RESPONSE_"
_CHOICES: Final[dict[str, tuple[str, ...]]] = {
    "cache": ("keep", "drop"),
    "strategy": ("auto", "sendfile", "mmap", "direct", "copy"),
    "integrity": ("fast", "safe", "strict"),
    "etag": ("mtime", "change"),
    "precompressed": ("never", "static", "always"),
}
_LEAST: Final[dict[str, float]] = {
    "compress_bytes": 0,
    "direct_min": 0,
    "zerocopy_min": 0,
    "max_parts": 0,
    "small_bytes": 0,
    "step_bytes": 1,
    "cold_bytes": 1,
    "copy_bytes": 1,
    "snapshot_bytes": 0,
    "handed_over": 0,
    "break_budget": 0,
    "unsent_bytes": 1,
    "unsent_max": 1,
    "max_rate": 0,
    "stall_timeout": 0,
    "first_byte_wait": 0,
    "open_files": 0,
    "open_files_idle": 0.1,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Settings of one middleware, response class or server.

    Raises `PolicyError` for a value that makes no sense.
    """

    zero_copy: bool = True
    """False copies every body through Python: to compare, or to rule us out."""

    strategy: str = "auto"
    """How the bytes of a file leave, where the connection can be reached; elsewhere
    only `direct` has a meaning.

    `auto` takes what is best in each case, by the table of docs/strategies.md;
    `sendfile`, `mmap`, `direct` and `copy` ask for one, which is taken unless that
    would break a promise of `integrity`, or is refused.
    """

    direct_min: int = 0
    """Bodies of so many bytes or more are read around the page cache (O_DIRECT), so
    that they push nothing out of it; 0 for none.

    It costs what a copy costs, and the disk is read each time.
    """

    zerocopy_min: int = 0
    """Bodies of so many bytes or more that an application has in memory, as `bytes`,
    are lent to the kernel (MSG_ZEROCOPY) where the client is on another host; 0 for
    none.

    Only a network card that gathers what it sends makes that pay, and that has not been
    measured; what is copied after all is noticed, and costs more than it would have.
    """

    cache: str = "keep"
    """What becomes of a file's pages behind a download: `keep`, or `drop` those of a
    file that was not in memory before.

    The gentler form of `direct_min`: it is sent by reference, the disk is read ahead,
    and a second download a moment later still finds what the first one has just sent.
    """

    integrity: str = "safe"
    """What a client may get of a file that is written to, in place, while it is sent.

    `fast`: what nginx does; the bytes are counted. `safe`: all old, or visibly
    incomplete, but for what the kernel had accepted by then. `strict`: never a mixture;
    a client on the same host gets copies.
    """

    break_budget: float = 1.0
    """Seconds that somebody who opens such a file for writing may be made to wait.

    It usually takes a few milliseconds. Transfers that cannot let go of the file in
    that time are aborted. Never more than half of the kernel's own limit
    (/proc/sys/fs/lease-break-time, 45 s).
    """

    snapshot_bytes: int = 128 * 1024 * 1024
    """The most bytes of such files that a process keeps in memory, so that transfers
    under way can end; 0 for none. Not needed where the filesystem shares data copy on
    write (xfs, btrfs).

    Copying 64 MiB takes some 50 ms.
    """

    etag: str = "mtime"
    """What the entity-tag is made of.

    `mtime`: mtime_ns and size, so that every machine that holds the same file agrees.
    `change`: inode and ctime_ns too; never equal for two contents, but this machine's
    own.
    """

    precompressed: str = "static"
    """Where `.zst`, `.br` and `.gz` files beside a file are served in its place.

    `never`, `static` (what serves a directory) or `always` (views that name a path).
    """

    compress_bytes: int = 0
    """The most bytes of compressed variants that a process keeps in memory; 0 for none,
    and nothing is compressed then.

    What is worth it (text and the like, 1 KiB to 64 MiB) is compressed once, in a
    thread, and sent as it is until that is done; files beside the file come first
    (`precompressed`). One variant takes a quarter of it at most. 64 MiB hold some
    thousand scripts and pages.
    """

    max_parts: int = 16
    """More ranges than this, after coalescing, are answered with the whole file; 0
    offers no ranges at all."""

    small_bytes: int = 64 * 1024
    """A body up to this size leaves in one write with its header fields, read into
    memory instead of sent by reference; 0 for none.

    Up to about 128 KiB that is the cheaper way (`bench throughput --sizes
    16KiB,64KiB,256KiB`, with 0 and without); a client that does not read makes the
    server keep it.
    """

    step_bytes: int = 4 * 1024 * 1024
    """The most bytes that one step hands to the kernel: what cannot be interrupted.

    Steps start smaller and grow as long as they take a fraction of a millisecond; with
    2 MiB, as nginx has it (sendfile_max_chunk 2m), 1 GiB over loopback took 3 % longer
    (`bench throughput`).
    """

    cold_bytes: int = 256 * 1024
    """The most bytes of a step that may have to wait for a disk.

    Enough to keep a disk of 10 MB/s busy to 0.99 of its rate (`bench cold`), and few
    enough that a slow one still shows progress.
    """

    unsent_bytes: int = 64 * 1024
    """What the kernel may hold, unsent, for a client that takes nothing.

    Ten thousand of them then stay well below what TCP may have (`bench stalled`);
    twice as much gained a fast client nothing (`bench throughput`).
    """

    unsent_max: int = 4 * 1024 * 1024
    """What it may hold, unsent, for a client that takes all it can get.

    As much as the kernel's own limit on a send buffer (tcp_wmem).
    """

    max_rate: int = 0
    """The most bytes a second that one response is sent at; 0 for as fast as it goes.

    The kernel spaces the segments; there is no effect on UNIX sockets.
    """

    stall_timeout: float = 60.0
    """Seconds after which a client that took nothing is cut off; 0 for never.

    What counts is progress, not the time that the whole body takes. As nginx has it
    (send_timeout 60s). It is also how long a filesystem may take to answer.
    """

    first_byte_wait: float = 0.5
    """Seconds that a header may wait for the first byte of a process; 0 for none.

    One that fails by then is an error of the application (500), not a response that
    breaks off. It is also how long one that is silent at first may hold a WSGI worker.
    """

    handed_over: int = 10_000
    """Downloads that a WSGI worker process finishes outside of its workers, at once; 0
    for none. Each takes a descriptor."""

    copy_bytes: int = 256 * 1024
    """Bytes read at once where a body has to be copied."""

    open_files: int = 512
    """Files kept open between responses; 0 for none. Never more than an eighth of the
    descriptors that the process may have."""

    open_files_idle: float = 10.0
    """Seconds after which a file that nobody asked for is closed."""

    def __post_init__(self) -> None:
        for name, allowed in _CHOICES.items():
            value = getattr(self, name)
            if value not in allowed:
                raise PolicyError(f"{name} is {value!r}; it can be one of {allowed}")
        for name, least in _LEAST.items():
            value = getattr(self, name)
            if not isinstance(value, int | float) or not value >= least:
                raise PolicyError(f"{name} is {value!r}; it must be {least} or more")

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> Policy:
        """The defaults, changed by `ZC_RESPONSE_*`: one variable for each field.

        Raises `PolicyError` for a value that cannot be read, and for a variable that
        names no field, so that a misspelt setting is not silently ignored.
        """
        environ = os.environ if environ is None else environ
        known = {_PREFIX + field.name.upper(): field for field in fields(cls)}
        values: dict[str, Any] = {}
        for variable, text in environ.items():
            if not variable.startswith(_PREFIX):
                continue
            if variable not in known:
                raise PolicyError(f"{variable} is no setting; there are {list(known)}")
            field = known[variable]
            values[field.name] = _READERS[str(field.type)](variable, text.strip())
        return cls(**values)


@functools.cache
def default_policy() -> Policy:
    """The policy of the environment as it was when it was first asked for."""
    return Policy.from_environment()


def _read_int(variable: str, text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise PolicyError(f"{variable} is {text!r}; it must be a whole number")
    return int(text)


def _read_float(variable: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise PolicyError(f"{variable} is {text!r}; it must be a number") from None


def _read_bool(variable: str, text: str) -> bool:
    words = {"1": True, "true": True, "yes": True, "on": True}
    words |= {"0": False, "false": False, "no": False, "off": False}
    if text.lower() not in words:
        raise PolicyError(f"{variable} is {text!r}; it can be one of {list(words)}")
    return words[text.lower()]


def _read_str(_variable: str, text: str) -> str:
    return text


_READERS: Final[dict[str, Callable[[str, str], Any]]] = {
    "bool": _read_bool,
    "float": _read_float,
    "int": _read_int,
    "str": _read_str,
}

"""File responses for Python web applications that leave at the kernel's speed.

General layout, from the view to the wire; data goes one way:

    integrations/<framework>   a view's file      -> a request, an open source
    planning/                  pure               -> status, header fields, segments
    asgi/, wsgi/               the protocol       -> one message that carries the plan
    integrations/<server>      the connection     -> what the server lets us reach
    transmit/                  strategy and driver: the bytes on the wire
    guards/                    may end a transfer between two steps
    derived/                   what is made of a file: compressed variants, snapshots
    threads.py                 where a step waits that may wait for a disk
    kernel/                    the syscalls, one thin function each
    report.py                  what happened, to the log and to listeners

Nothing below knows a framework; nothing above knows a syscall. Import what you need
from the modules themselves: `zc_response.asgi`, `zc_response.integrations.starlette`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from zc_response.errors import (
    ChangedError,
    FileChangedError,
    FileForbiddenError,
    FileMissingError,
    FilesystemTimeoutError,
    NoSnapshotError,
    NotRegularFileError,
    NotStreamError,
    OutOfDescriptorsError,
    PolicyError,
    ProducerError,
    SourceError,
    StalledError,
    TransferError,
    TruncatedError,
    ZCResponseError,
)
from zc_response.policy import Policy
from zc_response.report import Outcome, Report, add_listener, remove_listener

if TYPE_CHECKING:
    from zc_response.sources import MemoryFile

__version__ = "0.1.0"

__all__ = [
    # Settings
    "Policy",
    # Bodies made by the application
    "MemoryFile",
    # What happened to a body
    "Outcome",
    "Report",
    "add_listener",
    "remove_listener",
    # Errors
    "ZCResponseError",
    "PolicyError",
    "SourceError",
    "FileMissingError",
    "FileForbiddenError",
    "NotRegularFileError",
    "OutOfDescriptorsError",
    "FilesystemTimeoutError",
    "FileChangedError",
    "NoSnapshotError",
    "NotStreamError",
    "TransferError",
    "ChangedError",
    "ProducerError",
    "TruncatedError",
    "StalledError",
]  # fmt: skip


def __getattr__(name: str) -> type[MemoryFile]:
    """Load what brings foreign functions with it only for those who ask for it."""
    if name == "MemoryFile":
        from zc_response.sources import MemoryFile

        globals()[name] = MemoryFile
        return MemoryFile
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

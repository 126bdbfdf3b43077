"""Where body bytes come from. A source owns its descriptor and knows its facts.

A file is opened first and looked at afterwards, through the descriptor: header fields
and body then speak of the same file, whatever happens to its name.

    file        an open file, shared by counting
    memory      bytes an application has made, in memory that nobody can change
    cache       files kept open between responses
    root        a directory that no name leads out of
    places      which paths may have to be waited for
    timestamps  how far a file's times tell two changes apart
"""

from __future__ import annotations

from zc_response.sources.cache import OpenFiles, descriptor_limit, open_files
from zc_response.sources.file import (
    PRIVATE,
    SEALED,
    SNAPSHOT,
    Facts,
    FileSource,
    Fixed,
    Validators,
)
from zc_response.sources.memory import Draft, MemoryFile
from zc_response.sources.places import place_of
from zc_response.sources.producers import PROCESSES, Producer
from zc_response.sources.root import Root
from zc_response.sources.streams import (
    SocketStream,
    Stream,
    Streamable,
    discard,
    open_stream,
)
from zc_response.sources.timestamps import grain_ns

__all__ = [
    "PRIVATE",
    "SEALED",
    "SNAPSHOT",
    "Draft",
    "Facts",
    "FileSource",
    "Fixed",
    "MemoryFile",
    "OpenFiles",
    "PROCESSES",
    "Producer",
    "Root",
    "SocketStream",
    "Stream",
    "Streamable",
    "Validators",
    "descriptor_limit",
    "discard",
    "grain_ns",
    "open_files",
    "open_stream",
    "place_of",
]

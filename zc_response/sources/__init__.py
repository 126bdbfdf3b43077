"""Where body bytes come from. A source owns its descriptor and knows its facts.

A file is opened first and looked at afterwards, through the descriptor: header fields
and body then speak of the same file, whatever happens to its name.
"""

from __future__ import annotations

from zc_response.sources.cache import OpenFiles, open_files
from zc_response.sources.file import Facts, FileSource
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
    "Facts",
    "FileSource",
    "OpenFiles",
    "PROCESSES",
    "Producer",
    "Root",
    "SocketStream",
    "Stream",
    "Streamable",
    "discard",
    "grain_ns",
    "open_files",
    "open_stream",
    "place_of",
]

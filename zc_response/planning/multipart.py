"""The multipart/byteranges body (RFC 9110 section 14.6, RFC 2046 section 5.1.1).

Segments only: the delimiters and part headers are bytes, what stands between them are
slices that nobody has read yet. A CRLF before a delimiter belongs to the delimiter.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from zc_response.planning.plan import Segment, Slice
from zc_response.planning.ranges import ByteRange

_CONTROLS: Final = dict.fromkeys((*range(32), 127))


def content_range(part: ByteRange, size: int) -> str:
    """Return the Content-Range of a part (section 14.4)."""
    return f"bytes {part.first}-{part.last}/{size}"


def byteranges(
    source: object,
    size: int,
    ranges: Iterable[ByteRange],
    boundary: str,
    content_type: str | None,
) -> tuple[Segment, ...]:
    """Return the body: one part for each range, each with the file's Content-Type."""
    segments: list[Segment] = []
    delimiter = f"--{boundary}\r\n"
    for part in ranges:
        segments.append(
            (delimiter + _header(part, size, content_type)).encode("latin-1")
        )
        segments.append(Slice(source, part.first, part.length))
        delimiter = f"\r\n--{boundary}\r\n"
    segments.append(f"\r\n--{boundary}--\r\n".encode("latin-1"))
    return tuple(segments)


def _header(part: ByteRange, size: int, content_type: str | None) -> str:
    # The server checks its header section; this one goes out as body, unchecked.
    kind = content_type and f"Content-Type: {content_type.translate(_CONTROLS)}\r\n"
    return f"{kind or ''}Content-Range: {content_range(part, size)}\r\n\r\n"

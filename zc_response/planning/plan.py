"""The plan: what one response will be, before a byte of it is read.

A body is a tuple of segments. A segment is either literal bytes or a slice of a
source, and both have a length, so framing needs nothing else. This module knows no
file: a source is an opaque token that travels from the caller to the transmission.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeAlias

Headers: TypeAlias = tuple[tuple[str, str], ...]
"""Header fields as (name, value), in the order in which they are sent."""


def has_no_body(method: str, status: int) -> bool:
    """True if no body may follow: HEAD, 1xx, 204, 304 (RFC 9112 section 6.3)."""
    return method == "HEAD" or status in (204, 304) or status < 200


@dataclass(frozen=True, slots=True)
class Slice:
    """`count` bytes of `source`, from `offset` on (both in bytes)."""

    source: object
    offset: int
    count: int

    def __len__(self) -> int:
        return self.count


Segment: TypeAlias = bytes | Slice
"""A stretch of a body: literal bytes, or a slice of a source."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Representation:
    """The selected representation (RFC 9110 section 3.2), as the planner sees it.

    `headers` are those of the 200 response, without Content-Length; they include
    Content-Type, Content-Encoding, Vary and whatever the view added. `etag` is the
    whole entity-tag, quotes and `W/` included. `last_modified` is in whole seconds
    since the epoch. Either validator may be missing, and one among the headers wins.
    A status other than 200 is sent as it is: no ranges, no preconditions.
    """

    source: object
    size: int
    headers: Headers = ()
    etag: str | None = None
    last_modified: int | None = None
    status: int = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Status, header fields and body of one response.

    The lengths of the segments add up to Content-Length. Only a plan for HEAD has no
    segments and yet a Content-Length above 0: that of the GET.
    """

    status: int
    headers: Headers
    segments: tuple[Segment, ...] = ()

    def __len__(self) -> int:
        return sum(map(len, self.segments))

    def without_body(self) -> Plan:
        """The same status and header fields, nothing after them (HEAD)."""
        return replace(self, segments=())

"""The planner: from a request and a representation to a plan (RFC 9110).

First the status, by preconditions and ranges; then what that status sends: header
fields and bytes. Knows no framework and reads nothing.

The representation's header fields are the view's. They stay in their order, and ours
come after them. What the view has set is not set again, save for the fields that frame
the body: those are ours alone.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from zc_response.planning import preconditions, ranges
from zc_response.planning.multipart import byteranges, content_range
from zc_response.planning.plan import Headers, Plan, Representation, Slice
from zc_response.planning.ranges import ByteRange
from zc_response.planning.validators import http_date, parse_http_date

_FRAMING: Final = frozenset({"content-length", "transfer-encoding"})
_FRAMING_OR_RANGE: Final = _FRAMING | {"content-range"}

# Statuses without content, and so without Content-Length (section 8.6).
_NO_CONTENT: Final = frozenset({204, 304})

# Representation metadata (section 8) is what begins with "Content-", and these ...
_METADATA: Final = frozenset({"accept-ranges", "etag", "last-modified", "repr-digest"})
# ... but for these, which only sound like it.
_NOT_METADATA: Final = frozenset(
    {"content-security-policy", "content-security-policy-report-only"}
)

# Meant for the 200. A cache may keep any status that comes with a lifetime (RFC 9111
# section 3); a kept 416 or 412 would then answer plain GETs.
_LIFETIME: Final = frozenset({"cache-control", "expires"})

# 128 random bits: no file can hold its own boundary, and so end a part early.
_new_boundary: Final = partial(secrets.token_hex, 16)


def plan(
    method: str,
    request: Mapping[str, str],
    representation: Representation,
    *,
    max_parts: int = 16,
    new_boundary: Callable[[], str] = _new_boundary,
) -> Plan:
    """Return the response to a request that selected a representation.

    `request` has lower-case names and repeated fields joined by ", "; only Range and
    the conditional fields are looked at. More than `max_parts` ranges are answered
    with the whole file; with 0, ranges are not offered.
    """
    if representation.status != 200:
        answer = _as_it_is(representation)
    else:
        view = {name.lower(): value for name, value in representation.headers}
        head = _head(representation, view, max_parts)
        status, parts = _decide(method, request, representation, view, max_parts)
        if status == 200:
            answer = _whole(representation, head)
        elif status == 206:
            answer = _partial(representation, head, parts, new_boundary)
        elif status == 304:
            answer = _not_modified(head)
        else:
            answer = _refused(status, head, representation.size)
    return answer.without_body() if method == "HEAD" else answer


def _decide(
    method: str,
    request: Mapping[str, str],
    representation: Representation,
    view: Mapping[str, str],
    max_parts: int,
) -> tuple[int, tuple[ByteRange, ...]]:
    """Return the status, and the ranges of a 206, in the order of section 13.2.2.

    Preconditions are for GET and HEAD: what another method had to do is done by now,
    and a 412 would deny it. Range is for GET (section 14.2).
    """
    if method not in preconditions.SAFE:
        return 200, ()
    etag = view.get("etag", representation.etag)
    last_modified = _last_modified(representation, view)
    status = preconditions.evaluate(method, request, etag, last_modified)
    if status is not None:
        return status, ()
    if method == "HEAD" or "range" not in request:
        return 200, ()
    if "if-range" in request and not ranges.if_range(
        request["if-range"], etag, last_modified
    ):
        return 200, ()
    most = _most_parts(view, max_parts)
    parts = ranges.parse(request["range"], representation.size) if most else None
    if parts is None or len(parts) > most:
        return 200, ()
    return (206, parts) if parts else (416, ())


def _last_modified(
    representation: Representation, view: Mapping[str, str]
) -> int | None:
    if "last-modified" in view:
        return parse_http_date(view["last-modified"])
    return representation.last_modified


def _most_parts(view: Mapping[str, str], max_parts: int) -> int:
    """Return how many ranges may be served, 0 for none.

    Of encoded bytes one: Content-Encoding would speak of the whole multipart, its
    delimiters included.
    """
    if view.get("accept-ranges") == "none":
        return 0
    return min(max_parts, 1) if "content-encoding" in view else max_parts


# What each status sends. A head is the 200's header section without Content-Length.


def _head(
    representation: Representation, view: Mapping[str, str], max_parts: int
) -> Headers:
    head = representation.headers
    if not _FRAMING_OR_RANGE.isdisjoint(view):
        head = _without(head, _FRAMING_OR_RANGE.__contains__)
    if representation.etag is not None and "etag" not in view:
        head += (("ETag", representation.etag),)
    if representation.last_modified is not None and "last-modified" not in view:
        head += (("Last-Modified", http_date(representation.last_modified)),)
    if max_parts and "accept-ranges" not in view:
        head += (("Accept-Ranges", "bytes"),)
    return head


def _whole(representation: Representation, head: Headers) -> Plan:
    size = representation.size
    return Plan(
        status=representation.status,
        headers=(*head, ("Content-Length", str(size))),
        segments=(Slice(representation.source, 0, size),) if size else (),
    )


def _partial(
    representation: Representation,
    head: Headers,
    parts: tuple[ByteRange, ...],
    new_boundary: Callable[[], str],
) -> Plan:
    """Return a 206: one range as it is, several in a multipart (section 15.3.7)."""
    if len(parts) > 1:
        return _multipart(representation, head, parts, new_boundary())
    (part,) = parts
    return Plan(
        status=206,
        headers=(
            *head,
            ("Content-Range", content_range(part, representation.size)),
            ("Content-Length", str(part.length)),
        ),
        segments=(Slice(representation.source, part.first, part.length),),
    )


def _multipart(
    representation: Representation,
    head: Headers,
    parts: tuple[ByteRange, ...],
    boundary: str,
) -> Plan:
    content_type = {name.lower(): value for name, value in head}.get("content-type")
    segments = byteranges(
        representation.source, representation.size, parts, boundary, content_type
    )
    return Plan(
        status=206,
        headers=(
            *_without(head, "content-type".__eq__),
            ("Content-Type", f"multipart/byteranges; boundary={boundary}"),
            ("Content-Length", str(sum(map(len, segments)))),
        ),
        segments=segments,
    )


def _not_modified(head: Headers) -> Plan:
    """Return a 304, with what guides a cache and what is no metadata.

    Last-Modified guides one where there is no entity-tag (section 15.4.5).
    """
    tagged = any(name.lower() == "etag" for name, _ in head)
    guides = ("content-location", "etag" if tagged else "last-modified")
    return Plan(
        status=304,
        headers=_without(head, lambda name: _is_metadata(name) and name not in guides),
    )


def _refused(status: int, head: Headers, size: int) -> Plan:
    """Return a 412 or 416: empty, and nothing that describes the representation."""
    kept = _without(head, lambda name: _is_metadata(name) or name in _LIFETIME)
    if status == 416:
        kept += (("Content-Range", f"bytes */{size}"),)
    return Plan(status=status, headers=(*kept, ("Content-Length", "0")))


def _as_it_is(representation: Representation) -> Plan:
    """Return a response that no request field has a say in, such as an error page.

    Validators would invite requests that it has no answer to; none are added.
    """
    headers = _without(representation.headers, _FRAMING.__contains__)
    if representation.status in _NO_CONTENT:
        return Plan(status=representation.status, headers=headers)
    return _whole(representation, headers)


def _is_metadata(name: str) -> bool:
    return name in _METADATA or (
        name.startswith("content-") and name not in _NOT_METADATA
    )


def _without(headers: Headers, unwanted: Callable[[str], bool]) -> Headers:
    """Return the fields whose lower-case name is not unwanted."""
    return tuple(field for field in headers if not unwanted(field[0].lower()))

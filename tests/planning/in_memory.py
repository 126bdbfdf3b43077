"""An origin server in memory: the planner, and content to take its slices from."""

from __future__ import annotations

from collections.abc import Iterable

from tests.range_cases import Answer
from zc_response.planning import Plan, Representation, Slice, plan

CONTENT = bytes(range(251)) * 220  # 251 is prime: no two stretches look alike
DATE = ("Date", "Wed, 21 Oct 2015 07:28:00 GMT")  # any server adds one


def respond(
    method: str,
    fields: Iterable[tuple[str, str]],
    representation: Representation,
    *,
    max_parts: int = 16,
) -> Answer:
    """Return the answer to a request; the representation's source is its content."""
    planned = plan(method, joined(fields), representation, max_parts=max_parts)
    return Answer(
        status=planned.status,
        headers=(*planned.headers, DATE),
        body=body(planned),
        content=content(representation),
    )


def joined(fields: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return a request's fields as the planner takes them."""
    request: dict[str, str] = {}
    for name, value in fields:
        before = request.get(name.lower())
        request[name.lower()] = value if before is None else f"{before}, {value}"
    return request


def body(planned: Plan) -> bytes:
    """Return the bytes that the segments stand for."""
    return b"".join(
        _read(segment) if isinstance(segment, Slice) else segment
        for segment in planned.segments
    )


def _read(part: Slice) -> bytes:
    assert isinstance(part.source, bytes)
    return part.source[part.offset : part.offset + part.count]


def content(representation: Representation) -> bytes:
    """Return the content of a representation."""
    assert isinstance(representation.source, bytes)
    return representation.source


def representation(size: int = 1000, **facts: object) -> Representation:
    """Return a text file of this size."""
    return Representation(source=CONTENT[:size], size=size, **facts)  # type: ignore[arg-type]

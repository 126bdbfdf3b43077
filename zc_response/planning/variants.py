"""Variants: which content coding to send (RFC 9110 sections 8.4.1, 12.5.3, 12.5.5).

Knows the names of codings and the field the client sent, and what is worth having in
another one; which variants there are, the caller has to know.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from functools import lru_cache
from typing import Final

from zc_response.planning.plan import Headers

SUFFIXES: Final = {"zstd": ".zst", "br": ".br", "gzip": ".gz"}
"""Content coding to file name suffix, best first."""

_CODING: Final = re.compile(
    r"([-!#$%&'*+.^_`|~0-9A-Za-z]+)"  # coding, "identity" or "*"
    r"(?:[ \t]*;[ \t]*[Qq]=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?))?"
)


def choose_coding(
    accept_encoding: str | None, available: Collection[str]
) -> str | None:
    """Return the content coding to send, None for identity.

    The client's weights decide, and among equals the order of `SUFFIXES`. Identity is
    sent where nothing else fits, refused or not: section 12.5.3 prefers that to 406.
    """
    weights = parse_accept_encoding(accept_encoding or "")
    anything = weights.get("*", 0.0)
    least = weights.get("identity", 0.0)

    def weight(coding: str) -> float:
        return weights.get(coding, anything)

    acceptable = [c for c in SUFFIXES if c in available and 0 < weight(c) >= least]
    return max(acceptable, key=weight, default=None)  # the first among equals


@lru_cache(maxsize=256)  # clients are many, their values of this field are few
def parse_accept_encoding(field: str) -> Mapping[str, float]:
    """Return the weight of each coding named, nothing if the field is malformed."""
    weights: dict[str, float] = {}
    for element in field.split(","):
        if stripped := element.strip(" \t"):
            match = _CODING.fullmatch(stripped)
            if match is None:
                return {}
            # x-gzip is gzip, x-compress is compress (section 8.4.1)
            weights[match[1].lower().removeprefix("x-")] = float(match[2] or 1)
    return weights


def vary_on_encoding(vary: str | None) -> str:
    """Return a Vary value that names Accept-Encoding too, if it is not there yet.

    To be sent wherever variants can exist, with identity too (section 12.5.5).
    """
    names = [name.strip(" \t").lower() for name in (vary or "").split(",")]
    if vary and ("*" in names or "accept-encoding" in names):
        return vary
    return f"{vary}, Accept-Encoding" if vary else "Accept-Encoding"


def encoded(headers: Headers, coding: str, *, vary: bool) -> Headers:
    """Return a view's header fields of a 200, as they are with a content coding.

    "" is identity. Where there are others to choose from (`vary`), an entity-tag of the
    view's own that is strong speaks for the identity alone (section 8.8.3.3): with
    another coding it is another one. A weak one may be the same for all.
    """
    if coding:
        headers = _with(headers, "Content-Encoding", coding)
    if vary:
        headers = _with(headers, "Vary", vary_on_encoding(_value(headers, "vary")))
        tag = _value(headers, "etag")
        if coding and len(tag) > 1 and tag[0] == tag[-1] == '"':
            headers = _with(headers, "ETag", f'{tag[:-1]}:{coding}"')
    return headers


def _value(headers: Headers, name: str) -> str:
    """Return a field's value; one that is repeated is a list (section 5.3)."""
    return ", ".join(value for known, value in headers if known.lower() == name)


def _with(headers: Headers, name: str, value: str) -> Headers:
    """Return the fields with one of them set, in the place that it has."""
    fields = [field for field in headers if field[0].lower() != name.lower()]
    place = next((i for i, f in enumerate(headers) if f not in fields), len(fields))
    return (*fields[:place], (name, value), *fields[place:])


# What is worth compressing as it is sent.

LEAST_BYTES: Final = 1024
"""Of a smaller body the header section is as large; it fits into one segment anyhow."""
MOST_BYTES: Final = 64 * 1024 * 1024
"""What takes a thread a second or more; whoever has larger files compresses them
beforehand."""

_TYPES: Final = frozenset(
    {
        "application/atom+xml", "application/dash+xml", "application/ecmascript",
        "application/geo+json", "application/javascript", "application/json",
        "application/ld+json", "application/manifest+json", "application/rss+xml",
        "application/rtf", "application/sql", "application/toml",
        "application/vnd.apple.mpegurl", "application/vnd.ms-fontobject",
        "application/wasm", "application/x-javascript", "application/x-ndjson",
        "application/x-sh", "application/x-tar", "application/xhtml+xml",
        "application/xml", "application/yaml", "font/otf", "font/ttf", "image/bmp",
        "image/svg+xml", "image/x-icon", "model/gltf+json", "model/obj",
    }
)  # fmt: skip
"""Media types that are neither text nor compressed by themselves."""
_SUFFIXES: Final = ("+json", "+xml", "+yaml", "+text")


def is_compressible(media_type: str) -> bool:
    """Tell whether content of this type usually shrinks by more than a tenth."""
    kind = media_type.partition(";")[0].strip(" \t").lower()
    if kind.startswith("text/"):
        return kind != "text/event-stream"  # it would wait in the compressor
    return kind in _TYPES or kind.endswith(_SUFFIXES)


def is_worth_compressing(headers: Headers, size: int) -> bool:
    """Tell whether a 200 with these fields and so many bytes is to be compressed.

    Not what has a coding already, nor what the view forbids to transform (RFC 9111
    section 5.2.2.6), nor what it has given a tag of its own: that speaks for one
    sequence of bytes only (RFC 9110 section 8.8.3).
    """
    if not LEAST_BYTES <= size <= MOST_BYTES:
        return False
    fields = {name.lower(): value for name, value in headers}
    if "content-encoding" in fields or "etag" in fields:
        return False
    if "no-transform" in fields.get("cache-control", "").lower():
        return False
    return is_compressible(fields.get("content-type", ""))

"""Variants: which content coding to send (RFC 9110 sections 8.4.1, 12.5.3, 12.5.5).

Knows the names of codings and the field the client sent; which variants there are,
and what they weigh, the caller has to know.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from functools import lru_cache
from typing import Final

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

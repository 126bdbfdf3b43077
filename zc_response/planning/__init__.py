"""Deciding what to answer: pure functions from a request and facts to a plan.

Nothing in this package reads a file, a clock or a socket, or knows a framework. It
answers one question, once per request: given these request headers and this
representation, which status, which header fields, which bytes (RFC 9110)?

    planner         puts it together; the modules below know nothing of it
    preconditions   If-Match and the like
    ranges          Range and If-Range
    multipart       the body of several ranges
    validators      entity tags and dates: made, read, compared
    variants        content codings
    disposition     a name for the file saved
    plan            the words they share
"""

from __future__ import annotations

from zc_response.planning.disposition import content_disposition, plain_name
from zc_response.planning.plan import (
    Headers,
    Plan,
    Representation,
    Segment,
    Slice,
    has_no_body,
)
from zc_response.planning.planner import plan
from zc_response.planning.validators import (
    EntityTag,
    etag_from_change,
    etag_from_content,
    etag_from_mtime,
    http_date,
    is_placeholder,
    is_young,
    last_modified,
    parse_http_date,
)
from zc_response.planning.variants import (
    SUFFIXES,
    choose_coding,
    encoded,
    is_compressible,
    is_worth_compressing,
    vary_on_encoding,
)

__all__ = [
    # The plan
    "Headers",
    "Plan",
    "Representation",
    "Segment",
    "Slice",
    "has_no_body",
    "plan",
    # Validators
    "EntityTag",
    "etag_from_change",
    "etag_from_content",
    "etag_from_mtime",
    "http_date",
    "is_placeholder",
    "is_young",
    "last_modified",
    "parse_http_date",
    # Variants
    "SUFFIXES",
    "choose_coding",
    "encoded",
    "is_compressible",
    "is_worth_compressing",
    "vary_on_encoding",
    # A name for the file saved
    "content_disposition",
    "plain_name",
]  # fmt: skip

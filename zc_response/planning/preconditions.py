"""Preconditions: is this what the client has, or expects (RFC 9110 section 13)?

Each condition is a function of one field and a validator; `evaluate` asks them in the
order of section 13.2.2. If-Range, the last step there, is in `ranges`: it cannot
refuse a request.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, Literal

from zc_response.planning.validators import EntityTag, entity_tags, parse_http_date

SAFE: Final = frozenset({"GET", "HEAD"})


def evaluate(
    method: str,
    request: Mapping[str, str],
    etag: str | None,
    last_modified: int | None,
) -> Literal[304, 412] | None:
    """Return the status that ends the request, None to go on.

    For a method that changes something, ask before it is performed: 412 says that it
    was not.
    """
    if not _is_expected(request, etag, last_modified):
        return 412
    if not _is_news(method, request, etag, last_modified):
        return 304 if method in SAFE else 412
    return None


def _is_expected(
    request: Mapping[str, str], etag: str | None, last_modified: int | None
) -> bool:
    """Take steps 1 and 2: If-Match, and only where that is missing, the date."""
    if "if-match" in request:
        return if_match(request["if-match"], etag)
    if "if-unmodified-since" in request:
        return if_unmodified_since(request["if-unmodified-since"], last_modified)
    return True


def _is_news(
    method: str,
    request: Mapping[str, str],
    etag: str | None,
    last_modified: int | None,
) -> bool:
    """Take steps 3 and 4: If-None-Match, and only where that is missing, the date."""
    if "if-none-match" in request:
        return if_none_match(request["if-none-match"], etag)
    if "if-modified-since" in request and method in SAFE:
        return if_modified_since(request["if-modified-since"], last_modified)
    return True


def if_match(field: str, etag: str | None) -> bool:
    """Tell whether the condition is true (section 13.1.1: strong comparison)."""
    return field == "*" or _lists(field, etag, EntityTag.strongly_equals)


def if_none_match(field: str, etag: str | None) -> bool:
    """Tell whether the condition is true (section 13.1.2: weak comparison)."""
    return field != "*" and not _lists(field, etag, EntityTag.weakly_equals)


def _lists(
    field: str, etag: str | None, equal: Callable[[EntityTag, EntityTag], bool]
) -> bool:
    current = EntityTag.parse(etag or "")
    return current is not None and any(
        equal(current, tag) for tag in entity_tags(field)
    )


def if_modified_since(field: str, last_modified: int | None) -> bool:
    """Tell whether the condition is true; without two dates it is (section 13.1.3)."""
    since = parse_http_date(field)
    return since is None or last_modified is None or last_modified > since


def if_unmodified_since(field: str, last_modified: int | None) -> bool:
    """Tell whether the condition is true; without two dates it is (section 13.1.4)."""
    since = parse_http_date(field)
    return since is None or last_modified is None or last_modified <= since

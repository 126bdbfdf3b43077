"""From an open file to the representation that the planner decides about.

Here the facts of a descriptor meet the policy and the clock; the planner itself knows
neither.
"""

from __future__ import annotations

import time
from typing import Final

from zc_response.planning import (
    Headers,
    Representation,
    etag_from_change,
    etag_from_mtime,
    is_placeholder,
    is_young,
    last_modified,
)
from zc_response.policy import Policy
from zc_response.sources import Facts, FileSource, Validators, grain_ns

_SECOND_NS: Final = 1_000_000_000
_SETTLED_NS: Final = 3 * _SECOND_NS  # longer than any filesystem's grain


def represent(
    source: FileSource,
    headers: Headers,
    policy: Policy,
    *,
    status: int = 200,
    coding: str = "",
) -> Representation:
    """The representation that `source` holds, with its validators.

    `headers` are those of a 200 response; `coding` is the content coding of the file's
    bytes, if they are an encoded variant of another file.
    """
    etag, modified = source.validators or validators(source.facts, policy, coding)
    return Representation(
        source=source,
        size=source.facts.size,
        headers=headers,
        etag=etag,
        last_modified=modified,
        status=status,
    )


def validators(facts: Facts, policy: Policy, coding: str = "") -> Validators:
    """What follows from a file's facts, as they are now."""
    return Validators(
        entity_tag(facts, policy.etag, suffix=coding),
        last_modified(facts.mtime_ns, time.time_ns()),
    )


def is_settled(mtime_ns: int) -> bool:
    """True if a change at that time can no longer hide another one after it."""
    return mtime_ns < time.time_ns() - _SETTLED_NS


def entity_tag(facts: Facts, made_of: str, *, suffix: str = "") -> str | None:
    """The entity-tag of an open file; `made_of` is what `Policy.etag` says.

    It is weak while a second change could still hide behind the same timestamp, and
    there is none if it would rest on an mtime that says nothing.
    """
    grain = grain_ns(facts.filesystem)
    weak = grain > 0 and is_young(facts.mtime_ns, time.time_ns(), grain)
    if made_of == "change":
        return etag_from_change(
            facts.inode,
            facts.ctime_ns,
            facts.mtime_ns,
            facts.size,
            suffix=suffix,
            weak=weak,
        )
    if is_placeholder(facts.mtime_ns):
        return None
    return etag_from_mtime(facts.mtime_ns, facts.size, suffix=suffix, weak=weak)

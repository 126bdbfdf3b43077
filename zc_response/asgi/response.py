"""Sending a plan, by the best message that the server understands."""

from __future__ import annotations

import os
from collections.abc import MutableMapping
from typing import Any, Final, NamedTuple

from zc_response.asgi.copying import InThread, copy_body
from zc_response.asgi.messages import (
    EXTENSION,
    PATHSEND,
    SEGMENTS,
    ZEROCOPYSEND,
    Message,
    Scope,
    Send,
)
from zc_response.guards import COUNT
from zc_response.planning import Plan, Segment, Slice
from zc_response.policy import Policy
from zc_response.report import Tally
from zc_response.sources import FileSource
from zc_response.transmit import Strategy

_CONDITIONS: Final = frozenset(
    (
        b"range",
        b"if-match",
        b"if-none-match",
        b"if-modified-since",
        b"if-unmodified-since",
        b"if-range",
        b"accept-encoding",
    )
)


def conditions(scope: Scope) -> dict[str, str]:
    """The request's header fields on which a plan depends, repeated ones joined."""
    found: dict[str, str] = {}
    for name, value in scope["headers"]:
        if name in _CONDITIONS:
            key, text = name.decode("latin-1"), value.decode("latin-1")
            found[key] = f"{found[key]}, {text}" if key in found else text
    return found


def has_zero_copy(scope: Scope, policy: Policy) -> bool:
    """True if `respond` can hand the body to the server instead of reading it."""
    offers = scope.get("extensions") or {}
    return policy.zero_copy and (PATHSEND in offers or ZEROCOPYSEND in offers)


class Answer(NamedTuple):
    """A plan, and its header fields as ASGI wants them."""

    plan: Plan
    headers: tuple[tuple[bytes, bytes], ...]

    @classmethod
    def of(cls, plan: Plan) -> Answer:
        """The answer that sends `plan`."""
        fields = [(n.encode("latin-1"), v.encode("latin-1")) for n, v in plan.headers]
        return cls(plan, tuple(fields))


async def respond(
    scope: Scope,
    send: Send,
    answer: Answer,
    path: str,
    policy: Policy,
    in_thread: InThread,
) -> None:
    """Send an answer by the best message that `scope` offers, else by copying.

    `path` names the file, in reports and to servers that open it themselves. The
    plan's sources stay the caller's: they must be open until this returns.
    """
    plan = answer.plan
    await send(
        {
            "type": "http.response.start",
            "status": plan.status,
            "headers": list(answer.headers),  # middleware may change its list
        }
    )
    offers = scope.get("extensions") or {}
    if not plan.segments:
        await send({"type": "http.response.body", "body": b"", "more_body": False})
    elif policy.zero_copy and _is_hooked(offers):
        await send({"type": PATHSEND, "path": path, SEGMENTS: plan.segments})
    else:
        await _respond_without_hook(offers, send, plan, path, policy, in_thread)


def _is_hooked(offers: MutableMapping[str, Any]) -> bool:
    return EXTENSION in offers and not offers[EXTENSION]["obstacle"]


async def _respond_without_hook(
    offers: MutableMapping[str, Any],
    send: Send,
    plan: Plan,
    path: str,
    policy: Policy,
    in_thread: InThread,
) -> None:
    hook = offers.get(EXTENSION)
    native = _native_messages(offers, plan, path) if policy.zero_copy else None
    with Tally(
        path=path,
        status=plan.status,
        promised=len(plan),
        strategy=native[0]["type"] if native else Strategy.COPY,
        reason="the server's own" if native else _obstacle(hook, policy),
        guard=COUNT,
    ) as tally:
        if native:
            for message in native:
                await send(message)
            tally.sent = len(plan)
        else:
            await copy_body(send, plan.segments, tally, policy, in_thread)
            await send({"type": "http.response.body", "body": b"", "more_body": False})


def _obstacle(hook: Any, policy: Policy) -> str:
    if not policy.zero_copy:
        return "switched off"
    return hook["obstacle"] if hook else "the server has no zero copy and no hook"


class _Descriptor(int):
    """A descriptor for either reading of the specification: a number, with fileno()."""

    def fileno(self) -> int:
        return int(self)


def _native_messages(
    offers: MutableMapping[str, Any], plan: Plan, path: str
) -> list[Message]:
    """The plan in the messages of a server with zero copy of its own, if it has any."""
    only = plan.segments[0]
    if ZEROCOPYSEND in offers:
        messages = [_native_message(segment) for segment in plan.segments]
        messages[-1]["more_body"] = False
        return messages
    if PATHSEND in offers and len(plan.segments) == 1 and isinstance(only, Slice):
        source = only.source
        whole = isinstance(source, FileSource) and len(only) == source.facts.size
        if whole:
            return [{"type": PATHSEND, "path": os.path.abspath(path)}]
    return []


def _native_message(segment: Segment) -> Message:
    if isinstance(segment, bytes):
        return {"type": "http.response.body", "body": segment, "more_body": True}
    assert isinstance(segment.source, FileSource)
    return {
        "type": ZEROCOPYSEND,
        "file": _Descriptor(segment.source.fileno()),
        "offset": segment.offset,
        "count": segment.count,
        "more_body": True,
    }

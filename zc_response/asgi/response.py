"""Sending a plan, by the best message that the server understands."""

from __future__ import annotations

import os
from collections.abc import Coroutine, MutableMapping, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

from zc_response.asgi.copying import InThread, copy_body, copy_stream
from zc_response.asgi.exchange import Exchange
from zc_response.asgi.messages import (
    EXTENSION,
    PATHSEND,
    POLICY,
    SEGMENTS,
    STREAM,
    ZEROCOPYSEND,
    Fields,
    Message,
    Scope,
    Send,
)
from zc_response.asgi.middleware import Shortcut, offer, shortcut
from zc_response.asgi.waiting import Waiting
from zc_response.errors import FileChangedError
from zc_response.guards import COUNT, LEASE, STAT
from zc_response.planning import Plan, Segment, Slice
from zc_response.policy import Policy
from zc_response.report import Tally, is_wanted
from zc_response.sources import FileSource, Fixed, Stream
from zc_response.transmit import (
    Access,
    Body,
    Strategy,
    gather,
    gather_at_once,
    is_huge,
    source_of,
)

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


class Answer(NamedTuple):
    """A plan, its header fields as ASGI wants them, and its body's length in bytes."""

    plan: Plan
    headers: Fields
    length: int

    @classmethod
    def of(cls, plan: Plan) -> Answer:
        """The answer that sends `plan`."""
        fields = [
            (name.lower().encode("latin-1"), value.encode("latin-1"))
            for name, value in plan.headers
        ]
        return cls(plan, tuple(fields), len(plan))


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
    segments = answer.plan.segments
    offers = scope.get("extensions") or {}
    if not segments:
        await send(_start(answer))
        await send({"type": "http.response.body", "body": b"", "more_body": False})
    elif policy.zero_copy and _is_hooked(offers):
        carried = {SEGMENTS: segments, POLICY: policy}
        await send(_start(answer))
        await send({"type": PATHSEND, "path": path, **carried})
    elif native := _native_messages(offers, answer.plan, path, policy):
        await _respond_natively(send, answer, native, path)
    else:
        obstacle = _obstacle(offers, policy)
        await _respond_by_copying(send, answer, path, policy, in_thread, obstacle)


def respond_past(
    scope: Scope, send: Send, answer: Answer, path: str, policy: Policy
) -> Coroutine[Any, Any, None] | None:
    """The sending of an answer past everybody who only watches.

    None if somebody is there who may change the messages, or who wants a report of a
    small body, or if that has to be read from a disk first.
    """
    plan, headers, length = answer
    hook = (scope.get("extensions") or {}).get(EXTENSION)
    if not length or not policy.zero_copy or (hook and hook["obstacle"]):
        return None
    way = shortcut(send)
    if way is None or way.connection.bodiless(plan.status):
        return None
    if is_small(answer, policy):
        body = None if is_wanted() else gather_at_once(plan.segments, policy)
        if body is None:
            return None
        way.note()
        return way.connection.send_whole(plan.status, headers, body)
    exchange = way.inner
    if not isinstance(exchange, Exchange):
        exchange = Exchange(way.connection, way.inner, policy)
    return _deliver_past(way, exchange, answer, path, policy)


async def _deliver_past(
    way: Shortcut, exchange: Exchange, answer: Answer, path: str, policy: Policy
) -> None:
    plan, headers, _length = answer
    way.note()
    try:
        await exchange.deliver(plan.status, headers, plan.segments, path, policy)
    except FileChangedError:
        way.take_back()
        raise


async def respond_small(
    scope: Scope,
    send: Send,
    answer: Answer,
    path: str,
    policy: Policy,
    in_thread: InThread,
) -> None:
    """Send an answer whose body is read first, so that it can leave in one write."""
    _, exchange = offer(scope, send, policy)
    if exchange is not None:
        send = exchange.send
    with Tally(
        path=path,
        status=answer.plan.status,
        promised=answer.length,
        strategy=Strategy.COPY,
        reason="small" if policy.zero_copy else "switched off",
        guard=_guard(answer.plan.segments, policy),
    ) as tally:
        segments = answer.plan.segments
        body = gather_at_once(segments, policy)
        if body is None:
            slices = (piece for piece in segments if isinstance(piece, Slice))
            filesystem = source_of(next(slices)).facts.device
            read = partial(gather, segments, policy, tally)
            timeout = policy.stall_timeout
            body = await in_thread(filesystem, read, timeout=timeout)
        await send(_start(answer))
        body = bytes(body)
        await send({"type": "http.response.body", "body": body, "more_body": False})
        tally.sent = answer.length


def is_driven(scope: Scope, policy: Policy) -> bool:
    """True if a body is handed to our hook in the server, and so to a driver.

    Who reads it instead has to notice himself when the client leaves.
    """
    return policy.zero_copy and _is_hooked(scope.get("extensions") or {})


async def respond_stream(
    scope: Scope,
    send: Send,
    start: Message,
    stream: Stream,
    promised: int | None,
    policy: Policy,
    waiting: Waiting,
) -> None:
    """Send a response whose body is a stream, of `promised` bytes if that is known.

    `start` is its start message. The stream stays the caller's to close.
    """
    offers = scope.get("extensions") or {}
    if is_driven(scope, policy):
        carried = {STREAM: stream, POLICY: policy}
        await send(start)
        await send({"type": PATHSEND, "path": stream.name, **carried})
        return
    with Tally(
        path=stream.name,
        status=start["status"],
        promised=promised or 0,
        strategy=Strategy.COPY,
        reason=_obstacle(offers, policy),
        guard=COUNT,
    ) as tally:
        await send(start)
        is_promised = promised is not None
        await copy_stream(send, stream, tally, policy, waiting, is_promised=is_promised)
    await send({"type": "http.response.body", "body": b"", "more_body": False})


def is_small(answer: Answer, policy: Policy) -> bool:
    """True if a body costs less to read than to send by reference.

    One that has to be paced goes by reference whatever its size: only there does the
    kernel's pace belong to one response.
    """
    return 0 < answer.length <= policy.small_bytes and not policy.max_rate


def _start(answer: Answer) -> Message:
    return {
        "type": "http.response.start",
        "status": answer.plan.status,
        "headers": list(answer.headers),  # middleware may change its list
    }


_GUARDS: Final = {"fast": COUNT, "safe": STAT, "strict": LEASE}
"""What stands behind a body that is read in one go, without waiting."""


def _guard(segments: Sequence[Segment], policy: Policy) -> str:
    fixed = _fixed(segments)
    return fixed.guard if fixed is not None else _GUARDS[policy.integrity]


def _fixed(segments: Sequence[Segment]) -> Fixed | None:
    """What keeps the file of a plan from being changed: its slices are of one."""
    return next(
        source_of(piece).fixed for piece in segments if isinstance(piece, Slice)
    )


def _is_hooked(offers: MutableMapping[str, Any]) -> bool:
    return EXTENSION in offers and not offers[EXTENSION]["obstacle"]


async def _respond_natively(
    send: Send, answer: Answer, messages: list[Message], path: str
) -> None:
    fixed = _fixed(answer.plan.segments)
    with Tally(
        path=path,
        status=answer.plan.status,
        promised=answer.length,
        strategy=messages[0]["type"],
        reason="the server's own",
        guard=fixed.guard if fixed is not None else COUNT,
        guard_reason=fixed.reason if fixed is not None else "",
    ) as tally:
        await send(_start(answer))
        for message in messages:
            await send(message)
        tally.sent = answer.length


async def _respond_by_copying(
    send: Send,
    answer: Answer,
    path: str,
    policy: Policy,
    in_thread: InThread,
    obstacle: str,
) -> None:
    body = Body(answer.plan.segments, policy)
    status, count = answer.plan.status, answer.length
    access = Access(None, obstacle)
    try:
        with body.account(
            access, policy, path=path, status=status, count=count
        ) as tally:
            await send(_start(answer))
            await copy_body(send, body, tally, policy, in_thread)
    finally:
        body.close()
    # Some servers take this for the client's leaving, and have us cancelled in it.
    await send({"type": "http.response.body", "body": b"", "more_body": False})


def _obstacle(offers: MutableMapping[str, Any], policy: Policy) -> str:
    hook = offers.get(EXTENSION)
    if not policy.zero_copy:
        return "switched off"
    if hook:
        obstacle: str = hook["obstacle"]
        return obstacle
    if PATHSEND in offers or ZEROCOPYSEND in offers:
        lacks = "cleans nothing up" if policy.integrity == "fast" else "has no guards"
        return f"the server's own zero copy {lacks}"
    return "the server has no zero copy and no hook"


class _Descriptor(int):
    """A descriptor for either reading of the specification: a number, with fileno()."""

    def fileno(self) -> int:
        return int(self)


def _native_messages(
    offers: MutableMapping[str, Any], plan: Plan, path: str, policy: Policy
) -> list[Message]:
    """The plan in the messages of a server with zero copy of its own, if it has any.

    Only under `fast`: nobody can keep a file honest there, nor tell what became of it;
    granian's `send` returns before a byte of it has been read. And where the server
    reads the file too, that saves little (a tenth to a fifth of the CPU time there).
    Nor can its pages be kept out of the page cache.
    """
    if not policy.zero_copy or policy.integrity != "fast":
        return []
    if policy.cache == "drop" or is_huge(policy, len(plan)):
        return []
    only = plan.segments[0]
    if ZEROCOPYSEND in offers:
        messages = [_native_message(segment) for segment in plan.segments]
        messages[-1]["more_body"] = False
        return messages
    if PATHSEND in offers and len(plan.segments) == 1 and isinstance(only, Slice):
        source = only.source
        if (
            isinstance(source, FileSource)
            and source.fixed is None  # else the path does not lead to it
            and len(only) == source.facts.size
        ):
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

"""What the command does: open the file, hold it as a server would, read the table."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

from zc_response.cli.explain.cases import access_to, verdicts
from zc_response.errors import PolicyError, SourceError
from zc_response.guards import close_all
from zc_response.planning import Slice
from zc_response.policy import Policy
from zc_response.report import Tally
from zc_response.sources import FileSource
from zc_response.transmit import Access, Body, Choice, Outbox, Transfer, body_into
from zc_response.transmit.choose import Case


class ExplainError(Exception):
    """Why nothing can be said; its text is what the user reads."""


def explain(path: str, *, server: str, peer: str) -> list[str]:
    """The choice for a file, and the reason, in lines. Raises ExplainError."""
    try:
        policy = Policy.from_environment()
        with FileSource.open(path) as source:
            return list(_explain(source, policy, server, peer))
    except (PolicyError, SourceError) as exc:
        raise ExplainError(str(exc)) from exc
    finally:
        close_all()


def _explain(
    source: FileSource, policy: Policy, server: str, peer: str
) -> Iterator[str]:
    count, access = source.facts.size, access_to(server, peer)
    yield f"{source.path}: {count:,} bytes, by {server} to a {peer} client"
    if count <= policy.small_bytes:
        most = f"{policy.small_bytes:,} bytes (small_bytes)"
        yield f"  copy: small; up to {most} leave in one write with the header fields"
        return
    with contextlib.closing(Body([Slice(source, 0, count)], policy)) as body:
        case = Case(access=access, policy=policy, is_firm=body.is_firm, count=count)
        choice = body.choose(access, policy, count)
        guard, why = body.guard, body.guard_reason
    strategy, reason = _tried(source, policy, access, choice)
    yield f"  {strategy}: {reason}"
    yield f"  guard: {guard}" + (f" ({why})" if why else "")
    yield ""
    for verdict, rule in verdicts(case):
        yield f"  {verdict:>3}  {rule.when}: {', else '.join(rule.strategies)}"


def _tried(
    source: FileSource, policy: Policy, access: Access, choice: Choice
) -> tuple[str, str]:
    """The strategy that a byte really leaves by, and why: the choice may be refused."""
    tally = Tally(
        path=source.path,
        status=200,
        promised=1,
        strategy=choice.strategy,
        reason=choice.reason,
        guard="",
    )
    body = Body([Slice(source, 0, 1)], policy)
    if access.fileno is None:
        with contextlib.closing(body):
            for _want in body_into(Outbox(policy, tally), body, policy):
                pass
        return tally.strategy, tally.reason
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    with ours, theirs:
        transfer = Transfer(body, access._replace(fileno=ours.fileno), policy, tally)
        with contextlib.closing(transfer):
            for _want in transfer.steps():  # strict waits until it has been taken
                with contextlib.suppress(BlockingIOError):
                    theirs.recv(1)
    return tally.strategy, tally.reason

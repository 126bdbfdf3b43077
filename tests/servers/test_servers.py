"""Servers of all kinds give what docs/servers.md says of them.

A part of them, and the probes that take a moment; scripts/document-servers tries all.
Those that have a hook of ours have tests of their own elsewhere.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.servers import probes
from tests.servers.kinds import KINDS, Kind, why_not
from tests.servers.page import RECORD, Row
from tests.servers.probes import MIB, Seen
from tests.servers.running import Served, served

NAMES = (
    "uvicorn, HTTP/2 (zttp)",
    "hypercorn, asyncio",
    "hypercorn, trio",
    "hypercorn, HTTP/2, TLS",
    "granian, ASGI",
    "granian, WSGI",
    "daphne, Starlette",
    "daphne, Django",
    "Django, runserver",
    "waitress, Flask",
    "uWSGI, http",
)
ONCE_HUGE = ("uvicorn, HTTP/2 (zttp)", "hypercorn, HTTP/2, TLS", "daphne, Starlette")
"""Those whose `send` never waits: they would keep the whole file."""


@pytest.fixture(scope="module", params=NAMES)
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    kind = named(request.param)
    if missing := why_not(kind):
        pytest.skip(f"{missing} is not installed")
    with served(kind, tmp_path_factory.mktemp("server")) as started:
        yield started


def named(name: str) -> Kind:
    (kind,) = (kind for kind in KINDS if kind.name == name)
    return kind


def recorded(kind: Kind) -> Row:
    rows: list[Row] = json.loads(RECORD.read_text(encoding="utf-8"))["servers"]
    (row,) = (r for r in rows if (r["server"], r["how"]) == (kind.server, kind.how))
    return row


def is_as_recorded(server: Served, seen: Seen) -> bool:
    if not RECORD.exists():
        pytest.skip("away from the checkout, which has the record")
    return {name: recorded(server.kind)[name] for name in seen} == seen


def test_a_file_is_whole_and_its_report_says_how_it_left(server: Served) -> None:
    seen = probes.whole(server)

    assert seen["whole"], server.log
    assert is_as_recorded(server, seen)


def test_ranges_and_preconditions_are_answered_as_everywhere(server: Served) -> None:
    seen = probes.ranges(server)
    assert all(seen.values()), (seen, server.log)


def test_pipes_and_files_in_memory_are_whole(server: Served) -> None:
    seen = probes.made(server)
    assert all(seen.values()), (seen, server.log)


def test_a_file_that_shrinks_never_looks_complete(server: Served) -> None:
    seen = probes.shrinking(server)

    assert seen["shrinking"] in ("cut off", "hangs")
    assert is_as_recorded(server, seen)


def test_a_client_that_leaves_costs_nothing_that_lasts(server: Served) -> None:
    assert probes.leaving(server) == {"leaving": True}, server.log


@pytest.mark.parametrize("server", ONCE_HUGE, indirect=True)
def test_memory_does_not_grow_with_the_file(server: Served) -> None:
    assert probes.memory(server, 64 * MIB)["memory MiB"] < 32

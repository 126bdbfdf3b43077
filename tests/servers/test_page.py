"""What is written about servers is what was seen, and nothing wrong was seen."""

from __future__ import annotations

import json

import pytest

from tests.servers.kinds import KINDS
from tests.servers.page import MUST_HOLD, PAGE, RECORD, Row, page
from zc_response.cli.explain.cases import OBSTACLES

pytestmark = pytest.mark.skipif(not RECORD.exists(), reason="away from the checkout")


def rows() -> list[Row]:
    found: list[Row] = json.loads(RECORD.read_text(encoding="utf-8"))["servers"]
    return found


def test_the_page_has_the_table_that_the_record_gives() -> None:
    """If not: scripts/document-servers."""
    text = PAGE.read_text(encoding="utf-8")
    assert page(text) == text


def test_the_record_has_every_server_that_is_tried() -> None:
    recorded = [(row["server"], row["how"], row["wire"]) for row in rows()]
    assert recorded == [(kind.server, kind.how, kind.wire.value) for kind in KINDS]


def test_no_server_gave_a_wrong_answer() -> None:
    wrong = [
        (row["server"], row["how"], name)
        for row in rows()
        for name in MUST_HOLD
        if not row.get(name, True)
    ]
    assert wrong == []


def test_no_file_that_shrank_looked_complete() -> None:
    ends = {row["shrinking"] for row in rows()}
    assert ends <= {"cut off", "hangs"}


WSGI_READS = "the server's own way"
"""What a WSGI server's reason is, where an ASGI server of the same name has another."""


def test_explain_says_of_each_server_what_was_seen() -> None:
    seen: dict[str, set[str]] = {}
    for row in rows():
        server, obstacle = row["explained"], OBSTACLES[row["explained"]]
        assert (row["strategy"] != "sendfile") == bool(obstacle), row
        if obstacle and obstacle != OBSTACLES["other"]:
            assert row["reason"] in (obstacle, WSGI_READS), row
            seen.setdefault(server, set()).add(row["reason"])
    assert all(OBSTACLES[server] in reasons for server, reasons in seen.items())


def test_explain_knows_the_servers_that_were_tried_and_no_others() -> None:
    assert {*OBSTACLES} - {"other"} == {row["explained"] for row in rows()}

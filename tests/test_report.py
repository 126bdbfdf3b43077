from __future__ import annotations

import contextlib
import logging

import pytest

from zc_response import (
    Outcome,
    Report,
    TransferError,
    TruncatedError,
    add_listener,
    remove_listener,
)
from zc_response.errors import DisconnectedError
from zc_response.report import Tally, under_way


def tally() -> Tally:
    return Tally(
        path="/a/file",
        status=200,
        promised=10,
        strategy="sendfile",
        reason="plain socket",
        guard="count",
    )


def test_a_body_that_went_through_is_reported_once_and_complete(
    reports: list[Report],
) -> None:
    with tally() as account:
        account.sent = 10

    (report,) = reports
    assert (report.outcome, report.sent, report.promised) == ("complete", 10, 10)
    assert (report.strategy, report.reason) == ("sendfile", "plain socket")
    assert report.seconds >= 0
    assert report.error == ""


@pytest.mark.parametrize(
    ("error", "outcome", "level"),
    [
        (None, Outcome.COMPLETE, logging.DEBUG),
        (DisconnectedError("left"), Outcome.DISCONNECTED, logging.INFO),
        (KeyboardInterrupt("stop"), Outcome.CANCELLED, logging.WARNING),
        (TruncatedError("shorter"), Outcome.TRUNCATED, logging.ERROR),
        (TransferError("other"), Outcome.FAILED, logging.ERROR),
        (OSError(5, "disk"), Outcome.FAILED, logging.ERROR),
    ],
)
def test_how_it_ended_is_told_by_what_was_raised(
    reports: list[Report],
    caplog: pytest.LogCaptureFixture,
    error: BaseException | None,
    outcome: Outcome,
    level: int,
) -> None:
    caplog.set_level(logging.DEBUG, "zc_response.transfer")

    with contextlib.suppress(BaseException), tally():
        if error is not None:
            raise error

    assert [report.outcome for report in reports] == [outcome]
    (record,) = caplog.records
    assert record.levelno == level
    assert str(outcome) in record.getMessage()
    assert "/a/file" in record.getMessage()


def test_a_body_under_way_can_be_looked_at(reports: list[Report]) -> None:
    with tally() as account:
        account.sent = 4
        (now,) = under_way()

        assert (now.outcome, now.sent) == ("under way", 4)
    assert under_way() == []


def test_a_listener_that_fails_harms_neither_the_body_nor_the_others(
    reports: list[Report], caplog: pytest.LogCaptureFixture
) -> None:
    def failing(_report: Report) -> None:
        raise ZeroDivisionError

    add_listener(failing)
    add_listener(reports.append)
    try:
        with tally():
            pass
    finally:
        remove_listener(failing)
        remove_listener(reports.append)

    assert len(reports) == 2
    assert "a listener of transfer reports failed" in caplog.text


def test_taking_back_a_listener_that_is_not_there_is_an_error() -> None:
    with pytest.raises(ValueError, match="not in list"):
        remove_listener(print)

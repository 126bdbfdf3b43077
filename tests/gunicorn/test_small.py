"""A small file leaves in one write with its header."""

from __future__ import annotations

import time
from typing import Any

import pytest
from gunicorn.config import Config

from zc_response.integrations.gunicorn import _ResponseConnection

gunicorn = pytest.importorskip("gunicorn.http.wsgi")


class Socket:
    def __init__(self) -> None:
        self.writes: list[bytes] = []

    def sendall(self, data: bytes) -> None:
        self.writes.append(data)


class Request:
    method = "GET"
    headers: tuple[tuple[str, str], ...] = ()

    def __init__(self, version: tuple[int, int]) -> None:
        self.version = version

    def should_close(self) -> bool:
        return False


def response(*fields: tuple[str, str], version: tuple[int, int] = (1, 1)) -> Any:
    made = gunicorn.Response(Request(version), Socket(), Config())
    made.start_response("200 OK", list(fields))
    return made


def test_header_and_body_are_one_write() -> None:
    made = response(("Content-Length", "4"))
    assert _ResponseConnection(made).send_together(b"body")
    (written,) = made.sock.writes
    assert written.startswith(b"HTTP/1.1 200 OK\r\n")
    assert written.endswith(b"\r\n\r\nbody")
    assert made.sent == 4
    made.close()
    assert len(made.sock.writes) == 1


# Fields that come again ------------------------------------------------------------

FIELDS = [("Content-Length", "4"), ("X-Own", " 1 "), ("Connection", "x")]


class Said:
    """What a connection sends for fields that it has been told to expect."""

    def __init__(self) -> None:
        self.memo: dict[object, Any] = {}

    def __call__(
        self, *more: tuple[str, str], status: str = "200 OK", closes: bool = False
    ) -> bytes:
        made = gunicorn.Response(Request((1, 1)), Socket(), Config())
        if closes:
            made.force_close()
        connection = _ResponseConnection(made)
        connection.expect(self.memo)
        connection.start_response(status, [*FIELDS, *more])
        assert connection.send_together(b"body")
        (written,) = made.sock.writes
        return bytes(written)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, which stands still until a test moves it."""
    now = [1_000_000_000.0]
    monkeypatch.setattr(time, "time", lambda: now[0])
    return now


def test_what_gunicorn_makes_of_known_fields_is_used_again(
    clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    said = Said()
    first = said()
    monkeypatch.delattr(gunicorn.Response, "process_headers")
    monkeypatch.delattr(gunicorn.Response, "default_headers")
    assert said() == first
    assert b"X-Own: 1\r\n" in first


def test_the_date_is_never_that_of_another_second(clock: list[float]) -> None:
    said = Said()
    first = said()
    clock[0] += 1
    assert said() == first.replace(b"01:46:40", b"01:46:41") != first


def test_each_status_and_each_end_of_a_connection_has_a_header_of_its_own(
    clock: list[float],
) -> None:
    said = Said()
    assert b"Connection: keep-alive" in said()
    assert b"Connection: close" in said(closes=True)
    assert said(status="206 Partial Content").startswith(b"HTTP/1.1 206 ")
    assert said().startswith(b"HTTP/1.1 200 OK")


def test_fields_that_somebody_has_changed_are_read_anew(clock: list[float]) -> None:
    said = Said()
    plain = said()
    assert b"X-More: 2\r\n" in said(("X-More", "2"))
    assert said() == plain


def test_fields_that_are_never_the_same_are_not_kept_for_ever() -> None:
    said = Said()
    for number in range(100):
        assert b"X-Number: %d\r\n" % number in said(("X-Number", str(number)))
    assert len(said.memo) < 20


def test_a_second_start_is_refused_as_ever() -> None:
    said = _ResponseConnection(gunicorn.Response(Request((1, 1)), Socket(), Config()))
    said.expect({})
    said.start_response("200 OK", FIELDS)
    with pytest.raises(AssertionError):
        said.start_response("200 OK", FIELDS)


@pytest.mark.parametrize("version", [(1, 1), (2, 0)])
def test_where_the_body_is_framed_it_is_left_to_gunicorn(
    version: tuple[int, int],
) -> None:
    fields = [("Content-Length", "4")] if version == (2, 0) else []
    made = response(*fields, version=version)
    assert not _ResponseConnection(made).send_together(b"body")
    assert not made.sock.writes

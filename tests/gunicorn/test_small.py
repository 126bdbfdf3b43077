"""A small file leaves in one write with its header."""

from __future__ import annotations

from typing import Any

import pytest

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
    from gunicorn.config import Config

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


@pytest.mark.parametrize("version", [(1, 1), (2, 0)])
def test_where_the_body_is_framed_it_is_left_to_gunicorn(
    version: tuple[int, int],
) -> None:
    fields = [("Content-Length", "4")] if version == (2, 0) else []
    made = response(*fields, version=version)
    assert not _ResponseConnection(made).send_together(b"body")
    assert not made.sock.writes

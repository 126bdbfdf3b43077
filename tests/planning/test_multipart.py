"""The multipart/byteranges body, to the byte."""

from __future__ import annotations

from email import message_from_bytes
from email.message import Message

from hypothesis import given

from tests import strategies
from tests.planning.in_memory import CONTENT, body, representation
from zc_response.planning import plan
from zc_response.planning.multipart import byteranges
from zc_response.planning.plan import Slice
from zc_response.planning.ranges import ByteRange, parse

TWO = (ByteRange(500, 999), ByteRange(7000, 7999))


def test_the_body_is_the_one_in_the_rfc() -> None:
    """Section 14.6, with CRLF where it has line ends."""
    assert byteranges(
        "file", 8000, TWO, "THIS_STRING_SEPARATES", "application/pdf"
    ) == (
        b"--THIS_STRING_SEPARATES\r\n"
        b"Content-Type: application/pdf\r\n"
        b"Content-Range: bytes 500-999/8000\r\n"
        b"\r\n",
        Slice("file", 500, 500),
        b"\r\n--THIS_STRING_SEPARATES\r\n"
        b"Content-Type: application/pdf\r\n"
        b"Content-Range: bytes 7000-7999/8000\r\n"
        b"\r\n",
        Slice("file", 7000, 1000),
        b"\r\n--THIS_STRING_SEPARATES--\r\n",
    )


def test_a_file_without_a_type_has_parts_without_one() -> None:
    """Nothing is made up."""
    first, *_ = byteranges("file", 8000, TWO, "x", None)
    assert first == b"--x\r\nContent-Range: bytes 500-999/8000\r\n\r\n"


def test_a_type_cannot_add_lines_to_a_part() -> None:
    """The server that checks header fields does not see these."""
    first, *_ = byteranges("file", 8000, TWO, "x", "text/plain\r\n\r\nevil\0\x7f")
    assert isinstance(first, bytes)
    assert first.startswith(b"--x\r\nContent-Type: text/plainevil\r\n")


def test_a_type_is_sent_as_the_header_section_would() -> None:
    """In ISO 8859-1, where it holds more than ASCII."""
    first, *_ = byteranges("file", 8000, TWO, "x", "text/plain; x=\xe4")
    assert isinstance(first, bytes)
    assert b"Content-Type: text/plain; x=\xe4\r\n" in first


@given(strategies.ranges_apart())
def test_the_standard_library_takes_it_apart(field: str) -> None:
    """Parts in request order, each with its range and its bytes."""
    of = representation(1000, headers=(("content-type", "image/png"),))
    wanted = parse(field, 1000) or ()
    planned = plan("GET", {"range": field}, of)
    if len(wanted) > 1:
        parts = received(dict(planned.headers)["Content-Type"], body(planned))
        assert [part["Content-Range"] for part in parts] == [
            f"bytes {first}-{last}/1000" for first, last in wanted
        ]
        assert {part.get_content_type() for part in parts} == {"image/png"}
        assert [part.get_payload(decode=True) for part in parts] == [
            CONTENT[first : last + 1] for first, last in wanted
        ]


def received(content_type: str, content: bytes) -> list[Message]:
    """Return the parts as the email package sees them: it too ends lines with CRLF."""
    header = f"MIME-Version: 1.0\r\nContent-Type: {content_type}\r\n\r\n"
    message = message_from_bytes(header.encode() + content)
    assert message.is_multipart()
    parts = message.get_payload()
    assert isinstance(parts, list)
    return [part for part in parts if isinstance(part, Message)]

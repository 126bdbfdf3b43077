"""Content-Disposition: any name, one line of ASCII, one meaning."""

from __future__ import annotations

import re
from urllib.parse import unquote

import pytest
from hypothesis import example, given, strategies as st
from werkzeug.http import parse_options_header

from zc_response.planning import content_disposition

FIELD = re.compile(
    r'(?P<type>[a-z]+)(?:; filename="(?P<plain>[ !#-$&-\[\]-~]*)")?'
    r"(?:; filename\*=UTF-8''(?P<full>(?:[0-9A-Za-z!#$&+.^_`|~-]|%[0-9A-F]{2})*))?"
)


def names(field: str) -> tuple[str | None, str | None]:
    """Return `filename` and `filename*`, by the grammar of RFC 6266 and RFC 8187."""
    match = FIELD.fullmatch(field)
    assert match, field
    full = match["full"]
    return match["plain"], full and unquote(full, errors="strict")


@pytest.mark.parametrize(
    "name", ["report.pdf", "my report (2).pdf", "a;b,c=d'e", ".bashrc", "~", "x" * 300]
)
def test_a_plain_name_is_sent_as_it_is(name: str) -> None:
    """And not a second time."""
    assert content_disposition("attachment", name) == f'attachment; filename="{name}"'


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("na\xefve.txt", "filename=\"na_ve.txt\"; filename*=UTF-8''na%C3%AFve.txt"),
        ("\u20ac", "filename=\"_\"; filename*=UTF-8''%E2%82%AC"),
        ("\U0001f600.png", "filename=\"_.png\"; filename*=UTF-8''%F0%9F%98%80.png"),
        ("100%.txt", "filename=\"100_.txt\"; filename*=UTF-8''100%25.txt"),
        ("%41", "filename=\"_41\"; filename*=UTF-8''%2541"),
        ('say "hi"', "filename=\"say _hi_\"; filename*=UTF-8''say%20%22hi%22"),
    ],
)
def test_any_other_name_is_sent_twice(name: str, field: str) -> None:
    """Once for recipients of old, once in full (RFC 6266 section 4.3, RFC 8187)."""
    assert content_disposition("inline", name) == f"inline; {field}"


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("../../etc/passwd", ".._.._etc_passwd"),
        ("C:\\autoexec.bat", "C:_autoexec.bat"),
        ("a\r\nSet-Cookie: x=1", "aSet-Cookie: x=1"),
        ("a\x00b\x1b\x7fc", "abc"),
        ("a\x85b\x9f", "ab"),
    ],
)
def test_a_name_is_one_name_on_one_line(name: str, plain: str) -> None:
    """Controls are removed, separators replaced."""
    assert content_disposition("inline", name) == f'inline; filename="{plain}"'


def test_a_reflected_name_cannot_choose_its_extension() -> None:
    """CVE-2022-36359: no quote ends the name early."""
    field = content_disposition("attachment", 'a";x.bat')
    assert names(field) == ("a_;x.bat", 'a";x.bat')
    assert names(content_disposition("attachment", '\\"; x="'))[0] == "__; x=_"


def test_stray_bytes_of_a_file_name_do_no_harm() -> None:
    """os.fsdecode turns them into lone surrogates, which UTF-8 cannot encode."""
    field = content_disposition(
        "inline", b"caf\xe9.txt".decode("utf-8", "surrogateescape")
    )
    assert names(field) == ("caf_.txt", "caf\ufffd.txt")


@pytest.mark.parametrize("stray", [0xD800, 0xDC80, 0xDFFF])
def test_half_a_character_is_shown_as_such(stray: int) -> None:
    """And no whole one is."""
    field = content_disposition("inline", f"\ud7ff{chr(stray)}\ue000")
    assert names(field) == ("___", "\ud7ff\ufffd\ue000")


@pytest.mark.parametrize("name", ["", "\r\n", "\x00"])
def test_no_name_no_parameter(name: str) -> None:
    """The type alone is a valid field."""
    assert content_disposition("attachment", name) == "attachment"


@pytest.mark.parametrize("kind", ["", "in line", "inline;", "inline\r\n", "inlin\xe9"])
def test_the_type_is_a_token(kind: str) -> None:
    """It is the programmer's, not the user's."""
    with pytest.raises(ValueError, match="not a disposition type"):
        content_disposition(kind, "x")


@given(st.text())
@example("\ud800")
@example("\u2028")
def test_every_name_makes_a_valid_field(name: str) -> None:
    """What is left of it can be read back."""
    plain, full = names(content_disposition("attachment", name))
    if plain is not None:
        assert "%" not in plain
        assert "/" not in (full or plain)
        assert len(full or plain) == len(plain)


@given(
    st.text(st.characters(exclude_categories=["Cc", "Cs"], exclude_characters="/\\"))
)
def test_a_clean_name_is_read_back(name: str) -> None:
    """By the grammar, and by Werkzeug."""
    field = content_disposition("attachment", name)
    plain, full = names(field)
    assert (full or plain or "") == name
    kind, options = parse_options_header(field)
    assert (kind, options.get("filename", "")) == ("attachment", name)

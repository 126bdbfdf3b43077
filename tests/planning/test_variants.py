"""Content codings: what the client takes, and what it gets."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from tests import strategies
from zc_response.planning import (
    SUFFIXES,
    Headers,
    choose_coding,
    encoded,
    is_compressible,
    is_worth_compressing,
    vary_on_encoding,
)
from zc_response.planning.variants import parse_accept_encoding


def test_a_variant_lies_beside_its_file() -> None:
    """Under the suffixes that the tools give it, best compression first."""
    assert list(SUFFIXES.items()) == [("zstd", ".zst"), ("br", ".br"), ("gzip", ".gz")]


@pytest.mark.parametrize(
    ("field", "coding"),
    [
        (None, None),
        ("", None),
        ("identity", None),
        ("deflate, compress", None),
        ("gzip", "gzip"),
        ("GZip", "gzip"),
        ("x-gzip", "gzip"),
        ("gzip, deflate, br, zstd", "zstd"),
        ("gzip, br", "br"),
        ("gzip;q=1.0, br;q=0.9, zstd;q=0.8", "gzip"),
        ("gzip;q=0.5, br;q=0.500", "br"),
        ("gzip ; Q=0.5,\tbr\t;\tq=0.4", "gzip"),
        ("*", "zstd"),
        ("*;q=0.1, gzip", "gzip"),
        ("zstd;q=0, br;q=0, *", "gzip"),
        ("gzip;q=0", None),
        ("*;q=0", None),
        ("identity;q=0", None),
        ("identity;q=0, gzip;q=0", None),
        ("identity;q=0, *;q=0.2", "zstd"),
        ("identity, gzip", "gzip"),
        ("identity;q=1, gzip;q=0.5", None),
        ("identity;q=0.5, gzip;q=0.6", "gzip"),
        (", ,gzip,,", "gzip"),
    ],
)
def test_the_clients_weights_decide(field: str | None, coding: str | None) -> None:
    """Among equals the best compression wins (section 12.5.3)."""
    assert choose_coding(field, SUFFIXES) == coding


@pytest.mark.parametrize(
    "field",
    [
        "gzip;q=2",
        "gzip;q=1.001",
        "gzip;q=0.0001",
        "gzip;q=-1",
        "gzip;q=",
        "gzip;q=.5",
        "gzip;level=9",
        "gzip br",
        "gzip, (br)",
        "gzip, \xe4",
        "gzip;q=\u0661",
    ],
)
def test_what_is_malformed_gets_identity(field: str) -> None:
    """Whatever else the field says."""
    assert choose_coding(field, SUFFIXES) is None


@pytest.mark.parametrize(
    ("available", "coding"), [((), None), (("gzip",), "gzip"), (("br", "gzip"), "br")]
)
def test_only_what_there_is_can_be_sent(
    available: tuple[str, ...], coding: str | None
) -> None:
    """Not all files have all variants."""
    assert choose_coding("gzip, br, zstd", available) == coding
    assert choose_coding("*", available) == coding


@given(strategies.noise)
def test_no_field_makes_the_parser_raise(field: str) -> None:
    """It has weights from 0 to 1, or none."""
    assert all(0 <= weight <= 1 for weight in parse_accept_encoding(field).values())


codings = st.sampled_from([*SUFFIXES, "identity", "*"])
thousandths = st.integers(0, 1000)


@given(st.dictionaries(codings, thousandths))
def test_the_choice_is_one_of_the_heaviest(weights: dict[str, int]) -> None:
    """Nothing refused is chosen, nor anything lighter than identity."""
    field = ", ".join(
        f"{coding};q={weight / 1000:.3f}" for coding, weight in weights.items()
    )

    def weight(coding: str) -> int:
        return weights.get(coding, weights.get("*", 0))

    chosen = choose_coding(field, SUFFIXES)
    heaviest = max(map(weight, SUFFIXES))
    if chosen is None:
        assert heaviest == 0 or heaviest < weights["identity"]
    else:
        assert weight(chosen) == heaviest > 0
        assert heaviest >= weights.get("identity", 0)


@pytest.mark.parametrize(
    ("vary", "wanted"),
    [
        (None, "Accept-Encoding"),
        ("", "Accept-Encoding"),
        ("Cookie", "Cookie, Accept-Encoding"),
        ("Accept-Encoding", "Accept-Encoding"),
        ("cookie ,\taccept-encoding", "cookie ,\taccept-encoding"),
        ("X-Accept-Encoding", "X-Accept-Encoding, Accept-Encoding"),
        ("*", "*"),
        ("Cookie, *", "Cookie, *"),
    ],
)
def test_vary_names_the_field_once(vary: str | None, wanted: str) -> None:
    """A star says it all already (section 12.5.5)."""
    assert vary_on_encoding(vary) == wanted


@pytest.mark.parametrize(
    ("tag", "gzip"),
    [
        ('"mine"', '"mine:gzip"'),
        ('""', '":gzip"'),
        ('W/"mine"', 'W/"mine"'),  # which a weak one may (section 8.8.1)
        ("mine", "mine"),  # no entity-tag: it equals none
    ],
)
def test_a_strong_tag_of_the_views_is_not_that_of_another_coding(
    tag: str, gzip: str
) -> None:
    """Section 8.8.3.3."""
    assert encoded((("ETag", tag),), "", vary=True)[0] == ("ETag", tag)
    assert encoded((("ETag", tag),), "gzip", vary=True)[0] == ("ETag", gzip)


def test_the_only_representation_there_is_keeps_its_tag() -> None:
    """Whatever its coding: the tag was given to these bytes."""
    fields = encoded((("ETag", '"mine"'),), "gzip", vary=False)
    assert fields == (("ETag", '"mine"'), ("Content-Encoding", "gzip"))


def test_a_coding_leaves_the_other_fields_where_they_were() -> None:
    """Also one that is repeated, which is a list."""
    fields = (("vary", "Cookie"), ("X-Own", "1"), ("Vary", "Origin"))

    assert encoded(fields, "br", vary=True) == (
        ("Vary", "Cookie, Origin, Accept-Encoding"),
        ("X-Own", "1"),
        ("Content-Encoding", "br"),
    )


HTML = ("Content-Type", "text/html; charset=utf-8")


@pytest.mark.parametrize(
    ("media_type", "shrinks"),
    [
        ("text/html", True),
        ("text/html; charset=utf-8", True),
        ("Text/CSS", True),
        ("application/json", True),
        ("application/problem+json", True),
        ("image/svg+xml", True),
        ("application/wasm", True),
        ("text/event-stream", False),
        ("image/png", False),
        ("video/mp4", False),
        ("application/zip", False),
        ("application/octet-stream", False),
        ("", False),
    ],
)
def test_what_usually_shrinks_is_known_by_its_media_type(
    media_type: str, shrinks: bool
) -> None:
    assert is_compressible(media_type) is shrinks


@pytest.mark.parametrize(
    ("headers", "size", "worth"),
    [
        ((HTML,), 1024, True),
        ((HTML,), 1023, False),
        ((HTML,), 64 * 1024 * 1024, True),
        ((HTML,), 64 * 1024 * 1024 + 1, False),
        ((HTML, ("Cache-Control", "max-age=60")), 5000, True),
        ((HTML, ("Cache-Control", "max-age=60, No-Transform")), 5000, False),
        ((HTML, ("Content-Encoding", "br")), 5000, False),
        ((HTML, ("ETag", '"mine"')), 5000, False),
        ((("Content-Type", "image/png"),), 5000, False),
        ((), 5000, False),
    ],
)
def test_some_answers_are_not_worth_compressing(
    headers: Headers, size: int, worth: bool
) -> None:
    assert is_worth_compressing(headers, size) is worth

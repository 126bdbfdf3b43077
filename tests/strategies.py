"""Hypothesis strategies for requests and representations.

Values are small, so that they meet: a range and a file's end, two dates, two tags.
Beside each strategy for what is valid stands one for what clients send anyway.
"""

from __future__ import annotations

from hypothesis import settings, strategies as st

from tests.planning.in_memory import CONTENT
from zc_response.planning import Representation, http_date

# How long an example takes says more about the machine than about the code; what must
# not take long is counted in steps (planning/test_linear_time.py).
settings.register_profile("zc_response", deadline=None)
settings.load_profile("zc_response")

noise = st.text("".join(map(chr, range(256))), max_size=30)  # what a field can carry

# Ranges

sizes = st.integers(0, 60)
positions = st.integers(0, 70)
huge = st.integers(10**15, 10**25)
numerals = st.one_of(
    positions.map(str),
    st.builds("{:05}".format, positions),
    huge.map(str),
)


@st.composite
def int_ranges(draw: st.DrawFn) -> str:
    """Return `first-last`, in this order."""
    first, last = sorted((draw(positions), draw(st.one_of(positions, huge))))
    return f"{first}-{last}"


range_specs = st.one_of(
    int_ranges(),
    numerals.map("{}-".format),
    numerals.map("-{}".format),
)
odd_specs = st.one_of(
    range_specs,
    st.builds("{}-{}".format, numerals, numerals),  # in any order
    st.text("0123456789-+ _.٣", max_size=6),
)
separators = st.sampled_from([",", ", ", " , ", ",\t", ",,", ", ,"])


def range_fields(
    specs: st.SearchStrategy[str] = range_specs,
    separators: st.SearchStrategy[str] = separators,
    max_size: int = 8,
) -> st.SearchStrategy[str]:
    """Return Range fields made of these specs."""

    @st.composite
    def fields(draw: st.DrawFn) -> str:
        first, *others = draw(st.lists(specs, min_size=1, max_size=max_size))
        return f"bytes={first}" + "".join(draw(separators) + spec for spec in others)

    return fields()


@st.composite
def ranges_apart(draw: st.DrawFn) -> str:
    """Return a Range field of up to 8 ranges in any order, none touching another."""
    ends = sorted(draw(st.sets(st.integers(0, 34), min_size=2, max_size=16)))
    pairs = [f"{2 * a}-{2 * b}" for a, b in zip(ends[::2], ends[1::2], strict=False)]
    return "bytes=" + draw(st.sampled_from([",", ", "])).join(
        draw(st.permutations(pairs))
    )


# Validators

opaque_tags = st.sampled_from(['"a"', '"b"', '"c,d"', '""', '"\xe4"', '"W/"'])
weaknesses = st.sampled_from(["", "W/"])
entity_tags = st.builds("{}{}".format, weaknesses, opaque_tags)
entity_tag_lists = st.one_of(
    st.just("*"), st.lists(entity_tags, min_size=1, max_size=4).map(", ".join)
)
odd_tag_lists = st.one_of(
    entity_tag_lists, st.text('"W/*, abc\t\xff', max_size=20), noise
)
SOME_TIME = 1_445_412_480
times = st.integers(SOME_TIME - 2, SOME_TIME + 2)
dates = times.map(http_date)
odd_dates = st.one_of(dates, st.text("0123456789:, GMTOctWed", max_size=30))

# Requests and representations

conditions = st.fixed_dictionaries(
    {},
    optional={
        "if-match": entity_tag_lists,
        "if-none-match": entity_tag_lists,
        "if-modified-since": dates,
        "if-unmodified-since": dates,
        "if-range": st.one_of(entity_tags, dates),
    },
)
odd_requests = st.fixed_dictionaries(
    {},
    optional={
        "range": st.one_of(range_fields(odd_specs), noise),
        "if-match": odd_tag_lists,
        "if-none-match": odd_tag_lists,
        "if-modified-since": odd_dates,
        "if-unmodified-since": odd_dates,
        "if-range": st.one_of(odd_tag_lists, odd_dates),
    },
)
methods = st.sampled_from(["GET", "GET", "HEAD", "POST"])

view_headers = st.lists(
    st.sampled_from(
        [
            ("Content-Type", "text/plain"),
            ("content-encoding", "gzip"),
            ("Content-Location", "/file"),
            ("Content-Security-Policy", "default-src 'self'"),
            ("Content-Length", "7"),
            ("content-range", "stub"),
            ("Transfer-Encoding", "chunked"),
            ("Cache-Control", "max-age=60"),
            ("Vary", "Accept-Encoding"),
            ("ETag", '"a"'),
            ("last-modified", http_date(SOME_TIME)),
            ("Accept-Ranges", "none"),
        ]
    ),
    unique=True,
    max_size=5,
).map(lambda fields: (*fields, ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")))


@st.composite
def representations(draw: st.DrawFn) -> Representation:
    """Return a file of up to 60 bytes as any view might send it."""
    size = draw(sizes)
    return Representation(
        source=CONTENT[:size],
        size=size,
        headers=draw(view_headers),
        etag=draw(st.one_of(st.none(), entity_tags)),
        last_modified=draw(st.one_of(st.none(), times)),
        status=draw(st.sampled_from([200, 200, 200, 204, 404])),
    )

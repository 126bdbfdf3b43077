"""What holds for every plan, whatever the request and the representation."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings, strategies as st

from tests import strategies
from tests.planning.in_memory import body, content
from tests.range_cases import Answer, check_framing, parts
from zc_response.planning import Plan, Representation, Slice, plan

OURS = {200, 206, 304, 412, 416}
FRAMING = {"Content-Length", "content-range", "Transfer-Encoding"}  # as strategies do

any_request = given(
    method=strategies.methods,
    request=strategies.odd_requests,
    representation=strategies.representations(),
)


def slices(planned: Plan) -> list[Slice]:
    return [segment for segment in planned.segments if isinstance(segment, Slice)]


def names(planned: Plan) -> list[str]:
    return [name.lower() for name, _ in planned.headers]


@any_request
def test_the_status_is_one_of_ours_or_the_views(
    method: str, request: dict[str, str], representation: Representation
) -> None:
    """Nothing is rejected: no 400, and no exception either."""
    status = plan(method, request, representation).status
    if representation.status == 200:
        assert status in OURS
    else:
        assert status == representation.status


@any_request
def test_the_segments_add_up_to_the_content_length(
    method: str, request: dict[str, str], representation: Representation
) -> None:
    """The promise of framing; a response that has no content has no length either."""
    planned = plan(method, request, representation)
    length = dict(planned.headers).get("Content-Length")
    if planned.status in (204, 304):
        assert length is None
    elif method != "HEAD":
        assert length == str(len(planned)) == str(len(body(planned)))


@any_request
def test_framing_is_ours_alone(
    method: str, request: dict[str, str], representation: Representation
) -> None:
    """No field that the view set can contradict the one we send."""
    planned = plan(method, request, representation)
    assert names(planned).count("content-length") <= 1
    assert "transfer-encoding" not in names(planned)


@any_request
def test_every_slice_lies_inside_the_file(
    method: str, request: dict[str, str], representation: Representation
) -> None:
    """No offset is negative, no slice is empty, none goes past the end."""
    for part in slices(plan(method, request, representation)):
        assert 0 <= part.offset < representation.size
        assert 0 < part.count <= representation.size - part.offset


@any_request
def test_no_byte_is_sent_twice(
    method: str, request: dict[str, str], representation: Representation
) -> None:
    """Slices do not overlap: never more bytes than the file has."""
    ordered = sorted(
        (part.offset, part.count)
        for part in slices(plan(method, request, representation))
    )
    for (offset, count), (following, _) in pairwise(ordered):
        assert offset + count < following


@any_request
def test_an_answer_holds_what_it_says(
    method: str, request: dict[str, str], representation: Representation
) -> None:
    """Content-Range, parts and content agree, byte by byte."""
    planned = plan(method, request, representation)
    answer = Answer(
        status=planned.status,
        headers=planned.headers,
        body=body(planned),
        content=content(representation),
    )
    if representation.status != 200:
        return
    check_framing(method, answer)
    if planned.status in (200, 206) and method != "HEAD" and answer.content:
        for part in parts(answer):
            assert part.data == answer.content[part.first : part.last + 1]


@any_request
def test_head_is_get_without_content(
    method: str, request: dict[str, str], representation: Representation
) -> None:
    """But for Range, which HEAD does not know."""
    request.pop("range", None)
    head = plan("HEAD", request, representation)
    assert head == plan("GET", request, representation).without_body()


@any_request
def test_a_plan_is_a_value(
    method: str, request: dict[str, str], representation: Representation
) -> None:
    """The same question has the same answer, and asking changes nothing."""
    before = dict(request)
    first, second = (
        plan(method, request, representation, new_boundary=lambda: "b")
        for _ in range(2)
    )
    assert first == second
    assert request == before


@any_request
def test_the_views_fields_keep_their_order(
    method: str, request: dict[str, str], representation: Representation
) -> None:
    """Whichever of them a status leaves out."""
    planned = plan(method, request, representation)
    view = [field for field in representation.headers if field[0] not in FRAMING]
    kept = [field for field in planned.headers if field in view]
    assert kept == [field for field in view if field in kept]


@any_request
def test_cookies_always_get_through(
    method: str, request: dict[str, str], representation: Representation
) -> None:
    """A field that is no metadata is kept by every status, repeated or not."""
    assert names(plan(method, request, representation)).count("set-cookie") == 2


@settings(max_examples=300)
@given(field=strategies.range_fields(max_size=60), size=st.integers(1, 10**12))
def test_a_multipart_never_has_more_parts_than_allowed(field: str, size: int) -> None:
    """16, or the whole file."""
    planned = plan("GET", {"range": field}, Representation(source=b"", size=size))
    assert len(slices(planned)) <= 16

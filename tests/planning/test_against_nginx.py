"""The planner against a real nginx, on ranges and conditions.

Both answer the same requests for the same files. Where we differ by design, the rule
and its section of RFC 9110 are in `RANGE_RULES` and `CONDITION_RULES`: there our answer
has to be the reference's, and an example shows that nginx's is another.
"""

from __future__ import annotations

import http.client
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Final, NamedTuple

import pytest
from hypothesis import given, settings, strategies as st

from tests import strategies
from tests.planning import reference
from tests.planning.in_memory import CONTENT, respond
from tests.range_cases import Answer, Part, parts
from zc_response.planning import Representation, http_date

NGINX: Final = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
SIZES: Final = (0, 1, 10, 60, 5000)
MTIME: Final = strategies.SOME_TIME

pytestmark = pytest.mark.skipif(NGINX is None, reason="nginx is not installed")

CONFIGURATION: Final = """
daemon off;
master_process off;
pid nginx.pid;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path temporary;
    proxy_temp_path temporary;
    fastcgi_temp_path temporary;
    uwsgi_temp_path temporary;
    scgi_temp_path temporary;
    default_type text/plain;
    if_modified_since before;
    server {{
        listen unix:{socket};
        root files;
    }}
}}
"""


class Connection(http.client.HTTPConnection):
    """A connection over a Unix socket."""

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(10)
        self.sock.connect(self.host)


class Nginx:
    """A server that has one file of each size."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.etags: dict[int, str] = {}

    def answer(self, method: str, size: int, fields: Mapping[str, str]) -> Answer:
        """Return nginx's answer to a request for the file of this size."""
        headers = {name: value.encode("latin-1") for name, value in fields.items()}
        headers |= {"Host": b"localhost", "Connection": b"close"}
        with closing(Connection(str(self.path))) as connection:
            connection.request(method, f"/{size}", headers=headers)
            response = connection.getresponse()
            return Answer(
                status=response.status,
                headers=tuple(response.getheaders()),
                body=response.read(),
                content=CONTENT[:size],
            )

    def representation(self, size: int) -> Representation:
        """Return what nginx knows of the file, for the planner."""
        if size not in self.etags:
            self.etags[size] = self.answer("GET", size, {}).get("ETag") or ""
        return Representation(
            source=CONTENT[:size],
            size=size,
            headers=(("Content-Type", "text/plain"),),
            etag=self.etags[size],
            last_modified=MTIME,
        )


@pytest.fixture(scope="module")
def nginx(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    """Serve files of all sizes with one nginx process, for five minutes at most."""
    assert NGINX is not None
    root = tmp_path_factory.mktemp("nginx")
    (root / "files").mkdir()
    for size in SIZES:
        (root / "files" / str(size)).write_bytes(CONTENT[:size])
        os.utime(root / "files" / str(size), (MTIME, MTIME))
    (root / "nginx.conf").write_text(CONFIGURATION.format(socket=root / "socket"))
    command = [NGINX, "-p", str(root), "-c", "nginx.conf", "-e", "error.log"]
    with subprocess.Popen(["timeout", "300", *command]) as process:
        try:
            wait_for(root / "socket", process)
            yield Nginx(root / "socket")
        finally:
            process.terminate()


def wait_for(path: Path, process: subprocess.Popen[bytes]) -> None:
    """Wait until nginx listens."""
    deadline = time.monotonic() + 10
    while True:
        assert process.poll() is None, "nginx did not start"
        assert time.monotonic() < deadline, "nginx does not listen"
        try:
            with closing(Connection(str(path))) as connection:
                return connection.connect()
        except OSError:  # there is no socket, or nobody listens yet
            time.sleep(0.01)


def ours(nginx: Nginx, method: str, size: int, fields: Mapping[str, str]) -> Answer:
    """Return the planner's answer to the same request."""
    return respond(method, fields.items(), nginx.representation(size))


class Gist(NamedTuple):
    """What has to be the same in two answers."""

    status: int
    content_range: str | None
    stretches: list[Part]


def gist(answer: Answer) -> Gist:
    """Return the parts of a 200 or 206; an error page is each server's own."""
    has_parts = answer.status in (200, 206) and answer.content
    return Gist(
        status=answer.status,
        content_range=answer.get("Content-Range"),
        stretches=parts(answer) if has_parts else [],
    )


class Asked(NamedTuple):
    """A request for ranges."""

    field: str
    size: int

    @property
    def specs(self) -> list[str]:
        """The elements of the list, empty ones included."""
        return [spec.strip(" \t") for spec in self.field[6:].split(",")]

    @property
    def positions(self) -> list[set[int]]:
        """The positions that each range asks for."""
        found = (reference.positions(spec, self.size) for spec in self.specs)
        return [positions for positions in found if positions]


def has_malformed(asked: Asked) -> bool:
    return any(
        reference.positions(spec, asked.size) is None for spec in asked.specs if spec
    )


def has_touching(asked: Asked) -> bool:
    runs = reference.runs_of(set().union(*asked.positions))
    return len(runs) < len(asked.positions)


def has_gaps(asked: Asked) -> bool:
    return "" in asked.specs or "\t" in asked.field


def has_huge_numeral(asked: Asked) -> bool:
    return any(len(numeral) > 18 for spec in asked.specs for numeral in spec.split("-"))


class Rule(NamedTuple):
    """A difference by design: when it applies, and a request that shows it."""

    section: str
    applies: Callable[[Asked], bool]
    example: Asked


RANGE_RULES: Final = {
    "a malformed Range is ignored": Rule("14.2", has_malformed, Asked("bytes=0-x", 10)),
    "one malformed range spoils the set": Rule(
        "14.1.1", has_malformed, Asked("bytes=0-1,7-5", 10)
    ),
    "ranges that touch become one": Rule(
        "15.3.7.2", has_touching, Asked("bytes=0-4,5-9", 60)
    ),
    "a list may have empty elements": Rule(
        "5.6.1.2", has_gaps, Asked("bytes=0-1,,5-6", 10)
    ),
    "numerals may be huge": Rule(
        "14.1.2", has_huge_numeral, Asked("bytes=0-99999999999999999999", 10)
    ),
    "no more than 16 parts": Rule(
        "14.2",
        lambda asked: len(asked.positions) > 16,
        Asked("bytes=" + ",".join(f"{n}-{n}" for n in range(0, 34, 2)), 60),
    ),
    "an empty file has no ranges": Rule(
        "14.4", lambda asked: asked.size == 0, Asked("bytes=5-", 0)
    ),
}


def assert_as_the_reference_says(answer: Answer, asked: Asked) -> None:
    """Hold our answer against the reference's ranges."""
    wanted = reference.byte_ranges(asked.field, asked.size)
    if wanted is None or len(wanted) > 16:
        assert answer.status == 200
    elif not wanted:
        assert answer.status == 416
    else:
        found = [(part.first, part.last) for part in parts(answer)]
        assert (answer.status, found) == (206, wanted)


@settings(max_examples=500)
@given(
    asked=st.builds(
        Asked,
        st.one_of(
            strategies.ranges_apart(),
            strategies.range_fields(max_size=1),
            strategies.range_fields(max_size=3),
            strategies.range_fields(strategies.odd_specs),
        ),
        st.sampled_from(SIZES),
    )
)
def test_nginx_answers_ranges_alike(nginx: Nginx, asked: Asked) -> None:
    """Status, Content-Range and every part, but for the rules."""
    answer = ours(nginx, "GET", asked.size, {"Range": asked.field})
    if any(rule.applies(asked) for rule in RANGE_RULES.values()):
        assert_as_the_reference_says(answer, asked)
    else:
        theirs = nginx.answer("GET", asked.size, {"Range": asked.field})
        assert gist(answer) == gist(theirs)


@pytest.mark.parametrize("rule", RANGE_RULES.values(), ids=RANGE_RULES)
def test_nginx_differs_where_a_rule_says_so(nginx: Nginx, rule: Rule) -> None:
    """No rule is there for nothing."""
    asked = rule.example
    answer = ours(nginx, "GET", asked.size, {"Range": asked.field})
    assert rule.applies(asked)
    assert_as_the_reference_says(answer, asked)
    theirs = nginx.answer("GET", asked.size, {"Range": asked.field})
    assert gist(answer) != gist(theirs)


# Conditions. `{etag}` stands for the file's, which is nginx's to make up.

tags = st.sampled_from(["{etag}", "{etag}", "W/{etag}", '"other"', 'W/"c,d"'])
tag_lists = st.one_of(
    st.just("*"), st.lists(tags, min_size=1, max_size=3).map(", ".join)
)
condition_fields = st.fixed_dictionaries(
    {},
    optional={
        "If-Match": tag_lists,
        "If-None-Match": tag_lists,
        "If-Modified-Since": strategies.dates,
        "If-Unmodified-Since": strategies.dates,
        "If-Range": st.one_of(tags, strategies.dates),
        "Range": st.sampled_from(
            ["bytes=0-4", "bytes=-1", "bytes=3-4, 7-", "bytes=60-"]
        ),
    },
)

CONDITION_RULES: Final = {
    "If-None-Match overrules If-Modified-Since": (
        "13.1.3",
        {"If-None-Match", "If-Modified-Since"},
        {"If-None-Match": "{etag}", "If-Modified-Since": http_date(MTIME - 1)},
    ),
    "If-Match overrules If-Unmodified-Since": (
        "13.1.4",
        {"If-Match", "If-Unmodified-Since"},
        {"If-Match": "{etag}", "If-Unmodified-Since": http_date(MTIME - 1)},
    ),
}


def with_etag(fields: Mapping[str, str], etag: str) -> dict[str, str]:
    return {name: value.replace("{etag}", etag) for name, value in fields.items()}


def meaning(fields: Mapping[str, str]) -> dict[str, object]:
    """Return the conditions as the reference takes them."""
    return {
        name.lower(): value
        if value == "*"
        else value.split(", ")
        if name.endswith("-Match")
        else int(parsedate_to_datetime(value).timestamp())
        for name, value in fields.items()
        if name not in ("Range", "If-Range")
    }


@settings(max_examples=500)
@given(fields=condition_fields)
def test_nginx_answers_conditions_alike(nginx: Nginx, fields: dict[str, str]) -> None:
    """Status, Content-Range and content, but for the rules."""
    representation = nginx.representation(60)
    fields = with_etag(fields, representation.etag or "")
    answer = ours(nginx, "GET", 60, fields)
    if any(fields.keys() >= names for _, names, _ in CONDITION_RULES.values()):
        status = reference.precondition(
            "GET", meaning(fields), representation.etag, MTIME
        )
        assert answer.status == status or (status == 200 and "Range" in fields)
    else:
        assert gist(answer) == gist(nginx.answer("GET", 60, fields))


@pytest.mark.parametrize(
    "fields",
    [example for _, _, example in CONDITION_RULES.values()],
    ids=CONDITION_RULES,
)
def test_nginx_differs_where_a_condition_rule_says_so(
    nginx: Nginx, fields: dict[str, str]
) -> None:
    """No rule is there for nothing."""
    fields = with_etag(fields, nginx.representation(60).etag or "")
    theirs = nginx.answer("GET", 60, fields)
    assert gist(ours(nginx, "GET", 60, fields)) != gist(theirs)


def test_nginx_takes_an_invalid_date_for_a_long_gone_one(nginx: Nginx) -> None:
    """We ignore it, as section 13.1.4 says."""
    fields = {"If-Unmodified-Since": "yesterday"}
    assert nginx.answer("GET", 60, fields).status == 412
    assert ours(nginx, "GET", 60, fields).status == 200


def test_nginx_knows_ranges_of_a_head(nginx: Nginx) -> None:
    """We ignore Range with any method but GET, as section 14.2 says."""
    fields = {"Range": "bytes=0-4"}
    assert nginx.answer("HEAD", 60, fields).status == 206
    assert ours(nginx, "HEAD", 60, fields).status == 200

"""A body is right if it is what its file was like at one moment, and only then."""

from __future__ import annotations

import json
import socket
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.cli.test_clients import answering
from zc_response.cli.bench import disks, reader, relay
from zc_response.cli.bench.reader import (
    Connection,
    DesyncError,
    EndedError,
    Judge,
    Manner,
    Request,
    Response,
)
from zc_response.cli.bench.scribe import Scribe, Script
from zc_response.cli.bench.states import (
    HOLE,
    Log,
    MixtureError,
    Seen,
    State,
    fresh_stamp,
    look,
    opened,
    render,
)
from zc_response.cli.commands import zc_response

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="it measures Linux")

SIZE = 128
STRETCH = SIZE // 4
OLD, NEW = fresh_stamp(1, 1), fresh_stamp(1, 2)


def content(state: State) -> bytes:
    whole = b"".join(render(stamp, STRETCH) for stamp in state.stamps)
    return whole[: state.length]


def whole(*stamps: int) -> State:
    return State(SIZE, stamps)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    """An old version, half of a new one over it, and the whole new one."""
    with opened(tmp_path / "states", SIZE) as log:
        log.add(whole(OLD, OLD, OLD, OLD))
        log.add(whole(NEW, NEW, OLD, OLD))
        log.add(whole(NEW, NEW, NEW, NEW))
        yield log


def judged(log: Log, *answers: Response, before: int = 1) -> Counter[str]:
    judge = Judge([log])
    for answer in answers:
        judge.response(Request(0, "/x", "", before), answer)
    return judge.counts


def ok(body: bytes, **fields: str) -> Response:
    return Response(200, fields, body)


# States ----------------------------------------------------------------------------


def test_a_log_is_seen_by_whoever_opens_it(log: Log, tmp_path: Path) -> None:
    with opened(tmp_path / "states", SIZE) as other:
        assert len(other) == 3
        assert other[1] == whole(NEW, NEW, OLD, OLD)


def test_a_file_may_still_be_in_the_state_before_the_last_noted(log: Log) -> None:
    assert list(log.between(3, 3)) == [1, 2]
    assert list(log.between(1, 3)) == [0, 1, 2]


def test_bytes_say_which_stamps_they_are_of() -> None:
    body = content(whole(OLD, HOLE, NEW, NEW))
    stamps = {0: OLD, 1: HOLE, 2: NEW, 3: NEW}
    assert look(SIZE, [(0, body)], STRETCH) == Seen(SIZE, stamps)


def test_a_range_says_what_it_covers() -> None:
    body = content(whole(OLD, NEW, NEW, NEW))
    seen = look(SIZE, [(24, body[24:40]), (96, body[96:104])], STRETCH)
    assert seen.stamps == {0: OLD, 1: NEW, 3: NEW}
    assert seen.is_of(whole(OLD, NEW, OLD, NEW))
    assert not seen.is_of(whole(NEW, NEW, OLD, NEW))


@pytest.mark.parametrize(
    "body",
    [
        render(OLD, 8) + render(NEW, 24),
        render(OLD, 24) + bytes(8),
        render(OLD, 28) + b"1000",
        b"notstamp" * 4,
    ],
)
def test_two_stamps_in_one_stretch_are_a_mixture(body: bytes) -> None:
    with pytest.raises(MixtureError):
        look(SIZE, [(0, body)], STRETCH)


def test_a_scribe_notes_what_its_file_becomes(tmp_path: Path) -> None:
    """After each change the file is the last state of the log."""

    class Dice:
        def random(self) -> float:
            return 0.9  # several calls, and no pause

        def sample(self, numbers: range, count: int) -> list[int]:
            return list(numbers)[::-1][:count]

    path = tmp_path / "file"
    script = Script(path=str(path), number=1, size=SIZE, log="", seconds=0)
    with opened(tmp_path / "states", SIZE) as log:
        scribe = Scribe(script, log, Dice())  # type: ignore[arg-type]
        for change in (scribe.replace, *scribe.changes):
            change()
            assert path.read_bytes() == content(log[len(log) - 1])
        assert log[len(log) - 1] == whole(*log[len(log) - 1].stamps[:1] * 4)
        lengths = {log[number].length for number in range(len(log))}
        assert lengths >= {0, SIZE // 2, SIZE}
        stamps = {stamp for number in range(len(log)) for stamp in log[number].stamps}
        assert HOLE in stamps
        assert len(scribe.waits) == 5


# Judging ---------------------------------------------------------------------------


@pytest.mark.parametrize("number", range(3))
def test_each_state_of_the_time_is_right(log: Log, number: int) -> None:
    assert judged(log, ok(content(log[number]))) == {"whole": 1}


def test_what_the_file_never_was_is_a_mixture(log: Log) -> None:
    assert judged(log, ok(content(whole(OLD, OLD, NEW, NEW)))) == {"mixtures": 1}


def test_a_shorter_body_that_claims_to_be_whole_is_a_mixture(log: Log) -> None:
    assert judged(log, ok(content(log[0])[:STRETCH])) == {"mixtures": 1}


def test_what_the_file_was_before_is_outdated(log: Log) -> None:
    assert judged(log, ok(content(log[0])), before=3) == {"stale": 1}


def test_one_strong_tag_has_one_content(log: Log) -> None:
    bodies = content(log[0]), content(log[2])
    strong = [ok(body, etag='"same"') for body in bodies]
    weak = [ok(body, etag='W/"same"') for body in bodies]
    assert judged(log, *strong) == {"whole": 1, "mislabelled": 1}
    assert judged(log, *weak) == {"whole": 2}


def part(body: bytes, first: int, last: int) -> Response:
    fields = {"content-range": f"bytes {first}-{last}/{SIZE}"}
    return Response(206, fields, body[first : last + 1])


def test_a_range_is_judged_by_what_it_covers(log: Log) -> None:
    assert judged(log, part(content(log[1]), 32, 95)) == {"partial": 1}
    other = content(whole(OLD, OLD, NEW, NEW))
    assert judged(log, part(other, 32, 95)) == {"mixtures": 1}


def test_several_ranges_are_of_one_state(log: Log) -> None:
    def several(*parts: tuple[int, bytes]) -> Response:
        lines = [
            f"--x\r\nContent-Range: bytes {first}-{first + 7}/{SIZE}\r\n\r\n".encode()
            + data
            for first, data in parts
        ]
        body = b"\r\n".join([*lines, b"--x--\r\n"])
        fields = {"content-type": "multipart/byteranges; boundary=x"}
        return Response(206, fields, body)

    old, new = render(OLD, 8), render(NEW, 8)
    assert judged(log, several((0, new), (96, old))) == {"partial": 1}
    assert judged(log, several((0, old), (96, new))) == {"mixtures": 1}


def test_an_answer_without_bytes_of_the_file_is_counted_apart(log: Log) -> None:
    answers = [Response(503, {}, b"later"), Response(416, {}, b"")]
    assert judged(log, *answers) == {"refused": 1, "unsatisfied": 1}


def test_an_error_of_the_server_is_a_failure(log: Log) -> None:
    assert judged(log, Response(500, {}, b"oh")) == {"mixtures": 1}


# Connections -----------------------------------------------------------------------

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n"


@contextmanager
def asked(port: int) -> Iterator[Connection]:
    with closing(Connection("127.0.0.1", port, Manner(1))) as connection:
        connection.ask([Request(0, "/x", "", 0)])
        yield connection


def test_a_body_that_ends_with_its_connection_is_visibly_short() -> None:
    with answering(HEAD + b"1234") as port, asked(port) as connection:
        with pytest.raises(EndedError):
            connection.receive()


def test_a_response_within_a_body_is_a_desync() -> None:
    """A file that was cut to four bytes, and a server that did not care."""
    with answering(HEAD + b"1234" + HEAD + b"12345678") as port:
        with asked(port) as connection:
            connection.receive()
            with pytest.raises(DesyncError, match="a response begins with"):
                connection.receive()


def test_a_short_body_on_a_connection_that_stays_is_a_desync(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reader, "SILENCE", 0.2)
    done = threading.Event()

    def serve() -> None:
        with listener.accept()[0] as client:
            client.recv(1000)
            client.sendall(HEAD + b"1234")
            done.wait(10)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        with asked(listener.getsockname()[1]) as connection:
            with pytest.raises(DesyncError, match="does not end"):
                connection.receive()
        done.set()
        thread.join()


# Real runs -------------------------------------------------------------------------


def churn(tmp_path: Path, *options: str) -> list[dict[str, float]]:
    common = (f"--output={tmp_path / 'out'}", f"--directory={tmp_path}")
    result = CliRunner().invoke(zc_response, ["bench", "churn", *common, *options])
    assert result.exit_code == 0, result.output
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    made = json.loads((tmp_path / "out/churn.json").read_text())
    return [each["values"] for each in made["measurements"]]


@pytest.mark.parametrize("kind", [None, "xfs", "overlay"])
def test_strict_never_sends_a_mixture(tmp_path: Path, kind: str | None) -> None:
    """A shortened run: the figures of the documentation are from a million."""
    options = ["--stacks=h11-asyncio,httptools-uvloop", "--responses=6000"]
    if kind is not None:
        if missing := disks.why_not(kind, slow=False):
            pytest.skip(f"no {kind} here: {missing}")
        options.append(f"--filesystem={kind}")
    for values in churn(tmp_path, *options):
        assert_no_mixture(values, 3000)


def test_strict_never_sends_a_mixture_by_any_worker_of_gunicorn(tmp_path: Path) -> None:
    """By the thread that downloads are handed over to neither."""
    options = ("--stacks=sync,gthread,gevent,asgi", "--responses=4000", "--seconds=60")
    for values in churn(tmp_path, *options):
        assert_no_mixture(values, 900)


def assert_no_mixture(values: dict[str, float], responses: int) -> None:
    bad = ("mixtures", "stale", "mislabelled", "desyncs", "left")
    assert {name: values[name] for name in bad} == dict.fromkeys(bad, 0)
    assert values["responses"] >= responses
    assert values["whole"] + values["partial"] > 0.5 * values["responses"]
    assert values["states"] > 50
    assert values["changes"] > 50


def test_strict_never_sends_a_mixture_to_another_host(tmp_path: Path) -> None:
    if missing := relay.why_not():
        pytest.skip(f"no other host here: {missing}")
    options = ("--stacks=httptools-uvloop", "--responses=2000", "--remote")
    (values,) = churn(tmp_path, *options)
    assert values["mixtures"] + values["stale"] + values["desyncs"] == 0
    assert values["states"] > 50


def test_without_a_guard_mixtures_are_found(tmp_path: Path) -> None:
    options = ("--integrity=fast", "--stacks=httptools-uvloop", "--sizes=300KiB,4MiB")
    (values,) = churn(tmp_path, *options, "--responses=1500")
    assert values["mixtures"] > 0
    assert values["desyncs"] == 0

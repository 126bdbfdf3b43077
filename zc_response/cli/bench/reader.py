"""Clients that ask for files which are written to, and check every byte they get.

A body is good if it is, as a whole, one of the states that the file was in between the
request and its end (see `states.py`). Everything else is counted by its kind; what a
server promises says which of them are failures.

It is a helper process (see `helper.py`): it asks until it is told to end, and says from
time to time how many responses have come.
"""

from __future__ import annotations

import random
import re
import socket
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from zc_response.cli.bench.client import HEAD_STEP, MAX_HEAD, STEP, explained
from zc_response.cli.bench.errors import LoadError
from zc_response.cli.bench.files import KIB
from zc_response.cli.bench.helper import Helper, play, told_to_end, wait_for_go
from zc_response.cli.bench.load import PATIENCE
from zc_response.cli.bench.states import (
    GRAIN,
    STAMP,
    Log,
    MixtureError,
    Seen,
    look,
    opened,
)

TELL_SECONDS: Final = 0.2
"""How often a client says how many responses have come."""
SILENCE: Final = 15.0
"""Seconds within which a server goes on, or ends the connection."""
EXAMPLES: Final = 3
"""How many failures are told in words."""
_OFTEN: Final = 64 * KIB
"""Files up to about this size are asked for equally often, larger ones less."""
_MOST_TAGS: Final = 10_000


class Manner(NamedTuple):
    """How a client behaves."""

    connections: int
    at_once: int = 1
    """Requests that are sent on each before the first answer is read."""
    ranges: int = 0
    """The most ranges of a request; 0 asks for whole files."""
    step: int = STEP
    pause: float = 0.0
    """Seconds between two reads of up to `step` bytes."""
    small: bool = True
    """Whether it asks for small files as well."""


MANNERS: Final = {
    "quick": Manner(4),
    "slow": Manner(2, step=64 * KIB, pause=0.002, small=False),
    "ranges": Manner(2, ranges=3),
    "pipelined": Manner(2, at_once=2),
}
CROWD: Final = ("quick", "quick", "slow", "ranges", "pipelined")
"""Who asks at the same time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What to ask for, and how."""

    host: str
    port: int
    manner: str
    paths: Sequence[str]
    sizes: Sequence[int]
    logs: Sequence[str]
    seconds: float
    seed: int

    def helper(self, inside: Sequence[str] = ()) -> Helper:
        """The process of the client; `inside` is a command that it is run by."""
        return Helper(__name__, asdict(self), PATIENCE, inside)


# One response ----------------------------------------------------------------------


class EndedError(Exception):
    """The connection ended before a response was whole."""


class DesyncError(Exception):
    """What came is not where a response begins, or the rest of one does not come."""


class Response(NamedTuple):
    """A response whose body has come as long as it was announced."""

    status: int
    fields: dict[str, str]
    body: bytes


class Connection:
    """A keep-alive connection on which requests may be sent ahead."""

    def __init__(self, host: str, port: int, manner: Manner) -> None:
        self._host = f"{host}:{port}"
        self._manner = manner
        self._socket = socket.socket()
        if manner.pause:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, manner.step)
        self._socket.settimeout(SILENCE)
        self._ahead = b""
        try:
            self._socket.connect((host, port))
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def ask(self, requests: Sequence[Request]) -> None:
        """Send requests, all at once."""
        heads = (
            f"GET {each.path} HTTP/1.1\r\nHost: {self._host}\r\n{each.range}\r\n"
            for each in requests
        )
        try:
            self._socket.sendall("".join(heads).encode())
        except OSError as exc:
            raise EndedError from exc

    def receive(self) -> Response:
        """Read the next response."""
        while b"\r\n\r\n" not in self._ahead:
            if not b"HTTP/1.1 ".startswith(self._ahead[:9]):
                raise DesyncError(f"a response begins with {self._ahead[:40]!r}")
            if len(self._ahead) > MAX_HEAD:
                raise DesyncError("a response's head does not end")
            self._ahead += self._some(HEAD_STEP)
        head, _, self._ahead = self._ahead.partition(b"\r\n\r\n")
        status, *lines = head.decode("latin-1").split("\r\n")
        if not status.startswith("HTTP/1.1 "):
            raise DesyncError(f"a response begins with {status[:40]!r}")
        pairs = (line.partition(":") for line in lines)
        fields = {name.lower(): value.strip() for name, _, value in pairs}
        length = int(fields["content-length"])
        return Response(int(status.split(" ")[1]), fields, self._body(length))

    def _body(self, length: int) -> bytes:
        if len(self._ahead) >= length:
            whole, self._ahead = self._ahead[:length], self._ahead[length:]
            return whole
        body = bytearray(length)
        came = len(self._ahead)
        body[:came] = self._ahead
        self._ahead = b""
        room = memoryview(body)
        while came < length:
            if self._manner.pause:
                time.sleep(self._manner.pause)
            came += self._into(room[came : came + self._manner.step])
        room.release()
        return bytes(body)

    def _some(self, count: int) -> bytes:
        buffer = bytearray(count)
        return bytes(buffer[: self._into(memoryview(buffer))])

    def _into(self, room: memoryview) -> int:
        try:
            count = self._socket.recv_into(room)
        except TimeoutError:
            raise DesyncError("a response does not go on, and does not end") from None
        except OSError as exc:
            raise EndedError from exc
        if not count:
            raise EndedError
        return count


class Request(NamedTuple):
    """A request, and when in its file's history it was made."""

    file: int
    path: str
    range: str
    before: int


# What is right and what is not -----------------------------------------------------


_WITHOUT_FILE: Final = {416: "unsatisfied", 503: "refused"}
"""Answers that hold no byte of a file, by their status."""


class Judge:
    """Counts responses by what their bodies are."""

    def __init__(self, logs: Sequence[Log]) -> None:
        self._logs = logs
        self._tags: dict[tuple[int, str], Seen] = {}
        self.seen: set[tuple[int, int]] = set()
        """The states that were seen, by file and number."""
        self.counts: Counter[str] = Counter()
        self.examples: list[str] = []

    @property
    def responses(self) -> int:
        """How many there were."""
        return self.counts.total()

    def response(self, request: Request, response: Response) -> None:
        """Count a response that came as long as it was announced."""
        if response.status in _WITHOUT_FILE:
            self.counts[_WITHOUT_FILE[response.status]] += 1
            return
        log = self._logs[request.file]
        try:
            seen = _look(response, log)
            kind, number = self._find(request, seen, log)
        except (MixtureError, KeyError, ValueError) as exc:
            self.fail("mixtures", request, f"{response.status}, {exc}")
            return
        if kind:
            self.fail(kind, request, f"{response.status}, {seen}, state {number}")
        elif not self._agrees(request.file, response.fields.get("etag", ""), seen):
            self.fail("mislabelled", request, f"{response.fields['etag']}: {seen}")
        else:
            self.seen.add((request.file, number))
            self.counts["whole" if response.status == 200 else "partial"] += 1

    def ended(self) -> None:
        """Count a response that ended early, and its connection with it."""
        self.counts["incomplete"] += 1

    def fail(self, kind: str, request: Request, example: str) -> None:
        """Count what nobody should get."""
        self.counts[kind] += 1
        if len(self.examples) < EXAMPLES:
            line = f"{kind}: {request.path} {request.range.strip()} {example}"
            self.examples.append(line)

    def _find(self, request: Request, seen: Seen, log: Log) -> tuple[str, int]:
        """What is wrong with bytes, and the state that they are of."""
        after = len(log)
        for number in log.between(request.before, after):
            if seen.is_of(log[number]):
                return "", number
        for number in range(after):
            if seen.is_of(log[number]):
                return "stale", number
        return "mixtures", -1

    def _agrees(self, file: int, tag: str, seen: Seen) -> bool:
        """True if everything that came with a strong tag was the same file's."""
        if not tag.startswith('"'):
            return True
        if len(self._tags) > _MOST_TAGS:
            self._tags.clear()
        known = self._tags.setdefault((file, tag), Seen(seen.length, {}))
        stamps = known.stamps
        return known.length == seen.length and all(
            stamps.setdefault(number, stamp) == stamp
            for number, stamp in seen.stamps.items()
        )


_CONTENT_RANGE: Final = re.compile(r"bytes (\d+)-(\d+)/(\d+)")


def _look(response: Response, log: Log) -> Seen:
    """What a response says its file is like. Raises MixtureError or ValueError."""
    if response.status == 200:
        body = response.body
        return look(len(body), [(0, body)], log.stretch)
    if response.status != 206:
        raise ValueError(f"the status is {response.status}")
    kind = response.fields.get("content-type", "")
    if kind.startswith("multipart/byteranges"):
        parts = list(_parts(response.body, kind.partition("boundary=")[2].strip('"')))
    else:
        parts = [(response.fields["content-range"], response.body)]
    pieces: list[tuple[int, bytes]] = []
    lengths = set()
    for text, data in parts:
        match = _CONTENT_RANGE.fullmatch(text)
        if match is None:
            raise ValueError(f"Content-Range is {text!r}")
        lengths.add(int(match[3]))
        if int(match[2]) - int(match[1]) + 1 != len(data):
            raise ValueError(f"Content-Range is {text!r} of {len(data)} bytes")
        pieces.append((int(match[1]), data))
    (length,) = lengths
    return look(length, pieces, log.stretch)


def _parts(body: bytes, boundary: str) -> Iterator[tuple[str, bytes]]:
    """Content-Range and bytes of each part of a multipart body."""
    line, place = f"--{boundary}".encode(), 0
    while not body.startswith(line + b"--", place):
        if not body.startswith(line, place):
            raise ValueError(f"a part begins with {body[place : place + 40]!r}")
        end = body.index(b"\r\n\r\n", place)
        match = re.search(rb"(?i)content-range: *([^\r]+)", body[place:end])
        text = match[1].decode() if match else ""
        first, last = map(int, re.findall(r"\d+", text)[:2])
        place = end + 4 + last - first + 1
        yield text, body[end + 4 : place]
        place += 2


# The process -----------------------------------------------------------------------


class Client:
    """Asks on its connections, in its manner."""

    def __init__(self, reading: Reading, logs: Sequence[Log], judge: Judge) -> None:
        self._reading = reading
        self._manner = MANNERS[reading.manner]
        self._logs = logs
        self._judge = judge
        self._dice = random.Random(reading.seed)
        self._connections: list[Connection | None] = [None] * self._manner.connections
        least = 0 if self._manner.small else _OFTEN
        wanted = [n for n, size in enumerate(reading.sizes) if size > least]
        self._wanted = wanted or list(range(len(reading.sizes)))
        self._weights = [1 / (_OFTEN + reading.sizes[n]) for n in self._wanted]

    def close(self) -> None:
        """Close all connections."""
        for connection in filter(None, self._connections):
            connection.close()

    def turn(self) -> None:
        """Ask on all connections, then read all answers."""
        asked = [self._ask(number) for number in range(len(self._connections))]
        for number, requests in enumerate(asked):
            self._receive(number, requests)

    def _ask(self, number: int) -> list[Request]:
        requests = [self._request() for _ in range(self._manner.at_once)]
        connection = self._connections[number]
        if connection is None:
            reading = self._reading
            connection = Connection(reading.host, reading.port, self._manner)
            self._connections[number] = connection
        try:
            connection.ask(requests)
        except EndedError:
            self._drop(number)  # an answer had ended it: that has been counted
            return []
        return requests

    def _request(self) -> Request:
        (file,) = self._dice.choices(self._wanted, self._weights)
        ranges = self._range(self._reading.sizes[file]) if self._manner.ranges else ""
        return Request(file, self._reading.paths[file], ranges, len(self._logs[file]))

    def _range(self, size: int) -> str:
        """Some ranges that begin and end where stamps do."""
        texts = []
        for _ in range(self._dice.randint(1, self._manner.ranges)):
            first = self._dice.randrange(0, size // STAMP) * STAMP
            last = self._dice.randrange(first + STAMP, size + STAMP, STAMP) - 1
            texts.append(f"{first}-{last}")
        return f"Range: bytes={','.join(texts)}\r\n"

    def _receive(self, number: int, requests: Sequence[Request]) -> None:
        connection = self._connections[number]
        if connection is None:
            return
        for request in requests:
            try:
                response = connection.receive()
                self._judge.response(request, response)
                if response.fields.get("connection", "").lower() == "close":
                    self._drop(number)  # the server waits for that
                    return
            except EndedError:
                self._judge.ended()
                self._drop(number)
                return
            except DesyncError as exc:
                self._judge.fail("desyncs", request, str(exc))
                self._drop(number)
                return

    def _drop(self, number: int) -> None:
        connection, self._connections[number] = self._connections[number], None
        if connection is not None:
            connection.close()


def check_sizes(sizes: Sequence[int]) -> None:
    """Raise LoadError for a size that no file of stretches of stamps can have."""
    for size in sizes:
        if size % GRAIN:
            raise LoadError(f"{size} is not a multiple of {GRAIN} bytes")


def work(request: dict[str, Any]) -> dict[str, Any]:
    """Wait for the word, then ask; tell what came."""
    reading = Reading(**request)
    with ExitStack() as stack, explained():
        logs = [
            stack.enter_context(opened(Path(path), size))
            for path, size in zip(reading.logs, reading.sizes, strict=True)
        ]
        judge = Judge(logs)
        client = Client(reading, logs, judge)
        stack.callback(client.close)
        wait_for_go()
        deadline = time.monotonic() + reading.seconds
        tell_at = 0.0
        while not told_to_end(0) and (now := time.monotonic()) < deadline:
            client.turn()
            if now >= tell_at:
                print(judge.responses, flush=True)
                tell_at = now + TELL_SECONDS
        return {
            "counts": judge.counts,
            "states": len(judge.seen),
            "examples": judge.examples,
        }


if __name__ == "__main__":
    sys.exit(play(work))

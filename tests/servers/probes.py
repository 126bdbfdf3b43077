"""What a running server gives: each probe asks it for something, as a stranger would.

A probe returns what it saw. What must hold on every server is a truth value, the rest
is told in a word or a number.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from tests.live import PATIENCE, Answer, Client, eventually
from tests.range_cases import Answer as Parsed, parts
from tests.servers.http2 import Http2Client
from tests.servers.running import SMALL, Served
from zc_response.cli.bench.procfs import Meter

MIB: Final = 1024 * 1024
WHOLE: Final = 16 * MIB
SHRINKING: Final = 32 * MIB
HUGE: Final = 128 * MIB
"""More than any server may keep of one download."""
STALLED: Final = 8
"""Clients that take nothing."""
SOON: Final = 3.0
"""Seconds in which a quick request is answered, if it does not wait for others."""
LATE: Final = 5.0
"""Seconds without a byte, after which none will come."""
WINDOW: Final = 16384
"""A receive buffer in which little of a file can hide."""

PATTERN: Final = bytes(range(256)) * 4096  # 1 MiB

Seen = dict[str, Any]


def content(size: int) -> bytes:
    """Bytes of which none is 0."""
    table = bytes(max(number, 1) for number in range(256))
    return (PATTERN * (size // MIB)).translate(table)


def ask(server: Served, path: str, headers: dict[str, str] | None = None) -> Answer:
    with server.connect() as client:
        return client.get(path, headers)


# What every server gives -------------------------------------------------------------


def whole(server: Served) -> Seen:
    """A file, byte for byte; and how its report says that it left."""
    expected = content(WHOLE)
    file = server.file(expected)
    answer = ask(server, server.path(file.name))
    if not server.kind.has_reports:
        assert server.reports(file) == []
        return {"whole": _is_good(answer, expected), "strategy": FILE_WRAPPER}
    report = server.report(file)
    return {
        "whole": _is_good(answer, expected) and report["outcome"] == "complete",
        "strategy": report["strategy"],
        "reason": report["reason"],
        "guard": report["guard"],
    }


FILE_WRAPPER: Final = "file_wrapper"
"""In place of a strategy: the server reads the file itself, and nobody reports."""


def ranges(server: Served) -> Seen:
    """What RFC 9110 says of HEAD, of validators, and of one range and several."""
    expected = content(3 * MIB)
    path = server.path(server.file(expected).name)
    with server.connect() as client:
        head = client.head(path)
    etag = head.headers["etag"]
    one = ask(server, path, {"range": "bytes=1000000-1999999"})
    two = ask(server, path, {"range": "bytes=5-999999,2000000-2999999"})
    same = ask(server, path, {"if-none-match": etag})
    still = ask(server, path, {"range": "bytes=0-9", "if-range": etag})
    no_more = ask(server, path, {"range": "bytes=0-9", "if-range": '"other"'})
    return {
        "head": (head.status, head.length, head.body) == (200, len(expected), b""),
        "range": one.status == 206 and one.body == expected[1_000_000:2_000_000],
        "several ranges": _has_parts(two, expected),
        "304": (same.status, same.body) == (304, b""),
        "If-Range": (still.status, still.body) == (206, expected[:10])
        and _is_good(no_more, expected),
    }


def _has_parts(answer: Answer, expected: bytes) -> bool:
    parsed = Parsed(
        status=answer.status,
        headers=tuple(answer.fields),
        body=answer.body,
        content=expected,
    )
    return answer.status == 206 and [part.data for part in parts(parsed)] == [
        expected[5:1_000_000],
        expected[2_000_000:3_000_000],
    ]


def made(server: Served) -> Seen:
    """Pipes, with and without a known length, and files in memory."""
    expected = content(3 * MIB)
    name = server.file(expected).name
    pipe = ask(server, server.path(name, "pipe"))
    sized = ask(server, server.path(name, "sized"))
    memory = ask(server, server.path(name, "memory"))
    return {
        "pipe": _is_good(pipe, expected),
        "pipe of a known length": _is_good(sized, expected)
        and sized.length == len(expected),
        "memory file": _is_good(memory, expected),
    }


def _is_good(answer: Answer, expected: bytes) -> bool:
    return answer.status == 200 and answer.complete and answer.body == expected


def offers(server: Served) -> Seen:
    """What the server offers an application by itself, for files."""
    if server.kind.is_django:
        return {}
    offered = ask(server, "/offers").body.decode()
    words = re.findall(r"pathsend|zerocopysend|file_wrapper", offered)
    return {"offers": words}


def shrinking(server: Served) -> Seen:
    """A file that becomes empty when a client has had the first bytes of it.

    `cut off` is visible to the client; `whole`: the server, or the kernel, had it all.
    """
    expected = content(SHRINKING)
    file = server.file(expected)
    with _stalled(server, file, LATE) as client:
        time.sleep(0.3)  # it takes what it takes
        # Who opens a file so does not break a lease: nobody is warned.
        os.close(os.open(file, os.O_RDONLY | os.O_TRUNC))
        try:
            answer = _read_on(client)
        except TimeoutError:
            return {"shrinking": "hangs"}
    if not expected.startswith(answer.body):
        return {"shrinking": "garbled"}
    if answer.complete and len(answer.body) < SHRINKING:
        return {"shrinking": "looks complete"}
    return {"shrinking": "whole" if answer.complete else "cut off"}


def leaving(server: Served) -> Seen:
    """A client that leaves midway costs nothing that lasts."""
    file = server.file(content(SHRINKING))
    with _stalled(server, file) as client:
        client.reset()
    deadline = time.monotonic() + 5
    while server.has_open(file) and time.monotonic() < deadline:
        # Files are closed when they are idle, by whoever comes next.
        ask(server, server.quick)
        time.sleep(0.05)
    return {"leaving": not server.has_open(file) and _is_quick(server)}


def crowd(server: Served) -> Seen:
    """A quick request, while others take nothing of what they have asked for."""
    file = server.file(b"")
    os.truncate(file, HUGE)
    with contextlib.ExitStack() as stack:
        try:
            for _ in range(STALLED):
                stack.enter_context(_stalled(server, file, SOON))
        except TimeoutError:
            return {"beside stalled clients": "waits"}
        seen = {"beside stalled clients": "answered" if _is_quick(server) else "waits"}
        if server.kind.wire.is_multiplexed:
            client = stack.enter_context(_stalled(server, file))
            quick = _in_time(lambda: client.get(server.quick))
            seen["beside a stalled stream"] = "answered" if quick else "waits"
    return seen


def _is_quick(server: Served) -> bool:
    return _in_time(lambda: _ask_soon(server))


def _ask_soon(server: Served) -> Answer:
    with server.connect(timeout=SOON) as client:
        return client.get(server.quick)


def _in_time(get: Callable[[], Answer]) -> bool:
    begin = time.monotonic()
    with contextlib.suppress(TimeoutError, ConnectionError):
        answer = get()
        return time.monotonic() - begin < SOON and answer.body == bytes(SMALL)
    return False


def memory(server: Served, size: int = HUGE) -> Seen:
    """By how much the server grows for a huge file whose client is slow at first."""
    file = server.file(b"")
    os.truncate(file, size)
    with Meter(server.process.pid) as meter:
        with _stalled(server, file) as client:
            time.sleep(1.0)
            answer = _read_on(client)
    assert answer.complete, server.log
    assert len(answer.body) == size
    grown = meter.usage.rss_peak - meter.usage.rss_before
    return {"memory MiB": round(grown / MIB)}


@contextlib.contextmanager
def _stalled(
    server: Served, file: Path, timeout: float = PATIENCE
) -> Iterator[Client | Http2Client]:
    """A client that has asked for a file and takes next to nothing of it."""
    with server.connect(receive_buffer=WINDOW, timeout=timeout) as client:
        client.send(server.path(file.name))
        _wait_for_something(client)
        yield client


def _read_on(client: Client | Http2Client) -> Answer:
    """The rest, as fast as it comes."""
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * MIB)
    return client.receive()


def _wait_for_something(client: Client | Http2Client) -> None:
    """Until the response has begun; nothing of it is taken."""
    if not isinstance(client, Http2Client) and not _is_tls(client):
        client.socket.recv(1, 2)  # MSG_PEEK
        return
    time.sleep(0.3)


def _is_tls(client: Client) -> bool:
    return hasattr(client.socket, "getpeercert")


# By the system calls -----------------------------------------------------------------

CALLS: Final = "sendfile,splice,sendto,sendmsg,sendmmsg,write,writev,io_uring_enter"
TRACED: Final = 4 * MIB


def calls(server: Served) -> Seen:
    """By which system calls the bytes of a body come to sockets, most first."""
    file = server.file(content(TRACED))
    trace = server.work / "trace"
    trace.unlink(missing_ok=True)
    with _strace(server, trace):
        answer = ask(server, server.path(file.name))
    assert len(answer.body) == TRACED
    carried = _carried(trace.read_text())
    total = sum(carried.values())
    most = [call for call, count in carried.most_common() if count > total * 0.05]
    return {"calls": most}


@contextlib.contextmanager
def _strace(server: Served, trace: Path) -> Iterator[None]:
    """Look over the shoulder of all processes of a server."""
    pids = [part for pid in server.family() for part in ("-p", str(pid))]
    command = ["strace", "-f", "-qq", "-yy", "-s", "0", "-e", f"trace={CALLS}"]
    tracer = subprocess.Popen([*command, "-o", str(trace), *pids])
    try:
        eventually(lambda: all(map(_is_traced, server.family())), "strace's start")
        yield
    finally:
        tracer.send_signal(signal.SIGINT)
        tracer.wait(PATIENCE)


def _is_traced(pid: int) -> bool:
    tasks = [task / "status" for task in Path(f"/proc/{pid}/task").iterdir()]
    return all("TracerPid:\t0\n" not in status.read_text() for status in tasks)


def _carried(trace: str) -> Counter[str]:
    """The bytes that went to sockets, by call; as `strace -f -yy` tells of them."""
    carried = Counter[str]()
    begun: dict[str, bool] = {}
    for line in trace.splitlines():
        pid, _, said = line.partition(" ")
        call = re.search(r"(\w+)\(|<\.\.\. (\w+) resumed>", said)
        if call is None:
            continue
        is_socket = "<TCP" in said or (bool(call[2]) and begun.pop(pid, False))
        if said.endswith("<unfinished ...>"):
            begun[pid] = is_socket
        elif is_socket and (result := re.search(r"= (\d+)$", said)):
            carried[call[1] or call[2]] += int(result[1])
    return carried


HAS_STRACE: Final = shutil.which("strace") is not None

QUICK: Final = (whole, ranges, made, offers, shrinking, leaving)
"""Those that take no more than a moment each."""
ALL: Final = (*QUICK, crowd, memory, calls)

"""What files do over TLS when the kernel encrypts: the matrix that scripts/ktls runs.

It runs in the machine that scripts/ktls boots, where the kernel has TLS and there is
nothing but Python, gunicorn, Flask, gevent and this package. Each case is seen from
three sides: the client gets the right bytes, the report names the way they went, and a
relay in between has seen nothing but TLS.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import random
import signal
import socket
import ssl
import struct
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

WORK = Path(os.environ.get("KTLS_WORK", "/work"))
FILES, REPORTS = WORK / "files", WORK / "reports"
CONTENT = random.Random(1).randbytes(3 << 20)
BIG = CONTENT * 6  # more than the buffers of a connection take
SMALL_WINDOW = 16384
PATIENCE = 60.0
CBC = "ECDHE-ECDSA-AES128-SHA256"
"""A cipher that the kernel does not have."""


# The application --------------------------------------------------------------------


def application() -> Any:
    """A Flask application that sends files, and writes its reports down."""
    from flask import Flask, Response

    from zc_response import Report, add_listener
    from zc_response.integrations.flask import send_file

    def write_down(report: Report) -> None:
        with REPORTS.open("a") as lines:
            lines.write(json.dumps(dataclasses.asdict(report)) + "\n")

    add_listener(write_down)
    app = Flask(__name__)

    @app.get("/<name>")
    def view(name: str) -> Response:
        return send_file(FILES / name)

    return app


# A server and its client ------------------------------------------------------------


class Server:
    """A gunicorn that is running."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process, self.log = process, log
        self.port = 0

    def wait(self) -> None:
        """Wait until it listens."""
        until = time.monotonic() + PATIENCE
        while "Booting worker" not in (text := self.log.read_text()):
            is_late = time.monotonic() > until
            assert not is_late and self.process.poll() is None, text  # noqa: PT018
            time.sleep(0.05)
        self.port = int(text.partition("https://127.0.0.1:")[2].split()[0])


@contextlib.contextmanager
def gunicorn(worker: str, *, hook: bool = True) -> Iterator[Server]:
    """gunicorn with our setting; without the hook that asks for kTLS, if so wished."""
    conf, log = WORK / "conf.py", WORK / "log"
    conf.write_text(
        "from zc_response.integrations.gunicorn_conf import *\n"
        + ("" if hook else "del ssl_context\n")
        + f"certfile = keyfile = {str(WORK / 'certificate.pem')!r}\n"
    )
    command = [sys.executable, "-m", "gunicorn", "-c", str(conf), "-k", worker]
    command += ["-b", "127.0.0.1:0", "--no-control-socket"]
    command += ["--threads", "4"] if worker == "gthread" else []
    command += ["ktls_matrix:application()"]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
    server = Server(process, log)
    try:
        server.wait()
        yield server
    except BaseException:
        print(log.read_text())
        raise
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE)


class Client:
    """A connection behind TLS, which wants a proper end of it."""

    def __init__(
        self, port: int, version: ssl.TLSVersion, ciphers: str = "", window: int = 0
    ) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.minimum_version = context.maximum_version = version
        if ciphers:
            context.set_ciphers(ciphers)
        plain = socket.socket()
        if window:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
        plain.settimeout(PATIENCE)
        plain.connect(("127.0.0.1", port))
        self.socket = context.wrap_socket(plain, suppress_ragged_eofs=False)
        self.headers: dict[str, str] = {}

    def ask(self, name: str, ranges: str = "") -> None:
        """Send a request."""
        field = f"Range: bytes={ranges}\r\n" if ranges else ""
        self.socket.sendall(f"GET /{name} HTTP/1.1\r\nHost: x\r\n{field}\r\n".encode())

    def head(self) -> int:
        """The length that the answer promises."""
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            byte = self.socket.recv(1)
            assert byte, "the connection ended in a header"
            head += byte
        lines = head.decode().split("\r\n")[1:-2]
        self.headers = {
            name.lower(): value
            for name, _, value in (line.partition(": ") for line in lines)
        }
        return int(self.headers["content-length"])

    def body(self, size: int) -> bytes:
        """So many bytes, or as many as come."""
        parts, left = [], size
        with contextlib.suppress(ssl.SSLEOFError, ConnectionResetError):
            while left and (part := self.socket.recv(min(left, 65536))):
                parts.append(part)
                left -= len(part)
        return b"".join(parts)

    def get(self, name: str, ranges: str = "") -> bytes:
        """A whole body."""
        self.ask(name, ranges)
        return self.body(self.head())

    def has_good_end(self) -> bool:
        """True if the connection is still open, or was ended by close_notify."""
        self.socket.settimeout(0.2)
        try:
            return self.socket.recv(1) == b""
        except TimeoutError:
            return True

    def has_ended(self) -> bool:
        """True if nothing comes but the end."""
        self.socket.settimeout(PATIENCE)
        with contextlib.suppress(ssl.SSLEOFError):  # gunicorn's own way
            return self.socket.recv(1) == b""
        return True

    def leave(self) -> None:
        """Leave with RST."""
        linger = struct.pack("ii", 1, 0)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.socket.close()


# The cases --------------------------------------------------------------------------

Connect = Callable[..., Client]


def whole(connect: Connect) -> str:
    """The whole file."""
    client = connect()
    assert client.get("file") == CONTENT
    client.leave()
    return ""


def one_range(connect: Connect) -> str:
    """A range that neither begins nor ends where a record would."""
    client = connect()
    assert client.get("file", "1001-2000000") == CONTENT[1001:2000001]
    client.leave()
    return ""


def multipart(connect: Connect) -> str:
    """Two ranges, with bytes of ours in between."""
    client = connect()
    body = client.get("file", "5-99999,200001-2999999")
    assert body.count(CONTENT[5:100000]) == 1
    assert body.count(CONTENT[200001:3000000]) == 1
    assert client.headers["content-type"].startswith("multipart/byteranges")
    client.leave()
    return ""


def slow(connect: Connect) -> str:
    """A client that makes the server wait: the download is handed over."""
    client = connect(window=SMALL_WINDOW)
    client.ask("big")
    size = client.head()
    time.sleep(0.5)
    assert client.body(size) == BIG
    assert client.has_good_end()
    client.leave()
    return ""


def shrink(connect: Connect) -> str:
    """The file is truncated while it is sent: all of the old one, or visibly less."""
    client = connect(window=SMALL_WINDOW)
    client.ask("shrinking")
    size = client.head()
    begun = client.body(100_000)
    with (FILES / "shrinking").open("r+b") as file:
        file.truncate(200_000)
    body = begun + client.body(size - len(begun))
    assert BIG.startswith(body)
    client.leave()
    return "whole" if len(body) == size else "visibly incomplete"


def disconnect(connect: Connect) -> str:
    """The client leaves in the middle; the next one is served."""
    client = connect(window=SMALL_WINDOW)
    client.ask("big")
    client.head()
    client.body(100_000)
    client.leave()
    client = connect()
    assert client.get("file") == CONTENT
    client.leave()
    return ""


def honest(connect: Connect) -> str:
    """The header says what becomes of the connection, though the client is slow."""
    client = connect(window=SMALL_WINDOW)
    client.ask("big")
    size = client.head()
    is_kept = client.headers["connection"].lower() == "keep-alive"
    time.sleep(0.5)
    assert client.body(size) == BIG
    if not is_kept:
        assert client.has_ended()
    else:
        assert client.get("file") == CONTENT
    client.leave()
    return "kept" if is_kept else "closed"


def key_update(connect: Connect) -> str:
    """A client that asks for new keys (KeyUpdate) before its request.

    OpenSSL takes new keys with the next that it writes, and the kernel does not; what
    comes then is lost, visibly. It counts that nothing leaves in plain, and that the
    next one is served.
    """
    expected = {"file": CONTENT, "404": b"404 NOT FOUND"}
    found = {
        name: content in connect(client=partial(ask_after_key_update, name=name))
        for name, content in expected.items()
    }
    client = connect()
    assert client.get("file") == CONTENT
    client.leave()
    lost = [name for name, has_arrived in found.items() if not has_arrived]
    return f"lost: {' and '.join(lost)}" if lost else ""


def ask_after_key_update(port: int, *_: Any, name: str) -> bytes:
    """All that `openssl s_client` says; Python's ssl cannot ask for new keys."""
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-tls1_3"]
    log = WORK / "s_client"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=output, stderr=output
        )
    assert process.stdin is not None
    until = time.monotonic() + PATIENCE
    while b"Verify return code" not in log.read_bytes():
        assert time.monotonic() < until, log.read_bytes()
        time.sleep(0.1)
    request = f"GET /{name} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    for words in (b"K\n", request.encode()):
        time.sleep(1)  # it looks at what it has read at once
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(words)
            process.stdin.flush()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    with contextlib.suppress(BrokenPipeError):
        process.stdin.close()
    said = log.read_bytes()
    assert b"KEYUPDATE" in said, said[-3000:]
    return said


CASES = [whole, one_range, multipart, slow, honest, shrink, disconnect]
VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


def encrypted_by_kernel() -> int:
    """How many connections the kernel has encrypted until now."""
    with contextlib.suppress(FileNotFoundError):
        for line in Path("/proc/net/tls_stat").read_text().splitlines():
            name, count = line.split()
            if name == "TlsTxSw":
                return int(count)
    return 0


def try_case(
    server: Server,
    case: Callable[[Connect], str],
    version: str,
    *,
    expect: str,
    **how: str,
) -> str:
    """Run a case; what happened, or what went wrong."""
    from tests.wire import complaint, recording

    FILES.mkdir(exist_ok=True)
    (FILES / "file").write_bytes(CONTENT)
    (FILES / "big").write_bytes(BIG)
    (FILES / "shrinking").write_bytes(BIG)
    past = time.time() - 3600
    for path in FILES.iterdir():
        os.utime(path, (past, past))
    REPORTS.write_text("")
    before = encrypted_by_kernel()
    recorded = []

    def connect(window: int = 0, client: Callable[..., Any] = Client) -> Any:
        if window:  # a relay would take what the client does not
            return Client(server.port, VERSIONS[version], window=window, **how)
        relay = relays.enter_context(recording(server.port))
        recorded.append(relay.recorded)
        return client(relay.port, VERSIONS[version], **how)

    with contextlib.ExitStack() as relays:
        said = case(connect)
    for bytes_seen in recorded:
        wrong = complaint(bytes(bytes_seen), CONTENT)
        assert not wrong, wrong
    until = time.monotonic() + PATIENCE
    while not (lines := REPORTS.read_text().splitlines()):
        assert time.monotonic() < until, "there is no report"
        time.sleep(0.05)
    ways = {f"{row['strategy']}: {row['reason']}" for row in map(json.loads, lines)}
    assert ways == {expect}, f"went by {ways}, not by {expect}"
    by_kernel = encrypted_by_kernel() - before
    assert bool(by_kernel) == (expect == BY_KERNEL), f"{by_kernel} by the kernel"
    return said


BY_KERNEL = "sendfile: the kernel encrypts"
COPIED = "copy: TLS"


def main() -> int:
    """Run everything; print a row for each case, and a verdict."""
    failed = 0
    WORK.mkdir(exist_ok=True)

    def row(worker: str, version: str, name: str, run: Callable[[], str]) -> None:
        nonlocal failed
        began = time.monotonic()
        try:
            result = run() or "ok"
            result = result if result == "ok" else f"ok: {result}"
        except Exception as exc:
            failed += 1
            traceback.print_exc()
            print((WORK / "log").read_text()[-3000:], flush=True)
            result = f"FAILED: {exc!r}"[:300]
        took = time.monotonic() - began
        print(f"ROW|{worker}|{version}|{name}|{result}|{took:.1f}", flush=True)

    for worker in ("sync", "gthread", "gevent"):
        with gunicorn(worker) as server:
            for version in VERSIONS:
                for case in CASES:
                    row(
                        *(worker, version, case.__name__),
                        lambda: try_case(server, case, version, expect=BY_KERNEL),  # noqa: B023
                    )
            row(
                *(worker, "1.3", "key_update"),
                lambda: try_case(server, key_update, "1.3", expect=BY_KERNEL),
            )
            row(
                *(worker, "1.2", "fallback: a cipher the kernel lacks (CBC)"),
                lambda: try_case(server, whole, "1.2", expect=COPIED, ciphers=CBC),
            )
        with gunicorn(worker, hook=False) as server:
            row(
                *(worker, "1.3", "fallback: without the hook"),
                lambda: try_case(server, whole, "1.3", expect=COPIED),
            )
    print(f"VERDICT|{'failed' if failed else 'passed'}|{failed}", flush=True)
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main())

"""gunicorn: every worker class, by three hooks in its configuration.

    gunicorn -c python:zc_response.integrations.gunicorn_conf app:app

or in a gunicorn.conf.py of your own:

    from zc_response.integrations.gunicorn import (
        post_worker_init, ssl_context, worker_exit
    )

The WSGI workers (sync, gthread, gevent) hand the socket to the application; what is
relied upon beyond that is the `Response` behind `start_response`: it writes the header
into our hands, and counts the bytes for the access log. It is looked up before it is
used; where anything is missing, bodies are iterated as usual.

A download that its client makes wait is handed over to a thread of this process, and
the worker is free. For that the connection has to change its owner: the worker keeps a
descriptor of the same number, of a socket that leads nowhere, and closes it as ever.
"""

from __future__ import annotations

import asyncio
import errno
import os
import selectors
import signal
import socket
import ssl
import time
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import Any, ClassVar, Final

from zc_response.asgi import (
    Fields,
    Message,
    Send,
    ZeroCopyMiddleware as AsgiMiddleware,
)
from zc_response.errors import DisconnectedError, TransferError
from zc_response.integrations.gunicorn_access_log import LogLine, make_wait
from zc_response.planning import has_no_body
from zc_response.policy import Policy, default_policy
from zc_response.report import Tally
from zc_response.transmit import (
    MULTIPLEXED,
    Access,
    Done,
    Frame,
    Transfer,
    drive_briefly,
    drive_here,
    handed_over,
    reach,
    reset,
    say_goodbye,
)
from zc_response.wsgi import (
    Connection,
    Environ,
    HeaderFields,
    StartResponse,
    ZeroCopyMiddleware,
)

__all__ = ["post_worker_init", "ssl_context", "worker_exit"]


# The hooks -------------------------------------------------------------------------


def post_worker_init(worker: Any) -> None:
    """Put our middleware around the application of this worker, outermost."""
    global _worker
    _worker = _Worker(worker)
    if hasattr(worker, "callback_notify"):  # uvicorn's: its application is no WSGI one
        http = worker.config.http
        worker.config.http = _UVICORNS_HTTP.get(http, http)
    elif hasattr(worker, "asgi"):
        worker.asgi = AsgiMiddleware(worker.asgi)
    else:
        worker.wsgi = ZeroCopyMiddleware(worker.wsgi)
        make_wait(worker.log)


_UVICORNS_HTTP: Final = {
    "auto": "zc_response.integrations.uvicorn:ZeroCopyProtocol",
    "h11": "zc_response.integrations.uvicorn:ZeroCopyH11Protocol",
    "httptools": "zc_response.integrations.uvicorn:ZeroCopyHttpToolsProtocol",
}


def worker_exit(server: Any, worker: Any) -> None:
    """Let the downloads end that have been handed over, within the graceful timeout."""
    if _worker is not None:
        _worker.drain()


def ssl_context(config: Any, default_ssl_context_factory: Callable[[], Any]) -> Any:
    """gunicorn's own context, that has the kernel encrypt where it can (kTLS).

    Python has the option since 3.12, built with OpenSSL 3. Where the kernel cannot,
    OpenSSL encrypts as ever; so every connection is asked which it is.
    """
    context: ssl.SSLContext = default_ssl_context_factory()
    if default_policy().zero_copy:
        context.options |= getattr(ssl, "OP_ENABLE_KTLS", 0)
    return context


class _Worker:
    """The worker of this process."""

    def __init__(self, worker: Any) -> None:
        self.worker = worker
        # gunicorn closes the file of its heartbeat before it calls `worker_exit`.
        self._heart = os.dup(worker.tmp.fileno())
        self._is_quick = False
        worker_int = worker.cfg.worker_int

        def interrupted(worker: Any) -> None:
            self._is_quick = True
            worker_int(worker)

        worker.cfg.set("worker_int", interrupted)
        # A worker's own patience with its requests is part of the graceful timeout.
        self._told_at: float | None = None
        self._on_term = signal.getsignal(signal.SIGTERM)
        if callable(self._on_term):
            signal.signal(signal.SIGTERM, self._told_to_end)

    def _told_to_end(self, number: int, frame: FrameType | None) -> None:
        if self._told_at is None:
            self._told_at = time.monotonic()
        assert callable(self._on_term)
        self._on_term(number, frame)

    def beat(self) -> None:
        """Tell the arbiter that this worker is alive."""
        now = time.monotonic()
        os.utime(self._heart, (now, now))

    def drain(self) -> None:
        """Wait for what has been handed over; on SIGQUIT and SIGINT not at all.

        The arbiter kills a worker that it has told to end when the graceful timeout is
        over.
        """
        seconds = 0.0 if self._is_quick else float(self.worker.cfg.graceful_timeout)
        if self._told_at is not None:
            seconds -= time.monotonic() - self._told_at + ENDING_SECONDS
        handed_over.drain(seconds, self.beat)

    def readmission(self, response: Any) -> Callable[[socket.socket], object] | None:
        """How to give a connection back to the worker that keeps it alive, if it can.

        That is a gthread worker, which waits for the next requests of all connections
        in one place, and a request of which nothing is left unread.
        """
        worker, request = self.worker, response.req
        lacking = [need for need in _GTHREAD_NEEDS if not hasattr(worker, need)]
        if worker.cfg.is_ssl:  # what comes next only OpenSSL can read, over there
            return None
        if lacking or response.should_close() or not _is_read(request):
            return None
        server = response.sock.getsockname()
        pending = request.unreader.buf.getvalue()
        readmit = partial(_readmit, worker, request.peer_addr, server, pending)
        return lambda sock: worker.method_queue.defer(readmit, sock)


ENDING_SECONDS: Final = 0.5
"""What it takes to abort what is left over."""

_GTHREAD_NEEDS: Final = (
    "enqueue_req",
    "keepalived_conns",
    "method_queue",
    "nr_conns",
    "on_client_socket_readable",
    "poller",
)


def _is_read(request: Any) -> bool:
    """True if the request has no body, so that nothing of it can still come."""
    names = {name.upper() for name, _value in request.headers}
    return names.isdisjoint(("CONTENT-LENGTH", "TRANSFER-ENCODING"))


def _readmit(
    worker: Any, client: Any, server: Any, pending: bytes, sock: socket.socket
) -> None:
    """Have a worker wait for the next request; called in its main thread."""
    from gunicorn.workers.gthread import TConn

    if not worker.alive:
        sock.close()
        return
    conn = TConn(worker.cfg, sock, client, server)
    worker.nr_conns += 1
    if pending:  # the next request has been read already
        conn.init()
        conn.parser.unreader.unread(pending)
        worker.enqueue_req(conn)
        return
    conn.set_timeout()
    worker.keepalived_conns.append(conn)
    readable = partial(worker.on_client_socket_readable, conn)
    worker.poller.register(sock, selectors.EVENT_READ, readable)


_worker: _Worker | None = None


# The connection of a WSGI worker ---------------------------------------------------


def connect_wsgi(environ: Environ, start_response: StartResponse) -> Connection | None:
    """The connection behind a request, if it is one of gunicorn's WSGI workers."""
    response = getattr(start_response, "__self__", None)
    if type(response) not in _known:
        _known[type(response)] = all(hasattr(response, need) for need in _NEEDS)
    return _ResponseConnection(response) if _known[type(response)] else None


_known: Final[dict[type, bool]] = {}
"""Whether what is behind `start_response` is a Response that we can use, by class."""


_NEEDS: Final = (
    "cfg",
    "chunked",
    "force_close",
    "headers_sent",
    "req",
    "response_length",
    "send_headers",
    "sent",
    "should_close",
    "sock",
    "status",
)

BRIEF_SECONDS: Final = 0.05
"""How long a worker sends by itself."""
PATIENCE_SECONDS: Final = 0.002
"""How long it waits for a client before it hands a download over."""


_MEMO_ENTRIES: Final = 8


class _Said:
    """What a Response makes of a status and header fields.

    That is what it remembers of them, and the header it writes: for a connection that
    closes and for one that does not, each with the second whose date it has.
    """

    __slots__ = ("_fields", "_made", "heads")

    def __init__(self, made: dict[str, Any], fields: list[Any]) -> None:
        self._made, self._fields = made, tuple(fields)
        self.heads: dict[bool, tuple[int, bytes]] = {}

    @classmethod
    def of(cls, response: Any, status: str, headers: HeaderFields) -> _Said:
        """Have a Response hear it for the first time."""
        before = dict(vars(response))
        response.start_response(status, headers)
        made = {
            name: value
            for name, value in vars(response).items()
            if before.get(name, before) is not value
        }
        return cls(made, response.headers)

    def say_again(self, response: Any) -> None:
        """Have another Response know the same."""
        vars(response).update(self._made)
        response.headers = list(self._fields)


class _ResponseConnection:
    """One request of gunicorn, seen through its Response."""

    def __init__(self, response: Any) -> None:
        self._response = response
        self._mine: socket.socket | None = None
        self._memo: dict[object, Any] | None = None
        self._said: _Said | None = None
        self._flows = False

    def expect(self, memo: dict[object, Any]) -> None:
        """See `Connection`."""
        if type(self._response).__module__ == "gunicorn.http.wsgi":
            self._memo = memo

    def start_response(
        self, status: str, headers: HeaderFields, exc_info: Any = None
    ) -> Any:
        """gunicorn's own: the Response remembers what is said.

        What it makes of header fields that come again is kept for the next time.
        Fields that are taken back (PEP 3333, `exc_info`) it would keep: they go here.
        """
        response, memo = self._response, self._memo
        if memo is None or exc_info or response.status is not None:
            if exc_info and not response.headers_sent:
                response.headers, response.response_length = [], None
            self._said = None
            return response.start_response(status, headers, exc_info)
        key = (status, response.req.method, response.req.version, *headers)
        said: _Said | None = memo.get(key)
        if said is None:
            said = _Said.of(response, status, headers)
            if len(memo) >= _MEMO_ENTRIES:  # of fields that are never the same
                memo.clear()
            memo[key] = said
        else:
            said.say_again(response)
        self._said = said
        return response.write

    @property
    def obstacle(self) -> str:
        """Why the socket is out of reach, whatever it is."""
        cfg = self._response.cfg
        if self._response.req.version >= (2, 0):
            return MULTIPLEXED
        if cfg.sendfile is False:
            return "switched off (gunicorn's sendfile)"
        return ""

    @property
    def is_bodiless(self) -> bool:
        """HEAD, 1xx, 204 and 304 have no body (RFC 9112 section 6.3)."""
        return has_no_body(self._response.req.method, self.status)

    @property
    def status(self) -> int:
        """The status, once the response has started."""
        return int(self._response.status.split(maxsplit=1)[0])

    @property
    def content_length(self) -> int | None:
        """What the header promises of the body, if anything."""
        length: int | None = self._response.response_length
        return length

    @property
    def sent(self) -> int:
        """Body bytes that gunicorn knows of."""
        count: int = self._response.sent
        return count

    def head(self, policy: Policy) -> bytes:
        """See `Connection`.

        A transfer may be handed over. Where its connection could not come back from
        there, the header says that it will be closed, be it handed over or not.
        """
        response = self._response
        if response.cfg.is_ssl and policy.handed_over and not self._is_green:
            response.force_close()
        return self._head()

    def _head(self) -> bytes:
        """Let the Response write its header into our hands.

        The same answer within the same second has the same one, the date included.
        """
        response, said = self._response, self._said
        if response.headers_sent:
            return b""
        if said is None:
            return self._written_head()
        closes, second = response.should_close(), int(time.time())
        kept_for, head = said.heads.get(closes, (0, b""))
        if kept_for == second:
            response.headers_sent = True
        else:
            head = self._written_head()
            said.heads[closes] = second, head
        return head

    def _written_head(self) -> bytes:
        response = self._response
        sock, recorder = response.sock, _Recorder()
        response.sock = recorder
        try:
            response.send_headers()
        finally:
            response.sock = sock
        return bytes(recorder.written)

    def send_together(self, body: bytes | bytearray) -> bool:
        """See `Connection`; the header has the length of the body."""
        response = self._response
        if response.headers_sent or response.chunked or response.req.version >= (2, 0):
            return False
        data = self._head() + body
        response.sent += len(body)
        response.sock.sendall(data)
        return True

    def passed(self, count: int) -> None:
        """The Response counts by itself."""

    def frame(self, count: int) -> tuple[bytes, bytes]:
        """Enter `count` body bytes into the Response's books.

        With the last chunk: who carries the transfer may be somebody else by then.
        """
        response = self._response
        response.sent += count
        if not response.chunked:
            return b"", b""
        response.chunked, response.response_length = False, count
        return b"%X\r\n" % count, b"\r\n0\r\n\r\n"

    def frames(self) -> tuple[Frame, bytes]:
        """See `Connection`. The Response is left as one whose body has been sent."""
        response, self._flows = self._response, True
        if not response.chunked:  # the end of the connection will be that of the body
            return _unframed, b""
        response.chunked, response.response_length = False, response.sent
        return _chunk, b"0\r\n\r\n"

    def flowed(self, count: int) -> None:
        """For the access log; what has been handed over is counted at its end."""
        if self._mine is None:
            self._response.sent += count

    def access(self) -> Access:
        """The connection's socket, if it may be written to."""
        response, obstacle = self._response, self.obstacle
        if obstacle:
            return Access(None, obstacle)
        return reach(response.sock, self._fileno, is_tls=response.cfg.is_ssl)

    def _fileno(self) -> int:
        sock = self._mine or self._response.sock
        number: int = sock.fileno()
        return number

    def carry(self, transfer: Transfer, tally: Tally, policy: Policy) -> None:
        """Carry a transfer out here, or, if that takes long, elsewhere."""
        sock = self._response.sock
        if self._is_green:
            self._carry_in_greenlet(transfer, tally)
            return
        timeout = sock.gettimeout()
        if timeout is not None:
            sock.setblocking(True)
        tally.begin()
        try:
            if not drive_briefly(transfer, BRIEF_SECONDS, PATIENCE_SECONDS):
                sock.setblocking(False)
                self._go_on(transfer, tally, policy.handed_over)
                return
        except BaseException as exc:
            self._fail(tally, exc)
            raise _as_os_error(exc) from exc
        finally:
            if sock.gettimeout() != timeout:
                sock.settimeout(timeout)
        tally.end(None)

    @property
    def _is_green(self) -> bool:
        """True under gevent, where nothing has to be handed over."""
        return type(self._response.sock).__module__.startswith("gevent.")

    def _carry_in_greenlet(self, transfer: Transfer, tally: Tally) -> None:
        from zc_response.integrations.gevent import drive

        tally.begin()
        try:
            drive(transfer)
        except BaseException as exc:
            self._fail(tally, exc)
            raise _as_os_error(exc) from exc
        tally.end(None)

    def _go_on(self, transfer: Transfer, tally: Tally, most: int) -> None:
        """Hand a transfer over if that can be done; else carry it out here."""
        is_taken = False
        if _worker is not None:
            leave = partial(self._leave, _worker, tally)
            is_taken = handed_over.take(transfer, tally, leave, most)
        if not is_taken:
            drive_here(transfer, self.beat)
            tally.end(None)

    def _leave(self, worker: _Worker, tally: Tally) -> Done:
        """Take the connection from the worker; how it is to end. May raise OSError."""
        readmit = worker.readmission(self._response)
        mine = self._mine = _take_over(self._response.sock)
        self._response.force_close()
        line = LogLine(self._response)

        async def end(whole: bool) -> None:
            self._count(tally)
            line.end()
            await _end(mine, readmit, whole)

        return end

    def _count(self, tally: Tally) -> None:
        """Correct the Response's books, at the end of a transfer."""
        if self._flows:
            self._response.sent += tally.sent
        else:
            self._response.sent -= tally.promised - tally.sent

    def _fail(self, tally: Tally, error: BaseException) -> None:
        self._count(tally)
        tally.end(error)
        self.abort()

    def beat(self) -> None:
        """Tell the arbiter that this worker is alive."""
        if _worker is not None:
            _worker.beat()

    def abort(self) -> None:
        """Drop the connection, with RST."""
        self._response.force_close()
        access = self.access()
        if access.fileno is None:
            self._response.sock.close()
        else:
            reset(access.fileno())


def _chunk(count: int) -> tuple[bytes, bytes]:
    return b"%X\r\n" % count, b"\r\n"


def _unframed(_count: int) -> tuple[bytes, bytes]:
    return b"", b""


def _as_os_error(error: BaseException) -> BaseException:
    """What gunicorn takes quietly: the report has said it already."""
    if isinstance(error, TransferError):
        return BrokenPipeError(errno.EPIPE, str(error))
    return error


def _take_over(sock: socket.socket) -> socket.socket:
    """The connection of `sock`, which leads nowhere from now on."""
    here, nowhere = socket.socketpair()
    with here, nowhere:
        mine = socket.socket(fileno=os.dup(sock.fileno()))
        os.dup2(here.fileno(), sock.fileno(), inheritable=False)
    return mine


async def _end(
    sock: socket.socket, readmit: Callable[[socket.socket], object] | None, whole: bool
) -> None:
    """Close the connection of a download that has ended elsewhere, or give it back."""
    if whole and readmit is not None:
        readmit(sock)
        return
    with sock:
        if whole:
            sock.setblocking(False)
            try:
                say_goodbye(sock)
                await asyncio.wait_for(_until_closed(sock), LINGER_SECONDS)
            except (OSError, asyncio.TimeoutError):
                pass


async def _until_closed(sock: socket.socket) -> None:
    while await asyncio.get_running_loop().sock_recv(sock, 65536):
        pass


LINGER_SECONDS: Final = 2.0
"""How long a client may still send: closed before that, it might lose the end of what
it has been sent (RFC 9112 section 9.6)."""


class _Recorder:
    """A socket that keeps what is written to it."""

    def __init__(self) -> None:
        self.written = bytearray()

    def sendall(self, data: bytes) -> None:
        self.written += data


# The connection of the ASGI worker -------------------------------------------------


def connect(send: Any) -> _AsgiConnection | str:
    """The connection behind the ASGI worker's `send`, or why it cannot be used."""
    code = send.__code__
    if "._handle_http2_request." in send.__qualname__:
        return MULTIPLEXED
    cells = dict(zip(code.co_freevars, send.__closure__ or (), strict=True))
    missing = [need for need in _ASGI_CELLS if need not in cells]
    protocol = cells["self"].cell_contents if "self" in cells else None
    missing += [need for need in _ASGI_NEEDS if not hasattr(protocol, need)]
    if missing:
        return f"this gunicorn's {send.__qualname__} has no {', '.join(missing)}"
    return _AsgiConnection(protocol, cells, send)


_ASGI_CELLS: Final = (
    "request",
    "response_length",
    "response_sent",
    "self",
    "use_chunked",
)
_ASGI_NEEDS: Final = (
    "_closed",
    "_flow_control",
    "_pause_reading",
    "_response_buffer",
    "transport",
)


class _AsgiConnection:
    """One request of gunicorn's ASGI worker, seen through its protocol and `send`.

    What `send` knows of the response it keeps in variables of the function around it.
    """

    __slots__ = ("_cells", "_protocol", "_server_send")

    def __init__(self, protocol: Any, cells: dict[str, Any], send: Send) -> None:
        self._protocol = protocol
        self._cells = cells
        self._server_send = send

    @property
    def obstacle(self) -> str:
        """Why the socket is out of reach."""
        transport = self._protocol.transport
        if transport is None:
            return "the connection is gone"
        if transport.get_extra_info("sslcontext") is not None:
            return "TLS"
        if transport.get_extra_info("socket") is None:
            return "the transport has no socket"
        return ""

    @property
    def disconnected(self) -> bool:
        """True when the connection is lost, or is being closed."""
        protocol = self._protocol
        return bool(protocol._closed or protocol.transport.is_closing())

    def bodiless(self, status: int) -> bool:
        """HEAD, 1xx, 204 and 304 have no body (RFC 9112 section 6.3)."""
        return has_no_body(self._cells["request"].cell_contents.method, status)

    async def drain(self) -> None:
        """Wait until the transport has written everything gunicorn gave it.

        A header whose body has no length is kept for the first bytes of that.
        """
        protocol, transport = self._protocol, self._protocol.transport
        kept, protocol._response_buffer = protocol._response_buffer, None
        if kept:
            transport.write(kept)
        if not transport.get_write_buffer_size():
            return
        low, high = transport.get_write_buffer_limits()
        transport.set_write_buffer_limits(high=0)
        try:
            await self._protocol._flow_control.drain()
        finally:
            transport.set_write_buffer_limits(high=high, low=low)

    async def head(self, send: Send, start: Message) -> bytes:
        """Take the header that gunicorn keeps for the first bytes of the body."""
        await send(start)
        head: bytes = self._protocol._response_buffer or b""
        self._protocol._response_buffer = None
        return head

    async def send_together(self, send: Send, start: Message, body: Message) -> bytes:
        """Send a whole response: gunicorn puts header and body into one write."""
        await send(start)
        await send(body)
        return b""

    async def send_whole(
        self, status: int, headers: Fields, body: bytes | bytearray
    ) -> None:
        """The same, past everybody who might want to change it."""
        start = {"type": "http.response.start", "status": status, "headers": headers}
        message = {"type": "http.response.body", "body": body}
        await self.send_together(self._server_send, start, message)

    def frame(self, count: int) -> tuple[bytes, bytes]:
        """Enter `count` body bytes into gunicorn's books."""
        cells = self._cells
        sent, length = cells["response_sent"], cells["response_length"].cell_contents
        if length is not None and sent.cell_contents + count > length:
            raise RuntimeError("Response content longer than Content-Length")
        sent.cell_contents += count
        if cells["use_chunked"].cell_contents:
            return b"%x\r\n" % count, b"\r\n"
        return b"", b""

    def access(self) -> Access:
        """The connection's socket."""
        return Access(self._fileno)

    def _fileno(self) -> int:
        if self.disconnected:
            raise DisconnectedError("the client left")
        number: int = self._protocol.transport.get_extra_info("socket").fileno()
        return number

    def pause_reading(self) -> None:
        """gunicorn reads on when it is ready for the next request."""
        self._protocol._pause_reading()

    def abort(self) -> None:
        """Drop the connection, and tell gunicorn before the loop gets round to it."""
        self._protocol._closed = True
        self._protocol.transport.abort()


# uvicorn's worker ------------------------------------------------------------------


def __getattr__(name: str) -> Any:
    """`UvicornWorker`, which needs the package uvicorn-worker."""
    if name != "UvicornWorker":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from uvicorn_worker import UvicornWorker as Base

    class UvicornWorker(Base):
        """uvicorn's worker for gunicorn, with zero copy: `-k` takes it by its path."""

        CONFIG_KWARGS: ClassVar[dict[str, Any]] = {
            **Base.CONFIG_KWARGS,
            "http": _UVICORNS_HTTP["auto"],
        }

    globals()[name] = UvicornWorker
    return UvicornWorker

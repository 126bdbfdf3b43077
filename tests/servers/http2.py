"""A client of HTTP/2 that takes as much as it is told to, and no more."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections import Counter
from collections.abc import Mapping
from typing import Any

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings

from tests.live import PATIENCE, Answer, Connected

WINDOW = 1024 * 1024
"""Of a stream, and nearly that of the connection."""


class Http2Client(Connected):
    """One connection to a server, with a stream for each request.

    The window of the connection is opened by all that comes, that of a stream only
    while it is read: so one can stall, and others go on.
    """

    def __init__(
        self,
        port: int,
        context: ssl.SSLContext | None,
        *,
        receive_buffer: int = 0,
        timeout: float = PATIENCE,
    ) -> None:
        self.socket = socket.socket()
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.settimeout(timeout)
        self.socket.connect(("127.0.0.1", port))
        if context is not None:
            context.set_alpn_protocols(["h2"])
            self.socket = context.wrap_socket(self.socket, server_hostname="localhost")
        self.scheme = "https" if context is not None else "http"
        settings = h2.config.H2Configuration(header_encoding="latin-1")
        self.protocol = h2.connection.H2Connection(settings)
        self.protocol.initiate_connection()
        windows: dict[Any, int] = {h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: WINDOW}
        self.protocol.update_settings(windows)
        self.protocol.increment_flow_control_window(WINDOW)
        self.stream = 0
        self._taken = Counter[int]()
        self._flush()

    def send(
        self,
        target: str = "/",
        headers: Mapping[str, str] | None = None,
        *,
        method: str = "GET",
    ) -> Http2Client:
        """Send a request and return without waiting for the response."""
        self.stream = self.protocol.get_next_available_stream_id()
        fields = [
            (":method", method),
            (":path", target),
            (":scheme", self.scheme),
            (":authority", "localhost"),
            *(headers or {}).items(),
        ]
        self.protocol.send_headers(self.stream, fields, end_stream=True)
        self._flush()
        return self

    def receive(self) -> Answer:
        """Read the response of the last request, as far as the server sends it."""
        answer = Answer(0, {}, b"", complete=False, reusable=False)
        parts: list[bytes] = []
        is_over = False
        while not is_over:
            for event in self._events():
                if getattr(event, "stream_id", None) != self.stream:
                    is_over |= isinstance(event, h2.events.ConnectionTerminated)
                elif isinstance(event, h2.events.ResponseReceived):
                    fields: Any = event.headers
                    answer.fields, answer.headers = list(fields), dict(fields)
                    answer.status = int(answer.headers[":status"])
                elif isinstance(event, h2.events.DataReceived):
                    parts.append(event.data or b"")
                elif isinstance(event, h2.events.StreamEnded):
                    is_over = answer.complete = answer.reusable = True
                elif isinstance(event, h2.events.StreamReset):
                    is_over = True
        answer.body = b"".join(parts)
        return answer

    def _events(self) -> list[Any]:
        """What comes next; the connection's end is an event, too."""
        try:
            data = self.socket.recv(1 << 20)
            events = self.protocol.receive_data(data) if data else []
        except (ConnectionError, h2.exceptions.ProtocolError):
            data, events = b"", []
        if not data:
            return [h2.events.ConnectionTerminated()]
        for event in events:
            if isinstance(event, h2.events.DataReceived):
                self._take(event.flow_controlled_length or 0, event.stream_id or 0)
        self._flush()
        return events

    def _take(self, count: int, stream: int) -> None:
        """Open the windows again, in large pieces as browsers do."""
        for each in {0, self.stream} & {0, stream}:
            self._taken[each] += count
            if self._taken[each] >= WINDOW // 2:
                with contextlib.suppress(h2.exceptions.StreamClosedError):
                    self.protocol.increment_flow_control_window(
                        self._taken[each], each or None
                    )
                self._taken[each] = 0

    def _flush(self) -> None:
        with contextlib.suppress(ConnectionError):  # first is read what came before
            self.socket.sendall(self.protocol.data_to_send())

    def get(self, target: str, headers: Mapping[str, str] | None = None) -> Answer:
        return self.send(target, headers).receive()

    def head(self, target: str, headers: Mapping[str, str] | None = None) -> Answer:
        return self.send(target, headers, method="HEAD").receive()

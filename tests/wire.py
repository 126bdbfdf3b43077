"""A relay between client and server that records what the server puts on the wire.

Only the standard library: it also runs where there is nothing else (scripts/ktls).
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator

_KINDS = {20: "change cipher spec", 21: "alert", 22: "handshake", 23: "application"}
_LARGEST = 16384 + 2048  # TLS 1.2, RFC 5246 section 6.2.3; 1.3 is stricter
_PIECE = 32
"""So many bytes of a random file do not come up in encrypted ones by chance."""


class Relay:
    """Takes one connection after another to a server, and records."""

    def __init__(self, port: int) -> None:
        self._to = ("127.0.0.1", port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.recorded = bytearray()
        self._pumps: list[threading.Thread] = []
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def close(self) -> None:
        """Wait until all connections have ended."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._accepting.join(20)
        self._listener.close()
        for pump in self._pumps:
            pump.join(20)
            assert not pump.is_alive(), "a connection did not end"

    def _accept(self) -> None:
        while True:
            try:
                client, _address = self._listener.accept()
            except OSError:
                return
            pump = threading.Thread(target=self._carry, args=[client], daemon=True)
            self._pumps.append(pump)
            pump.start()

    def _carry(self, client: socket.socket) -> None:
        with client, socket.create_connection(self._to) as server:
            up = threading.Thread(target=_copy, args=[client, server], daemon=True)
            up.start()
            with contextlib.suppress(OSError):
                while data := server.recv(65536):
                    self.recorded += data
                    client.sendall(data)
            for end in (client, server):
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
            up.join(20)


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def recording(port: int) -> Iterator[Relay]:
    """A relay to `port`; when the block ends, its connections have too."""
    relay = Relay(port)
    try:
        yield relay
    finally:
        relay.close()


def complaint(recorded: bytes, content: bytes) -> str:
    """What is wrong with bytes of one connection that should be TLS; empty if nothing.

    They must be records of TLS, the last perhaps not whole, and nothing of `content`,
    which has to be random, may show in them.
    """
    place = records = 0
    while len(recorded) - place >= 5:
        kind, version, size = struct.unpack_from(">BHH", recorded, place)
        if kind not in _KINDS or not 0x0301 <= version <= 0x0303 or size > _LARGEST:
            return f"no record of TLS at byte {place}, after {records} records"
        place += 5 + size
        records += 1
    if not records:
        return "nothing was sent"
    for start in range(0, len(content) - _PIECE, 4096):
        if content[start : start + _PIECE] in recorded:
            return f"byte {start} of the content is on the wire in plain"
    return ""

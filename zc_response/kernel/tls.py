"""TLS in the kernel: does a socket encrypt what is written to it by itself?

With kTLS, whoever made the handshake (OpenSSL 3, asked by OP_ENABLE_KTLS) hands the
keys of one direction to the kernel. From then on write(2) and sendfile(2) take
plaintext, and what leaves is encrypted records. Without it, the same calls put
plaintext on the wire. The two look alike but for one question, which has to be put to
each connection, after its handshake: OpenSSL falls back in silence where the module
`tls` is not loaded, the cipher is not one of the kernel's, or the option is missing.
"""

from __future__ import annotations

import socket
import struct
from typing import Final

_SOL_TLS: Final = 282  # linux/socket.h; the others are of linux/tls.h
_TLS_TX: Final = 1
_TLS_SET_RECORD_TYPE: Final = 1
_VERSIONS: Final = (0x0303, 0x0304)
_CRYPTO_INFO: Final = struct.Struct("@HH")  # struct tls_crypto_info: version, cipher
_ALERT: Final = b"\x15"
_CLOSE_NOTIFY: Final = b"\x01\x00"


def encrypts(fd: int) -> bool:
    """True if, without any doubt, the kernel encrypts what is written to a socket.

    getsockopt(SOL_TLS, TLS_TX) tells version and cipher of the sending direction. It
    fails with ENOTSUP, ENOPROTOOPT (IPv6) or EBUSY (the other direction only) where
    the kernel has no keys for it; whatever is not a version of TLS that we know counts
    as a no as well.
    """
    if fd < 0:  # closed already
        return False
    sock = socket.SocketType(fileno=fd)
    try:
        answer = sock.getsockopt(_SOL_TLS, _TLS_TX, _CRYPTO_INFO.size)
    except OSError:
        return False
    finally:
        sock.detach()
    if len(answer) != _CRYPTO_INFO.size:
        return False
    version, cipher = _CRYPTO_INFO.unpack(answer)
    return version in _VERSIONS and cipher != 0


def is_loaded() -> bool | None:
    """True if the kernel's TLS is there for whoever asks; None if it does not tell.

    What is not loaded is loaded for who has CAP_NET_ADMIN, and for nobody else; so a
    service has it if somebody has loaded the module before.
    """
    try:
        with open(_UPPER_LAYERS, "rb") as protocols:
            return b"tls" in protocols.read().split()
    except OSError:
        return None


_UPPER_LAYERS: Final = "/proc/sys/net/ipv4/tcp_available_ulp"


def close_notify(sock: socket.SocketType) -> None:
    """Say that nothing follows (RFC 8446 section 6.1), on a socket that encrypts.

    A record that is no application data is announced by a control message. Raises
    OSError if the peer is gone, or there is no room.
    """
    kind = [(_SOL_TLS, _TLS_SET_RECORD_TYPE, _ALERT)]
    sock.sendmsg([_CLOSE_NOTIFY], kind)

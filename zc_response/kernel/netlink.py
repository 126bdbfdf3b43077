"""rtnetlink(7): questions to the kernel about routes and interfaces, and its answers.

It answers for the network namespace of the process, as /sys/class/net does not: that is
of the namespace it was mounted in. No rights are needed to ask.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

_ROUTE: Final = 0  # NETLINK_ROUTE
_REQUEST: Final = 0x001  # linux/netlink.h
_DUMP: Final = 0x300
_ERROR: Final = 2
_DONE: Final = 3
_TYPE: Final = 0x3FFF  # without NLA_F_NESTED and NLA_F_NET_BYTEORDER
_HEADER: Final = struct.Struct("IHHII")  # struct nlmsghdr
_ATTRIBUTE: Final = struct.Struct("HH")  # struct rtattr
_ROOM: Final = 65536
"""The kernel fills datagrams of 32 KiB at the most."""


class Message(NamedTuple):
    """What a datagram has one or several of."""

    kind: int
    body: bytes


def ask(kind: int, body: bytes) -> bytes:
    """The one datagram that answers a question. Raises OSError."""
    with _asking(kind, body, 0, _ROUTE) as netlink:
        return netlink.recv(_ROOM, socket.MSG_DONTWAIT)


def ask_for_all(kind: int, body: bytes, protocol: int = _ROUTE) -> list[Message]:
    """Everything there is of a kind. Raises OSError."""
    found: list[Message] = []
    with _asking(kind, body, _DUMP, protocol) as netlink:
        while not found or found[-1].kind != _DONE:
            found += messages(netlink.recv(_ROOM, socket.MSG_DONTWAIT))
    return found[:-1]


def _asking(kind: int, body: bytes, flags: int, protocol: int) -> socket.socket:
    family = getattr(socket, "AF_NETLINK", None)
    if family is None:  # not Linux
        raise OSError(errno.EAFNOSUPPORT, os.strerror(errno.EAFNOSUPPORT))
    netlink = socket.socket(family, socket.SOCK_RAW, protocol)
    try:
        size = _HEADER.size + len(body)
        netlink.send(_HEADER.pack(size, kind, _REQUEST | flags, 0, 0) + body)
    except BaseException:
        netlink.close()
        raise
    return netlink


def messages(datagram: bytes) -> list[Message]:
    """The messages in a datagram.

    Raises the OSError that the kernel answers with, and EBADMSG for what is no answer:
    from who only plays a kernel.
    """
    found: list[Message] = []
    place = 0
    while place < len(datagram) or not found:
        if len(datagram) - place < _HEADER.size:
            raise malformed()
        size, kind, *_rest = _HEADER.unpack_from(datagram, place)
        body = datagram[place + _HEADER.size : place + size]
        if size < _HEADER.size or len(body) != size - _HEADER.size:
            raise malformed()
        if kind == _ERROR:
            raise _error(body)
        found.append(Message(kind, body))
        place += _padded(size)
    return found


def _error(body: bytes) -> OSError:
    if len(body) < 4:
        return malformed()
    number = -struct.unpack_from("i", body)[0]
    return OSError(number, os.strerror(number))


def malformed() -> OSError:
    """What an answer that cannot be read is."""
    return OSError(errno.EBADMSG, os.strerror(errno.EBADMSG))


def attribute(kind: int, value: bytes) -> bytes:
    """One more piece of a question."""
    head = _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind)
    return head + value + bytes(-len(value) % 4)


def attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Kind and value of each piece of an answer; one that is cut short is left out."""
    place = 0
    while place + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, place)
        value = data[place + _ATTRIBUTE.size : place + length]
        if length < _ATTRIBUTE.size or len(value) != length - _ATTRIBUTE.size:
            return
        yield kind & _TYPE, value
        place += _padded(length)


def number(value: bytes) -> int:
    """What an attribute of four bytes says; 0 for one that is not there."""
    return int(struct.unpack("i", value)[0]) if len(value) == 4 else 0


def _padded(size: int) -> int:
    return (size + 3) & ~3

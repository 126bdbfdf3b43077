"""By which interface the kernel reaches an address, and what kind of thing that is.

The question is put over rtnetlink(7), which answers for any family and every table;
what an interface is stands in /sys/class/net.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from pathlib import Path
from typing import Final, NamedTuple

_RTM_GETROUTE: Final = 26
_NLM_F_REQUEST: Final = 1
_NLMSG_ERROR: Final = 2
_RTA_DST: Final = 1
_RTA_OIF: Final = 4
_RTN_LOCAL: Final = 2
_HEADER: Final = struct.Struct("IHHII")  # struct nlmsghdr
_ROUTE: Final = struct.Struct("8BI")  # struct rtmsg; the eighth byte is its type
_ATTRIBUTE: Final = struct.Struct("HH")  # struct rtattr


class Route(NamedTuple):
    """Where packets for an address go."""

    is_local: bool
    """The address is one of this host's own."""
    interface: str
    """The name of the interface they leave by; empty if there is none."""


def route_to(family: int, address: bytes) -> Route:
    """The route to an address of 4 or 16 bytes. Raises OSError if there is none."""
    bits = len(address) * 8
    route = _ROUTE.pack(family, bits, 0, 0, 0, 0, 0, 0, 0)
    attribute = _ATTRIBUTE.pack(_ATTRIBUTE.size + len(address), _RTA_DST) + address
    size = _HEADER.size + len(route) + len(attribute)
    head = _HEADER.pack(size, _RTM_GETROUTE, _NLM_F_REQUEST, 0, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as netlink:
        netlink.send(head + route + attribute)
        return _read(netlink.recv(4096, socket.MSG_DONTWAIT))


def _read(answer: bytes) -> Route:
    try:
        return _parse(answer)
    except (struct.error, IndexError) as exc:  # by who only plays a kernel
        raise OSError(errno.EBADMSG, os.strerror(errno.EBADMSG)) from exc


def _parse(answer: bytes) -> Route:
    size, kind, *_rest = _HEADER.unpack_from(answer)
    place = _HEADER.size
    if kind == _NLMSG_ERROR:
        number = -struct.unpack_from("i", answer, place)[0]
        raise OSError(number, os.strerror(number))
    is_local = answer[place + 7] == _RTN_LOCAL
    place += _ROUTE.size
    interface = ""
    while place + _ATTRIBUTE.size <= size:
        length, what = _ATTRIBUTE.unpack_from(answer, place)
        if length < _ATTRIBUTE.size:
            break
        if what == _RTA_OIF:
            index = struct.unpack_from("i", answer, place + _ATTRIBUTE.size)[0]
            interface = socket.if_indextoname(index)
        place += (length + 3) & ~3
    return Route(is_local, interface)


_CLASS: Final = Path("/sys/class/net")


def leaves_memory(interface: str) -> bool:
    """True if what is sent by this interface is no longer in this kernel's memory.

    At the latest when the peer acknowledges it: hardware has read it, a program behind
    a TUN device has copied it, WireGuard has encrypted it. Not so with a veth pair, a
    bridge, macvlan or the loopback: they hand on the very pages to a socket of this
    host. What cannot be told counts as that.
    """
    here = _CLASS / interface
    if (here / "device").exists() or (here / "tun_flags").exists():
        return True
    kind = _kind(here)
    if kind == "wireguard":
        return True
    if kind == "vlan" or (here / "bonding").exists():
        below = [link.name.partition("_")[2] for link in here.glob("lower_*")]
        return bool(below) and all(map(leaves_memory, below))
    return False


def _kind(here: Path) -> str:
    try:
        lines = (here / "uevent").read_text().splitlines()
    except OSError:
        return ""
    return next((line[8:] for line in lines if line.startswith("DEVTYPE=")), "")

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

from zc_response.kernel import netlink, sockets

_RTM_GETROUTE: Final = 26
_RTA_DST: Final = 1
_RTA_SRC: Final = 2
_RTA_OIF: Final = 4
_RTA_GATEWAY: Final = 5
_RTA_METRICS: Final = 8
_RTA_MARK: Final = 16
_RTA_VIA: Final = 18
_RTAX_MTU: Final = 2
_RTN_LOCAL: Final = 2
_ROUTE: Final = struct.Struct("8BI")  # struct rtmsg; the eighth byte is its type


class Route(NamedTuple):
    """Where packets for an address go."""

    is_local: bool
    """The address is one of this host's own."""
    interface: str
    """The name of the interface they leave by; empty if there is none."""
    gateway: str = ""
    """The address of the router they are given to; empty for a neighbour."""
    mtu: int = 0
    """What the route says of its MTU, found out on the way (path MTU discovery)
    included; 0 if nothing: then it is the interface's."""


def route_to(
    family: int,
    address: bytes,
    *,
    source: bytes = b"",
    interface: int = 0,
    mark: int = 0,
) -> Route:
    """The route to an address of 4 or 16 bytes. Raises OSError if there is none.

    The rest is what a socket may be bound to, and rules (ip-rule(8)) look at: an
    address of this host, the index of an interface, a mark (SO_MARK).
    """
    bits = len(address) * 8
    asked = netlink.attribute(_RTA_DST, address)
    if source:
        asked += netlink.attribute(_RTA_SRC, source)
    if interface:
        asked += netlink.attribute(_RTA_OIF, struct.pack("i", interface))
    if mark:
        asked += netlink.attribute(_RTA_MARK, struct.pack("I", mark))
    head = _ROUTE.pack(family, bits, len(source) * 8, 0, 0, 0, 0, 0, 0)
    return _read(netlink.ask(_RTM_GETROUTE, head + asked))


def _read(answer: bytes) -> Route:
    body = netlink.messages(answer)[0].body
    if len(body) < _ROUTE.size:
        raise netlink.malformed()
    found = dict(netlink.attributes(body[_ROUTE.size :]))
    index = netlink.number(found.get(_RTA_OIF, b""))
    metrics = dict(netlink.attributes(found.get(_RTA_METRICS, b"")))
    # struct rtvia, for a gateway of the other family: two bytes, and the address.
    gateway = found.get(_RTA_GATEWAY, b"") or found.get(_RTA_VIA, b"")[2:]
    return Route(
        is_local=body[7] == _RTN_LOCAL,
        interface=socket.if_indextoname(index) if index else "",
        gateway=_address(gateway),
        mtu=netlink.number(metrics.get(_RTAX_MTU, b"")),
    )


def _address(value: bytes) -> str:
    if len(value) == 4:
        return socket.inet_ntop(socket.AF_INET, value)
    return socket.inet_ntop(socket.AF_INET6, value) if len(value) == 16 else ""


_SO_BINDTODEVICE: Final = 25  # asm-generic/socket.h
_SO_MARK: Final = 36
_IP_MTU: Final = 14  # linux/in.h
_IPV6_MTU: Final = 24  # linux/in6.h
_NAME: Final = 16  # IFNAMSIZ


class SocketRoute(NamedTuple):
    """Where the packets of a connected socket go."""

    route: Route
    mtu: int
    """What the socket sends in one packet, headers included (IP_MTU, ip(7)); 0 if it
    does not say. With IPsec it is smaller than the route's: that takes its share."""


def route_of(sock: socket.socket) -> SocketRoute:
    """The route to the peer of a connected IPv4 or IPv6 socket, of whatever kind.

    What the socket is bound to, and its mark, count; one to an address of a link is
    bound to that by the kernel. Raises OSError if there is no peer or no route, and
    EAFNOSUPPORT for another family.
    """
    peer, own = sock.getpeername(), sock.getsockname()
    if not isinstance(peer, tuple):
        raise OSError(errno.EAFNOSUPPORT, os.strerror(errno.EAFNOSUPPORT))
    family, address = sockets.packed(peer)
    device = sock.getsockopt(socket.SOL_SOCKET, _SO_BINDTODEVICE, _NAME).rstrip(b"\0")
    interface = socket.if_nametoindex(device.decode()) if device else 0
    route = route_to(
        family,
        address,
        source=sockets.packed(own)[1],
        interface=interface,
        mark=sock.getsockopt(socket.SOL_SOCKET, _SO_MARK),
    )
    return SocketRoute(route, _mtu(sock, family))


def _mtu(sock: socket.socket, family: int) -> int:
    level, option = (
        (socket.IPPROTO_IP, _IP_MTU)
        if family == socket.AF_INET
        else (socket.IPPROTO_IPV6, _IPV6_MTU)
    )
    try:
        return sock.getsockopt(level, option)
    except OSError:
        return 0


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

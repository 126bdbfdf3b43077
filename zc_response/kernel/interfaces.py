"""What the interfaces of this host are, what each stands on, and what it can do.

What they are, rtnetlink(7) tells; what the hardware or a driver takes off the CPU, and
which driver that is, the ioctls of ethtool(8). Both answer for the network namespace of
this process, and need no rights.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
from typing import Final, NamedTuple

from zc_response.kernel import netlink

try:
    import fcntl
except ImportError:  # not a POSIX system
    fcntl = None  # type: ignore[assignment]

_RTM_GETLINK: Final = 18
_INTERFACE: Final = struct.Struct("BxHiII")  # struct ifinfomsg
_LOOPBACK: Final = 0x8  # linux/if.h
_IFLA_IFNAME: Final = 3  # linux/if_link.h
_IFLA_MTU: Final = 4
_IFLA_LINK: Final = 5
_IFLA_MASTER: Final = 10
_IFLA_LINKINFO: Final = 18
_IFLA_INFO_KIND: Final = 1
_IFLA_EXT_MASK: Final = 29
_IFLA_LINK_NETNSID: Final = 37
_SKIP_STATISTICS: Final = 8

LOOPBACK: Final = "loopback"


class Interface(NamedTuple):
    """One of them."""

    number: int
    """Its index, by which others speak of it."""
    name: str
    kind: str
    """`veth`, `bridge`, `vlan` and so on; `LOOPBACK`; empty for hardware."""
    mtu: int
    below: int = 0
    """The index of the one it stands on, or of the other end of a pair; 0 for none."""
    is_below_elsewhere: bool = False
    """That is an index in another network namespace."""
    master: int = 0
    """The index of the bridge or bond it is a part of; 0 for none."""


def interfaces() -> list[Interface]:
    """All that this process can see. Raises OSError."""
    head = _INTERFACE.pack(socket.AF_UNSPEC, 0, 0, 0, 0)
    mask = netlink.attribute(_IFLA_EXT_MASK, struct.pack("I", _SKIP_STATISTICS))
    return [_read(each.body) for each in netlink.ask_for_all(_RTM_GETLINK, head + mask)]


def _read(body: bytes) -> Interface:
    if len(body) < _INTERFACE.size:
        raise netlink.malformed()
    _family, _type, index, flags, _change = _INTERFACE.unpack_from(body)
    found = dict(netlink.attributes(body[_INTERFACE.size :]))
    info = dict(netlink.attributes(found.get(_IFLA_LINKINFO, b"")))
    kind = LOOPBACK if flags & _LOOPBACK else _text(info.get(_IFLA_INFO_KIND, b""))
    return Interface(
        number=index,
        name=_text(found.get(_IFLA_IFNAME, b"")),
        kind=kind,
        mtu=netlink.number(found.get(_IFLA_MTU, b"")),
        below=netlink.number(found.get(_IFLA_LINK, b"")),
        is_below_elsewhere=_IFLA_LINK_NETNSID in found,
        master=netlink.number(found.get(_IFLA_MASTER, b"")),
    )


def _text(value: bytes) -> str:
    return os.fsdecode(value.partition(b"\0")[0])


# ethtool ---------------------------------------------------------------------------

_SIOCETHTOOL: Final = 0x8946  # linux/sockios.h
_GET_DRIVER: Final = 0x03  # ETHTOOL_GDRVINFO; all of linux/ethtool.h
_GET_STRINGS: Final = 0x1B  # ETHTOOL_GSTRINGS
_COUNT_STRINGS: Final = 0x37  # ETHTOOL_GSSET_INFO
_GET_FEATURES: Final = 0x3A  # ETHTOOL_GFEATURES
_FEATURES: Final = 4  # ETH_SS_FEATURES
_STRING: Final = 32  # ETH_GSTRING_LEN
_REQUEST: Final = struct.Struct("16sP16x")  # struct ifreq, with a pointer
_NAME: Final = 16  # IFNAMSIZ

_ONE_BY_ONE: Final = {
    "tx-scatter-gather": 0x18,  # ETHTOOL_GSG
    "tx-checksum-ip-generic": 0x16,  # ETHTOOL_GTXCSUM: of whatever protocol
    "tx-tcp-segmentation": 0x1E,  # ETHTOOL_GTSO
    "tx-tcp6-segmentation": 0x1E,
    "tx-generic-segmentation": 0x23,  # ETHTOOL_GGSO
}
"""The older questions, for who does not know the newer: one for each feature."""


class Feature(NamedTuple):
    """Something that the CPU need not do."""

    is_on: bool
    is_fixed: bool
    """It cannot be switched: `ethtool -K` refuses."""


def features(name: str) -> dict[str, Feature]:
    """By the kernel's own names, which are those of `ethtool -k`, but for what it sums
    up: `tx-scatter-gather`, `tx-checksum-ip-generic` and so on.

    Where the kernel does not tell them by name, the few that it can be asked for one
    by one; they count as fixed. Raises OSError where it tells nothing.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            return _features(sock, name)
        except OSError as exc:
            if exc.errno == errno.ENODEV:
                raise
        return {
            feature: Feature(bool(_value(sock, name, command)), is_fixed=True)
            for feature, command in _ONE_BY_ONE.items()
        }


def _features(sock: socket.socket, name: str) -> dict[str, Feature]:
    count = _count(sock, name)
    size = 12 + count * _STRING
    head = struct.pack("III", _GET_STRINGS, _FEATURES, count)
    answer = _ethtool(sock, name, head.ljust(size, b"\0"))
    names = [_text(answer[at : at + _STRING]) for at in range(12, size, _STRING)]
    # In words of 32 features, four of them: available, requested, active, never
    # changed.
    words = (count + 31) // 32
    head = struct.pack("II", _GET_FEATURES, words)
    answer = _ethtool(sock, name, head.ljust(8 + words * 16, b"\0"))
    found = {}
    for number, feature in enumerate(names):
        bit = 1 << number % 32
        available, _requested, active = struct.unpack_from(
            "III", answer, 8 + number // 32 * 16
        )
        found[feature] = Feature(bool(active & bit), is_fixed=not available & bit)
    return found


def _count(sock: socket.socket, name: str) -> int:
    """How many features this kernel knows."""
    asked = struct.pack("IIQI", _COUNT_STRINGS, 0, 1 << _FEATURES, 0)
    _command, _reserved, sets, count = struct.unpack(
        "IIQI", _ethtool(sock, name, asked)
    )
    if not sets:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
    return int(count)


def _value(sock: socket.socket, name: str, command: int) -> int:
    answer = _ethtool(sock, name, struct.pack("II", command, 0))
    return int(struct.unpack("II", answer)[1])


def driver(name: str) -> str:
    """The name of the driver behind an interface: `ixgbe`, `virtio_net`, `veth`.

    Raises OSError where there is none that has a name.
    """
    size = 196  # struct ethtool_drvinfo; the driver's name follows the command
    asked = struct.pack("I", _GET_DRIVER).ljust(size, b"\0")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        return _text(_ethtool(sock, name, asked)[4 : 4 + _STRING])


def _ethtool(sock: socket.socket, name: str, asked: bytes) -> bytes:
    """The same structure, as the kernel has filled it in."""
    if fcntl is None:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
    told = os.fsencode(name)
    if len(told) >= _NAME:
        raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
    buffer = ctypes.create_string_buffer(asked, len(asked))
    request = _REQUEST.pack(told, ctypes.addressof(buffer))
    fcntl.ioctl(sock.fileno(), _SIOCETHTOOL, request)
    return buffer.raw

"""Finding out by what way bytes leave for a peer. Nothing is judged, nor sent."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

from zc_response.cli.doctor.errors import DoctorError
from zc_response.cli.doctor.facts import InterfaceFacts, RouteFacts
from zc_response.cli.doctor.proc import read
from zc_response.kernel.interfaces import Interface, driver, features, interfaces
from zc_response.kernel.ipsec import policies
from zc_response.kernel.routes import route_of

OUT_THERE: Final = ("198.41.0.4", "2001:503:ba3e::2:30")
"""Addresses in the Internet, of each version of IP: a root name server's. The route to
one is the default route, with the rules that a VPN may have put before it."""

_PORT: Final = 9  # whichever: connecting a datagram socket sends nothing
_LARGEST: Final = 65535
_DEEPEST: Final = 8  # interfaces upon each other


def check(peers: tuple[str, ...]) -> None:
    """Raise DoctorError for what is no address of one host."""
    for peer in peers:
        _address(peer)


def routes_to(peers: tuple[str, ...]) -> tuple[RouteFacts, ...]:
    """The ways to these peers; without any, the default routes that there are."""
    if peers:
        return tuple(route_facts(peer, _address(peer)) for peer in peers)
    defaults = (route_facts("", ipaddress.ip_address(each)) for each in OUT_THERE)
    return tuple(each for each in defaults if not each.refusal)


_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def _address(text: str) -> _Address:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise DoctorError(f"--peer {text}: not an IPv4 or IPv6 address") from None
    if isinstance(address, ipaddress.IPv6Address):
        address = address.ipv4_mapped or address
    if address.version == 6 and address.is_link_local and "%" not in text:
        raise DoctorError(f"--peer {text}: by which interface? {text}%eth0")
    if address.is_multicast or address.is_unspecified:
        raise DoctorError(f"--peer {text}: not the address of one host")
    return address


def route_facts(peer: str, address: _Address) -> RouteFacts:
    """What is so with the way to a peer: asked by a socket that is connected to it."""
    known: dict[str, Any] = {"peer": peer, "version": address.version}
    try:
        sock = _connected(address)
    except OSError as exc:
        return RouteFacts(**known, refusal=exc.strerror or str(exc))
    with sock:
        try:
            known |= _way(sock, address)
        except OSError:  # there is one, and the kernel does not say which
            pass
    return RouteFacts(**known)


def _connected(address: _Address) -> socket.socket:
    sock = socket.socket(_family(address), socket.SOCK_DGRAM)
    try:
        sock.connect(_name(address))
    except BaseException:
        sock.close()
        raise
    return sock


def _way(sock: socket.socket, address: _Address) -> dict[str, Any]:
    route, mtu = route_of(sock)
    every = {each.number: each for each in interfaces()}
    by_name = {each.name: each for each in every.values()}
    first = by_name.get(route.interface)
    return {
        "is_local": route.is_local,
        "gateway": route.gateway,
        "mtu": mtu,
        "mtu_of_route": route.mtu or (_mtu(first, address.version) if first else 0),
        "interface": _interface_facts(first, every) if first else None,
        "is_encrypted": _is_encrypted(address),
    }


def _is_encrypted(address: _Address) -> bool | None:
    try:
        family = _family(address)
        return any(each.covers(family, address.packed) for each in policies())
    except OSError:
        return None


def _family(address: _Address) -> int:
    return socket.AF_INET if address.version == 4 else socket.AF_INET6


def _name(address: _Address) -> tuple[Any, ...]:
    scope = getattr(address, "scope_id", None)
    if scope is None:
        return str(address), _PORT
    number = int(scope) if scope.isdigit() else socket.if_nametoindex(scope)
    return str(address).partition("%")[0], _PORT, 0, number


def _mtu(interface: Interface, version: int) -> int:
    """IPv4 has no larger packets; IPv6 has an MTU that a router may have announced."""
    if version == 4:
        return min(interface.mtu, _LARGEST)
    text = read(f"/proc/sys/net/ipv6/conf/{interface.name}/mtu").strip()
    return min(int(text), interface.mtu) if text.isdigit() else interface.mtu


def _interface_facts(
    interface: Interface, known: Mapping[int, Interface], depth: int = 0
) -> InterfaceFacts:
    found: dict[str, Any] = {"driver": ""}
    with suppress(OSError):
        found["driver"] = driver(interface.name)
    try:
        by_name = features(interface.name)
    except OSError as exc:
        found["refusal"] = exc.strerror or str(exc)
    else:
        found["features"] = tuple(name for name, each in by_name.items() if each.is_on)
        found["off"] = tuple(name for name, each in by_name.items() if not each.is_on)
        found["switches"] = tuple(
            name for name, each in by_name.items() if not each.is_fixed
        )
    below = _below(interface, known) if depth < _DEEPEST else ()
    return InterfaceFacts(
        name=interface.name,
        kind=interface.kind,
        mtu=interface.mtu,
        below=tuple(_interface_facts(each, known, depth + 1) for each in below),
        is_below_elsewhere=interface.is_below_elsewhere,
        **found,
    )


def _below(
    interface: Interface, known: Mapping[int, Interface]
) -> tuple[Interface, ...]:
    """What an interface stands on, or its members: a bridge has ports, a bond cards.

    The other end of a pair is not below: what leaves there is received.
    """
    if interface.is_below_elsewhere or interface.kind == "veth":
        return ()
    if interface.below:
        below = known.get(interface.below)
        return () if below is None else (below,)
    members = (each for each in known.values() if each.master == interface.number)
    return tuple(members)

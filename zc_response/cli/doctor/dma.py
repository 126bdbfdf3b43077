"""Is what sendfile sends really never copied? From a route to findings. Pure.

sendfile(2) gives the network the very pages of the page cache. They reach the wire
uncopied if the network card fetches them by itself, from wherever they lie
(scatter-gather DMA), and computes the checksum on the way. What breaks that is one
table, read from the top, for the interface a route ends at and for each one below it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import Enum
from typing import Final, NamedTuple

from zc_response.cli.doctor.facts import InterfaceFacts, RouteFacts
from zc_response.cli.doctor.findings import Finding, Grade, Section
from zc_response.kernel.interfaces import LOOPBACK

SCATTER_GATHER: Final = "tx-scatter-gather"
CHECKSUM: Final = "tx-checksum-ip-generic"
CHECKSUMS: Final = {4: "tx-checksum-ipv4", 6: "tx-checksum-ipv6"}
"""By version of IP: of cards that compute the checksums of one of them only."""
SEGMENTATION: Final = {4: "tx-tcp-segmentation", 6: "tx-tcp6-segmentation"}
HIGH_MEMORY: Final = "highdma"
IPSEC: Final = "esp-hw-offload"
TLS: Final = "tls-hw-tx-offload"

STACKED: Final = frozenset(
    ("bond", "bridge", "dsa", "ipvlan", "macvlan", "macvtap", "team", "vlan")
)
"""Kinds that hand on what they get, by reference, to what is below them."""
ENCRYPTING: Final = frozenset(("macsec", "vti", "vti6", "wireguard", "xfrm"))
PARAVIRTUAL: Final = frozenset(
    ("hv_netvsc", "virtio_net", "vmxnet3", "vif", "xen_netfront")
)
"""Drivers whose hardware is a program of the host."""


class Copies(str, Enum):
    """How often the CPU copies what sendfile sends, on this host."""

    NEVER = "never"
    ONCE = "once"
    UNKNOWN = "unknown"

    def __str__(self) -> str:
        return _SAID[self]


_SAID: Final = {
    Copies.NEVER: "never copied",
    Copies.ONCE: "copied once by the CPU",
    Copies.UNKNOWN: "cannot be told from here",
}


class Reason(NamedTuple):
    """Why it is so, in words with names yet to be filled in."""

    case: str
    """A word for machines."""
    copies: Copies
    what: str
    why: str = ""
    advice: tuple[str, ...] = ()


class Rule(NamedTuple):
    """What is so with an interface, and what follows."""

    holds: Callable[[InterfaceFacts, int], bool]
    """By the interface and the version of IP."""
    reason: Reason


_HERE: Final = Reason(
    "here",
    Copies.ONCE,
    "by the program that receives it, as all that stays on this host",
)

_PAST: Final = "Let clients come past it: by an address reached without {name}."

RULES: Final = (
    Rule(lambda interface, _: interface.kind == LOOPBACK, _HERE),
    Rule(
        lambda interface, _: interface.kind in ("tun", "tap"),
        Reason(
            "program",
            Copies.ONCE,
            "{name} hands it to a program (a VPN, a virtual machine)",
            "The program reads packets from the kernel, as from a pipe.",
            (_PAST,),
        ),
    ),
    Rule(
        lambda interface, _: interface.kind in ENCRYPTING,
        Reason(
            "encrypted",
            Copies.ONCE,
            "{name} ({kind}) encrypts in software",
            "The file's pages are the page cache's own, so they are copied, and the "
            "copy is encrypted.",
            (_PAST,),
        ),
    ),
    Rule(
        lambda interface, _: bool(interface.refusal),
        Reason(
            "refused",
            Copies.UNKNOWN,
            "the kernel does not say what {name} can do ({refusal})",
            "The ioctl SIOCETHTOOL was refused: by a sandbox, or there is no driver.",
            ("Ask on the host, or outside of the sandbox.",),
        ),
    ),
    Rule(
        lambda interface, _: SCATTER_GATHER not in interface.features,
        Reason(
            "no-scatter-gather",
            Copies.ONCE,
            "{name} has no scatter-gather",
            "It takes a packet from one place only, so the kernel copies header and "
            "pages into one.",
            ("{scatter_gather}",),
        ),
    ),
    Rule(
        lambda interface, version: not _sums(interface, version),
        Reason(
            "no-checksum",
            Copies.ONCE,
            "{name} does not compute the checksums of IPv{version}",
            "So the CPU does, which reads every byte; and it copies pages of files "
            "first, since who writes to the file would make the sum wrong.",
            ("{checksum}",),
        ),
    ),
    Rule(
        lambda interface, _: interface.kind == "veth",
        Reason(
            "veth",
            Copies.UNKNOWN,
            "{name} hands it on by reference to its other end, elsewhere on this host",
            "If that is routed or bridged to a card, it depends on the card; if a "
            "program there receives it, that copies it once.",
            ("Ask at its other end: on the host, if this is a container.",),
        ),
    ),
    Rule(
        lambda interface, _: interface.is_below_elsewhere,
        Reason(
            "elsewhere",
            Copies.UNKNOWN,
            "what {name} ({kind}) stands on is not in this network namespace",
            "It hands on by reference; the rest depends on the card.",
            ("Ask there: on the host, if this is a container.",),
        ),
    ),
    Rule(
        lambda interface, _: _is_card(interface) and interface.driver in PARAVIRTUAL,
        Reason(
            "paravirtual",
            Copies.NEVER,
            "{device} takes the pages as they are; what the host behind it does with "
            "them cannot be seen from here",
        ),
    ),
    Rule(
        lambda interface, _: _is_card(interface),
        Reason(
            "card",
            Copies.NEVER,
            "{device} fetches the pages by itself, and computes the checksums",
        ),
    ),
    Rule(
        lambda interface, _: not _hands_on(interface),
        Reason(
            "device",
            Copies.UNKNOWN,
            "what becomes of it behind {name} ({kind}) is not known here",
            "It may go on by another interface, or end here.",
        ),
    ),
)
"""Read from the top. An interface for which none holds hands on to those below."""


class Verdict(NamedTuple):
    """What is so, and with which interface."""

    reason: Reason
    interface: InterfaceFacts


def verdict(interface: InterfaceFacts, version: int) -> Verdict:
    """What is to be said of packets that leave by an interface."""
    below = [verdict(each, version) for each in interface.below]
    for rule in RULES:
        if rule.holds(interface, version):
            # A bridge or a bond cannot do what one of its members cannot.
            causes = (each for each in below if each.reason is rule.reason)
            return next(causes, Verdict(rule.reason, interface))
    if len({each.reason.copies for each in below}) > 1:
        return Verdict(_DIFFERENT, interface)
    return below[0]


_DIFFERENT: Final = Reason(
    "different",
    Copies.UNKNOWN,
    "it depends on which of {below} {name} takes",
    "They differ.",
    ("Ask with --peer, or look at each: ethtool -k.",),
)


def _sums(interface: InterfaceFacts, version: int) -> bool:
    return bool({CHECKSUM, CHECKSUMS[version]} & set(interface.features))


def _is_card(interface: InterfaceFacts) -> bool:
    """True for hardware; one with members lets these send (as Hyper-V's does)."""
    return not interface.kind and not interface.below


def _hands_on(interface: InterfaceFacts) -> bool:
    return bool(interface.below) and interface.kind in STACKED | {""}


# Findings --------------------------------------------------------------------------


def judge_route(route: RouteFacts) -> Section:
    """What to expect of a way to a peer.

    Its grade counts only where the peer was named: who asks about files does not mean
    to hear that the network could be better.
    """
    title = f"to {route.peer or f'the Internet, by IPv{route.version}'}"
    if route.refusal:
        return Section(title=title, grade=Grade.BAD, findings=(_no_way(route),))
    copies = _copies(route)
    return Section(
        title=title,
        grade=copies.grade if route.peer else None,
        findings=(copies, *_way(route), *_costs(route)),
    )


def no_route() -> Section:
    """What to say where there is no default route."""
    finding = Finding(
        topic="route",
        case="none",
        grade=Grade.SO_SO,
        what="there is no default route: nothing can be said of what leaves this host",
        advice=("Name a client's address: --peer 192.0.2.7",),
    )
    return Section(title="to the Internet", grade=None, findings=(finding,))


def _no_way(route: RouteFacts) -> Finding:
    return Finding(
        topic="route",
        case="unreachable",
        grade=Grade.BAD,
        what=f"there is none: {route.refusal}",
        advice=(f"ip -{route.version} route get {route.peer}",),
    )


def _copies(route: RouteFacts) -> Finding:
    reason, interface = _deciding(route)
    words = _words(route, interface)
    is_best = reason.copies is Copies.NEVER or reason is _HERE
    return Finding(
        topic="copies",
        case=f"{reason.copies.value}-{reason.case}",
        grade=Grade.GOOD if is_best else Grade.SO_SO,
        what=f"{reason.copies}: {reason.what.format(**words)}",
        why=reason.why.format(**words),
        advice=tuple(each.format(**words) for each in reason.advice),
    )


def _deciding(route: RouteFacts) -> Verdict:
    interface = route.interface or InterfaceFacts(name="")
    if route.is_local:
        return Verdict(_HERE, interface)
    if not interface.name:
        return Verdict(_NO_INTERFACE, interface)
    if route.is_encrypted:
        is_offloaded = IPSEC in interface.features
        return Verdict(_IPSEC_BY_CARD if is_offloaded else _IPSEC, interface)
    if route.mtu < route.mtu_of_route:
        return Verdict(_SMALLER, interface)
    return verdict(interface, route.version)


_IPSEC: Final = Reason(
    "ipsec",
    Copies.ONCE,
    "IPsec encrypts in software",
    "It reads the file's pages and writes others.",
    (f"A card that does it is told from {IPSEC}.",),
)
_IPSEC_BY_CARD: Final = Reason(
    "ipsec-card",
    Copies.UNKNOWN,
    "IPsec encrypts, and {name} can do it, if it was given the keys",
    "In software it reads the file's pages and writes others.",
    ("ip xfrm state tells: `crypto offload`.",),
)
_SMALLER: Final = Reason(
    "smaller",
    Copies.UNKNOWN,
    "something takes {taken} bytes of each packet: IPsec, most likely",
    "That encrypts in software, from the file's pages into others, unless the card "
    f"does it ({IPSEC}).",
    ("Ask as root, who is told.",),
)
_NO_INTERFACE: Final = Reason(
    "no-interface",
    Copies.UNKNOWN,
    "the kernel does not say by what way packets leave",
    "Its netlink sockets are refused, as in some sandboxes.",
    ("Ask on the host, or outside of the sandbox.",),
)


def _words(route: RouteFacts, interface: InterfaceFacts) -> dict[str, object]:
    version = route.version
    checksum = {CHECKSUM, CHECKSUMS[version]}
    return {
        "name": interface.name,
        "kind": interface.kind,
        "device": _device(interface),
        "refusal": interface.refusal,
        "version": version,
        "taken": route.mtu_of_route - route.mtu,
        "below": " and ".join(each.name for each in interface.below),
        "scatter_gather": _switch(interface, {SCATTER_GATHER}, "sg"),
        "checksum": _switch(interface, checksum, "tx"),
    }


def _switch(interface: InterfaceFacts, features: set[str], word: str) -> str:
    if features & set(interface.switches):
        return f"ethtool -K {interface.name} {word} on"
    return "It cannot be switched on: that takes another driver, or another card."


def _device(interface: InterfaceFacts) -> str:
    what = interface.driver or interface.kind
    return f"{interface.name} ({what})" if what != interface.name else what


def _way(route: RouteFacts) -> Iterator[Finding]:
    if route.is_local:
        what = "none: it is an address of this host"
        yield Finding(topic="route", case="local", grade=Grade.GOOD, what=what)
    elif route.interface is not None:
        by = ", on ".join(_stack(route.interface))
        through = f", through {route.gateway}" if route.gateway else ""
        yield Finding(
            topic="route",
            case="gateway" if route.gateway else "direct",
            grade=Grade.GOOD,
            what=f"by {by}{through}; packets of {route.mtu} bytes (MTU)",
        )


def _stack(interface: InterfaceFacts) -> Iterator[str]:
    """An interface and what is below it, a level each."""
    level = [interface]
    while level:
        yield " or ".join(map(_device, level))
        level = [below for each in level for below in each.below]


def _costs(route: RouteFacts) -> Iterator[Finding]:
    """What is no copy, and costs: or could cost less."""
    if route.interface is None or route.is_local:
        return
    every = list(_all(route.interface))
    if _deciding(route).reason.copies is Copies.NEVER:
        yield _segments(route, every)
        yield from map(_bounced, filter(_cannot_reach, every))
    able = [each for each in every if TLS in each.features]
    if able:
        what = f"with kTLS {able[0].name} encrypts, and nothing is copied ({TLS})"
        yield Finding(topic="TLS", case="card", grade=Grade.GOOD, what=what)


def _all(interface: InterfaceFacts) -> Iterator[InterfaceFacts]:
    yield interface
    for each in interface.below:
        yield from _all(each)


def _segments(route: RouteFacts, every: list[InterfaceFacts]) -> Finding:
    topic, feature = "segments", SEGMENTATION[route.version]
    lacking = next((each for each in every if feature not in each.features), None)
    if lacking is None:
        what = "the kernel hands over 64 KiB at a time, and the card cuts it (TSO)"
        return Finding(topic=topic, case="tso", grade=Grade.GOOD, what=what)
    return Finding(
        topic=topic,
        case="no-tso",
        grade=Grade.SO_SO,
        what=(
            f"{lacking.name} does not cut segments (TSO): the kernel does, by reference"
        ),
        why="That is no copy, but work for each packet.",
        advice=(_switch(lacking, {feature}, "tso"),),
    )


def _cannot_reach(interface: InterfaceFacts) -> bool:
    return _is_card(interface) and HIGH_MEMORY in interface.off


def _bounced(interface: InterfaceFacts) -> Finding:
    return Finding(
        topic="memory",
        case="bounced",
        grade=Grade.SO_SO,
        what=f"{interface.name} does not reach all of it ({HIGH_MEMORY} is off)",
        why="Pages beyond its reach are copied to where it reaches (bounce buffers).",
        advice=(_switch(interface, {HIGH_MEMORY}, HIGH_MEMORY),),
    )

"""What the doctor says of interfaces: is what sendfile sends copied on its way out?"""

from __future__ import annotations

from dataclasses import replace

import pytest

from zc_response.cli.doctor import facts, network
from zc_response.cli.doctor.dma import Copies, judge_route, no_route, verdict
from zc_response.cli.doctor.errors import DoctorError
from zc_response.cli.doctor.facts import Facts, InterfaceFacts, RouteFacts
from zc_response.cli.doctor.findings import Finding, Grade, exit_status

ALL = (
    *("tx-scatter-gather", "tx-checksum-ip-generic", "highdma"),
    *("tx-tcp-segmentation", "tx-tcp6-segmentation"),
)
CARD = InterfaceFacts(
    name="eth0", driver="ixgbe", mtu=1500, features=ALL, switches=ALL[:2]
)
OTHER = replace(CARD, name="eth1")
VETH = replace(CARD, name="veth0", kind="veth", driver="veth", is_below_elsewhere=True)
ROUTE = RouteFacts(
    peer="203.0.113.9",
    version=4,
    gateway="192.0.2.1",
    mtu=1500,
    mtu_of_route=1500,
    interface=CARD,
)


def without(interface: InterfaceFacts, *features: str) -> InterfaceFacts:
    left = tuple(each for each in interface.features if each not in features)
    return replace(interface, features=left, off=features)


def on(kind: str, *below: InterfaceFacts) -> InterfaceFacts:
    return replace(CARD, name=f"{kind}0", kind=kind, driver=kind, below=below)


NO_SG = without(CARD, "tx-scatter-gather")
NO_SUM = without(CARD, "tx-checksum-ip-generic")
ONLY_IPV4 = replace(NO_SUM, features=(*NO_SUM.features, "tx-checksum-ipv4"))

CASES: list[tuple[InterfaceFacts, int, str, str]] = [
    (CARD, 4, "never", "card"),
    (CARD, 6, "never", "card"),
    (replace(CARD, driver="virtio_net"), 4, "never", "paravirtual"),
    (NO_SG, 4, "once", "no-scatter-gather"),
    (NO_SUM, 4, "once", "no-checksum"),
    (ONLY_IPV4, 4, "never", "card"),
    (ONLY_IPV4, 6, "once", "no-checksum"),
    (without(CARD, "tx-tcp-segmentation"), 4, "never", "card"),
    (replace(CARD, features=(), refusal="not permitted"), 4, "unknown", "refused"),
    (replace(CARD, name="lo", kind="loopback"), 4, "once", "here"),
    (replace(CARD, name="tun0", kind="tun"), 4, "once", "program"),
    (replace(CARD, name="wg0", kind="wireguard"), 4, "once", "encrypted"),
    (on("macsec", CARD), 4, "once", "encrypted"),
    (VETH, 4, "unknown", "veth"),
    (without(VETH, "tx-scatter-gather"), 4, "once", "no-scatter-gather"),
    (on("vlan", CARD), 4, "never", "card"),
    (on("vlan", NO_SG), 4, "once", "no-scatter-gather"),
    (without(on("vlan", CARD), "tx-scatter-gather"), 4, "once", "no-scatter-gather"),
    (on("bridge", CARD), 4, "never", "card"),
    (on("bridge", VETH), 4, "unknown", "veth"),
    (on("bridge", CARD, VETH), 4, "unknown", "different"),
    (on("bridge"), 4, "unknown", "device"),
    (on("bond", CARD, OTHER), 4, "never", "card"),
    (on("bond", CARD, replace(OTHER, features=())), 4, "unknown", "different"),
    (on("vlan", on("bond", CARD, OTHER)), 4, "never", "card"),
    (replace(on("macvlan"), is_below_elsewhere=True), 4, "unknown", "elsewhere"),
    (on("vxlan", CARD), 4, "unknown", "device"),
    (replace(CARD, driver="hv_netvsc", below=(OTHER,)), 4, "never", "card"),
]


@pytest.mark.parametrize(
    ("interface", "version", "copies", "case"),
    CASES,
    ids=[f"{each[3]}-{each[0].name}-{number}" for number, each in enumerate(CASES)],
)
def test_each_interface_has_its_verdict(
    interface: InterfaceFacts, version: int, copies: str, case: str
) -> None:
    found = verdict(interface, version)
    assert (found.reason.copies.value, found.reason.case) == (copies, case)


def topics(route: RouteFacts) -> dict[str, Finding]:
    return {each.topic: each for each in judge_route(route).findings}


def copies(interface: InterfaceFacts) -> Finding:
    return topics(replace(ROUTE, interface=interface))["copies"]


def test_a_card_that_does_everything_is_good() -> None:
    found = topics(ROUTE)
    assert {each.grade for each in found.values()} == {Grade.GOOD}
    assert found["copies"].what == (
        "never copied: eth0 (ixgbe) fetches the pages by itself, and computes the "
        "checksums"
    )
    assert found["route"].what == (
        "by eth0 (ixgbe), through 192.0.2.1; packets of 1500 bytes (MTU)"
    )
    assert exit_status([judge_route(ROUTE)]) == 0


def test_what_can_be_switched_on_is_told_how() -> None:
    assert copies(NO_SG).advice == ("ethtool -K eth0 sg on",)
    assert copies(NO_SUM).advice == ("ethtool -K eth0 tx on",)


def test_what_cannot_be_switched_on_is_not_promised() -> None:
    (advice,) = copies(replace(NO_SG, switches=())).advice
    assert "cannot be switched on" in advice
    assert "ethtool" not in advice


def test_of_a_bond_the_member_is_named_that_spoils_it() -> None:
    """What one member cannot do, the kernel takes from the bond as well."""
    bond = without(on("bond", NO_SG), "tx-scatter-gather")
    assert copies(bond).what == "copied once by the CPU: eth0 has no scatter-gather"


def test_each_interface_on_the_way_is_named() -> None:
    stack = on("vlan", on("bond", CARD, OTHER))
    route = topics(replace(ROUTE, interface=stack))["route"]
    assert route.what.startswith(
        "by vlan0 (vlan), on bond0 (bond), on eth0 (ixgbe) or eth1 (ixgbe), through"
    )


@pytest.mark.parametrize(
    ("version", "feature"), [(4, "tx-tcp-segmentation"), (6, "tx-tcp6-segmentation")]
)
def test_without_segmentation_nothing_is_copied_and_yet_it_costs(
    version: int, feature: str
) -> None:
    card = without(CARD, feature)
    section = judge_route(replace(ROUTE, version=version, interface=card))
    found = {each.topic: each for each in section.findings}
    assert found["copies"].case == "never-card"
    assert found["segments"].case == "no-tso"
    assert exit_status([section]) == 0


def test_a_card_that_does_not_reach_all_memory_is_named() -> None:
    found = topics(replace(ROUTE, interface=without(CARD, "highdma")))
    assert found["memory"].case == "bounced"
    assert "memory" not in topics(ROUTE)


def test_of_what_is_not_known_nothing_is_said() -> None:
    """An older kernel does not tell whether a card reaches all memory."""
    old = replace(CARD, features=CARD.features[:2], off=())
    assert "memory" not in topics(replace(ROUTE, interface=old))


def test_a_card_that_encrypts_is_named() -> None:
    card = replace(CARD, features=(*ALL, "tls-hw-tx-offload"))
    assert "eth0 encrypts" in topics(replace(ROUTE, interface=card))["TLS"].what
    assert "TLS" not in topics(ROUTE)


def test_packets_smaller_than_the_route_has_them_hint_at_ipsec() -> None:
    found = topics(replace(ROUTE, mtu=1438))
    assert found["copies"].case == "unknown-smaller"
    assert "takes 62 bytes of each packet" in found["copies"].what


def test_ipsec_copies_unless_the_card_may_do_it() -> None:
    route = replace(ROUTE, mtu=1438, is_encrypted=True)
    card = replace(CARD, features=(*ALL, "esp-hw-offload"))
    assert topics(route)["copies"].case == "once-ipsec"
    assert topics(replace(route, interface=card))["copies"].case == "unknown-ipsec-card"


def test_a_peer_on_this_host_is_no_reason_to_complain() -> None:
    """Whatever the interface is that its address stands on."""
    section = judge_route(replace(ROUTE, is_local=True, gateway=""))
    found = {each.topic: each for each in section.findings}
    assert found["copies"].case == "once-here"
    assert found["copies"].what.startswith("copied once by the CPU: by the program")
    assert "segments" not in found
    assert exit_status([section]) == 0


def test_the_exit_status_speaks_of_peers_that_were_named() -> None:
    named = replace(ROUTE, interface=NO_SG)
    assert exit_status([judge_route(named)]) == 1
    assert exit_status([judge_route(replace(named, peer=""))]) == 0
    assert exit_status([no_route()]) == 0


def test_a_peer_that_cannot_be_reached_is_bad() -> None:
    lost = RouteFacts(peer="203.0.113.9", version=4, refusal="Network is unreachable")
    section = judge_route(lost)
    assert "Network is unreachable" in section.findings[0].what
    assert exit_status([section]) == 2


def test_an_interface_that_cannot_be_seen_cannot_be_told() -> None:
    assert topics(replace(ROUTE, interface=None))["copies"].case == (
        "unknown-no-interface"
    )


@pytest.mark.parametrize("copies", Copies)
def test_each_verdict_is_said_in_plain_words(copies: Copies) -> None:
    assert str(copies) != copies.value


@pytest.mark.parametrize("interface", [case[0] for case in CASES])
def test_no_word_is_left_open(interface: InterfaceFacts) -> None:
    for found in topics(replace(ROUTE, interface=interface)).values():
        assert "{" not in " ".join((found.what, found.why, *found.advice))
        assert found.grade is Grade.GOOD or found.why


def test_facts_survive_a_pipe() -> None:
    stacked = replace(ROUTE, interface=on("vlan", on("bond", CARD, OTHER)))
    lost = RouteFacts(peer="203.0.113.9", version=4, refusal="no")
    sent = Facts(process=facts.ProcessFacts(user=33), files=(), routes=(stacked, lost))
    assert facts.from_json(facts.to_json(sent)) == sent


# Finding out -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "peer",
    ["", "example.org", "192.0.2.256", "192.0.2.1/24", "192.0.2.1:80", "::g", "127.1"],
)
def test_what_is_no_address_is_refused(peer: str) -> None:
    with pytest.raises(DoctorError, match="not an IPv4 or IPv6 address"):
        network.check((peer,))


@pytest.mark.parametrize("peer", ["0.0.0.0", "::", "224.0.0.1", "ff02::1"])
def test_what_is_not_one_hosts_address_is_refused(peer: str) -> None:
    with pytest.raises(DoctorError, match="not the address of one host"):
        network.check((peer,))


def test_an_address_of_a_link_needs_the_links_name() -> None:
    with pytest.raises(DoctorError, match="fe80::1%eth0"):
        network.check(("fe80::1",))
    network.check(("fe80::1%eth0",))


def test_an_ipv4_address_in_the_clothes_of_ipv6_is_taken_as_it_is() -> None:
    (route,) = network.routes_to(("::ffff:127.0.0.1",))
    assert (route.version, route.is_local) == (4, True)


def test_a_refused_ioctl_cannot_be_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_name: str) -> dict[str, object]:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(network, "features", refuse)
    (route,) = network.routes_to(("127.0.0.1",))
    assert route.interface is not None
    assert route.interface.refusal == "Operation not permitted"
    elsewhere = replace(route, is_local=False, interface=replace(CARD, refusal="no"))
    assert topics(elsewhere)["copies"].case == "unknown-refused"


def test_without_netlink_the_way_cannot_be_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As in some sandboxes. That is not to say that there is none."""

    def refuse() -> list[object]:
        raise OSError(97, "Address family not supported by protocol")

    monkeypatch.setattr(network, "interfaces", refuse)
    (route,) = network.routes_to(("127.0.0.1",))
    assert route.refusal == ""
    found = topics(route)
    assert found.keys() == {"copies"}
    assert found["copies"].case == "unknown-no-interface"

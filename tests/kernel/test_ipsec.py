from __future__ import annotations

import socket
import sys

import pytest

from tests import networks
from tests.kernel.test_leases import refusal
from zc_response.kernel import netlink
from zc_response.kernel.ipsec import Policy, policies

IPV4, IPV6 = socket.AF_INET, socket.AF_INET6

LIST = """
from zc_response.kernel.ipsec import policies
for each in policies():
    print(each.family, each.address[:4].hex(), each.bits)
"""
NOBODY = """
import os
from zc_response.kernel.ipsec import policies
os.setresuid(65534, 65534, 65534)
try:
    policies()
except PermissionError:
    print("not permitted")
"""


def packed(address: str) -> tuple[int, bytes]:
    family = IPV6 if ":" in address else IPV4
    return family, socket.inet_pton(family, address)


@pytest.mark.parametrize(
    ("network", "bits", "address", "covers"),
    [
        ("192.0.2.0", 24, "192.0.2.255", True),
        ("192.0.2.0", 24, "192.0.3.1", False),
        ("192.0.2.7", 32, "192.0.2.7", True),
        ("192.0.2.7", 32, "192.0.2.6", False),
        ("0.0.0.0", 0, "255.255.255.255", True),
        ("0.0.0.0", 0, "2001:db8::1", False),
        ("2001:db8::", 32, "2001:db8:ffff::1", True),
        ("2001:db8::", 32, "2001:db9::1", False),
        ("::", 0, "192.0.2.7", False),
    ],
)
def test_a_policy_covers_a_network(
    network: str, bits: int, address: str, covers: bool
) -> None:
    family, base = packed(network)
    policy = Policy(family, base.ljust(16, b"\0"), bits)
    assert policy.covers(*packed(address)) == covers


@pytest.mark.skipif(bool(networks.why_not()), reason=networks.why_not() or "-")
def test_the_policies_are_those_of_the_network() -> None:
    template = "tmpl src 198.51.100.1 dst 198.51.100.2 proto esp mode tunnel"
    with networks.network() as here:
        add = "ip xfrm policy add dst"
        if not networks.can(here, f"{add} 192.0.2.0/24 dir out {template}"):
            pytest.skip("this kernel has no IPsec")
        here.run(f"{add} 192.0.3.0/24 dir in {template}")
        here.run(f"{add} 192.0.4.0/24 dir out")
        with here.python("-c", LIST) as process:
            found = process.communicate(timeout=20)[0]
    assert found == f"{IPV4:d} c0000200 24\n"


@pytest.mark.skipif(bool(networks.why_not()), reason=networks.why_not() or "-")
def test_who_has_no_rights_is_not_told() -> None:
    with networks.network() as here:
        if not networks.can(here, "ip xfrm policy"):
            pytest.skip("this kernel has no IPsec")
        with here.python("-c", NOBODY) as process:
            assert process.communicate(timeout=20)[0] == "not permitted\n"


@pytest.mark.skipif(sys.platform != "linux", reason="Linux's own")
def test_what_is_no_answer_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(*_: object, **__: object) -> list[netlink.Message]:
        return [netlink.Message(0, b"short")]

    monkeypatch.setattr(netlink, "ask_for_all", answer)
    assert refusal(policies) == "EBADMSG"

from __future__ import annotations

import errno
import json
import socket
import sys

import pytest

from tests import networks
from tests.kernel.test_leases import refusal
from zc_response.cli.bench.mounts import program, run
from zc_response.kernel import interfaces
from zc_response.kernel.interfaces import LOOPBACK, driver, features

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Linux's own")

SUMMED_UP = {  # by ethtool, in one line before the features themselves
    "rx-checksumming": "rx-checksum",
    "generic-segmentation-offload": "tx-generic-segmentation",
    "generic-receive-offload": "rx-gro",
    "large-receive-offload": "rx-lro",
    "rx-vlan-offload": "rx-vlan-hw-parse",
    "tx-vlan-offload": "tx-vlan-hw-insert",
    "ntuple-filters": "rx-ntuple-filter",
    "receive-hashing": "rx-hashing",
}
SUMS = {
    *("tx-checksumming", "scatter-gather", "tcp-segmentation-offload"),
    "udp-fragmentation-offload",
}


def test_the_interfaces_are_those_of_the_system() -> None:
    found = {each.number: each.name for each in interfaces.interfaces()}
    assert found == dict(socket.if_nameindex())


def test_the_loopback_is_known_as_such() -> None:
    (found,) = (each for each in interfaces.interfaces() if each.name == "lo")
    assert found.kind == LOOPBACK
    assert features("lo")["tx-scatter-gather"].is_on


@pytest.mark.skipif(program("ethtool") is None, reason="ethtool is not installed")
def test_features_are_those_that_ethtool_shows() -> None:
    for _number, name in socket.if_nameindex():
        asked = features(name)
        for line in run("ethtool", "-k", name).splitlines()[1:]:
            feature, state = line.strip().split(": ", 1)
            if feature not in SUMS:
                is_on, is_fixed = asked[SUMMED_UP.get(feature, feature)]
                assert is_on == state.startswith("on"), line
                assert is_fixed == state.endswith("[fixed]"), line


def test_where_features_have_no_names_the_old_questions_are_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    known = features("lo")

    def refuse(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "not supported")

    monkeypatch.setattr(interfaces, "_features", refuse)
    asked = features("lo")
    assert asked.keys() == interfaces._ONE_BY_ONE.keys()
    for name in ("tx-scatter-gather", "tx-tcp-segmentation"):
        assert asked[name].is_on == known[name].is_on


@pytest.mark.parametrize("name", ["zc-none", "a-name-that-is-too-long-for-any", ""])
def test_an_interface_that_is_not_there_is_an_error(name: str) -> None:
    assert refusal(lambda: features(name)) == "ENODEV"
    assert refusal(lambda: driver(name)) == "ENODEV"


def test_what_is_no_answer_is_an_error() -> None:
    assert refusal(lambda: interfaces._read(b"short")) == "EBADMSG"


# In networks of their own ----------------------------------------------------------

LIST = """
import json
from zc_response.kernel.interfaces import driver, interfaces
print(json.dumps([each._asdict() for each in interfaces()]))
"""


def listed(here: networks.Network) -> dict[str, interfaces.Interface]:
    """By name, what a process in that network sees."""
    with here.python("-c", LIST) as process:
        said = process.communicate(timeout=20)[0]
    found = (interfaces.Interface(**each) for each in json.loads(said))
    return {each.name: each for each in found}


needs_networks = pytest.mark.skipif(
    bool(networks.why_not()), reason=networks.why_not() or "-"
)


@needs_networks
def test_a_process_sees_the_interfaces_of_its_own_network() -> None:
    """Whatever /sys/class/net shows, which may be another network's."""
    with networks.network() as here:
        assert listed(here).keys() == {"lo"}


@needs_networks
def test_the_other_end_of_a_pair_may_be_elsewhere() -> None:
    with networks.pair() as (here, _there):
        here.run("ip link add veth1 type veth peer name veth2")
        found = listed(here)
    assert found["veth0"].is_below_elsewhere
    assert not found["veth1"].is_below_elsewhere
    assert found["veth1"].below == found["veth2"].number
    assert {found[name].kind for name in ("veth0", "veth1", "veth2")} == {"veth"}


@needs_networks
def test_what_an_interface_stands_on_or_is_a_part_of_is_known() -> None:
    with networks.network() as here:
        here.run("ip link add veth1 mtu 1400 type veth peer name veth2")
        here.run("ip link add br0 type bridge")
        here.run("ip link set veth1 master br0")
        has_macvlan = networks.can(
            here, "ip link add link veth2 name mac0 type macvlan"
        )
        found = listed(here)
    assert found["veth1"].master == found["br0"].number
    assert found["br0"].kind == "bridge"
    assert found["veth1"].mtu == 1400
    if not has_macvlan:
        pytest.skip("this kernel has no macvlan")
    assert found["mac0"].below == found["veth2"].number
    assert found["mac0"].kind == "macvlan"

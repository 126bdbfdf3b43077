from __future__ import annotations

import os
import shutil
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import networks
from tests.kernel.test_leases import refusal
from zc_response.kernel import routes
from zc_response.kernel.routes import Route, leaves_memory, route_to

IPV4 = socket.AF_INET
IPV6 = socket.AF_INET6


def packed(text: str) -> tuple[socket.AddressFamily, bytes]:
    family = IPV6 if ":" in text else IPV4
    return family, socket.inet_pton(family, text)


@pytest.mark.parametrize("address", ["127.0.0.1", "127.9.9.9", "::1"])
def test_the_loopback_is_this_host(address: str) -> None:
    if ":" in address and not Path("/proc/net/if_inet6").exists():
        pytest.skip("no IPv6 here")
    assert route_to(*packed(address)) == Route(is_local=True, interface="lo")
    assert not leaves_memory("lo")


def test_an_address_of_ones_own_is_this_host() -> None:
    """Whatever the interface is that it stands on."""
    with socket.socket(IPV4, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect(("192.0.2.1", 9))  # nothing is sent
        except OSError:
            pytest.skip("no way out of this host")
        own = sock.getsockname()[0]
    assert route_to(*packed(own)).is_local


def test_an_address_to_which_there_is_no_way_is_an_error() -> None:
    """In a network namespace that has nothing but a loopback, which is down."""
    code = """
from socket import AF_INET
from zc_response.kernel.routes import route_to
try:
    route_to(AF_INET, bytes((192, 0, 2, 1)))
except OSError as exc:
    print(exc.strerror)
"""
    command = ["unshare", "--net", "--", sys.executable, "-c", code]
    if not shutil.which("unshare"):
        pytest.skip("unshare (util-linux) is not installed")
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=20, check=False
    )
    if "unshare" in done.stderr:
        pytest.skip("no network namespace can be made here")
    assert done.stdout == "Network is unreachable\n"


@pytest.mark.parametrize("length", [0, 5, 16, 23, 30, 39])
def test_an_answer_that_is_cut_short_is_an_error(length: int) -> None:
    """Or at least no interface."""
    whole = struct.pack("IHHII", 36, 24, 0, 0, 0) + bytes(12) + bytes((8, 0, 4, 0))
    try:
        assert routes._read(whole[:length]) == Route(is_local=False, interface="")
    except OSError:
        assert length < 40


def test_another_host_is_reached_by_an_interface_that_has_a_name() -> None:
    try:
        route = route_to(*packed("192.0.2.1"))
    except OSError:
        pytest.skip("no way out of this host")
    assert not route.is_local
    assert route.interface in os.listdir("/sys/class/net")


def test_what_leaves_by_hardware_has_left_memory() -> None:
    found = [path.name for path in Path("/sys/class/net").glob("*") if is_card(path)]
    if not found:
        pytest.skip("no network card here")
    assert all(map(leaves_memory, found))


def is_card(interface: Path) -> bool:
    return (interface / "device").exists()


@pytest.fixture
def neighbour() -> Iterator[str]:
    """An address in a network namespace, at the other end of a veth pair."""
    if os.geteuid() != 0 or not shutil.which("ip"):
        pytest.skip("no root, or no ip (iproute2)")
    name = f"zc-test-{os.getpid()}"
    ours, theirs = f"zca{os.getpid()}", f"zcb{os.getpid()}"

    def ip(*words: str) -> bool:
        command = ["ip", *words]
        return not subprocess.run(
            command, capture_output=True, timeout=20, check=False
        ).returncode

    try:
        if not (
            ip("netns", "add", name)
            and ip("link", "add", ours, "type", "veth", "peer", "name", theirs)
            and ip("link", "set", theirs, "netns", name)
            and ip("address", "add", "198.51.100.1/30", "dev", ours)
            and ip("link", "set", ours, "up")
        ):
            pytest.skip("no network namespace can be made here")
        yield "198.51.100.2"
    finally:
        ip("link", "delete", ours)
        ip("netns", "delete", name)


def test_a_veth_pair_hands_on_memory_of_this_host(neighbour: str) -> None:
    route = route_to(*packed(neighbour))
    assert not route.is_local
    assert route.interface.startswith("zca")
    assert not leaves_memory(route.interface)


class Interfaces:
    """A directory like /sys/class/net."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def add(self, name: str, *parts: str, kind: str = "", on: str = "") -> None:
        here = self.root / name
        here.mkdir()
        for part in parts:
            (here / part).mkdir()
        (here / "uevent").write_text(
            f"INTERFACE={name}\n" + (f"DEVTYPE={kind}\n" if kind else "")
        )
        for below in on.split():
            (here / f"lower_{below}").symlink_to(self.root / below)


@pytest.fixture
def interfaces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Interfaces:
    monkeypatch.setattr(routes, "_CLASS", tmp_path)
    made = Interfaces(tmp_path)
    made.add("eth0", "device")
    made.add("eth1", "device")
    made.add("tun0", "tun_flags")
    made.add("wg0", kind="wireguard")
    made.add("veth0")
    made.add("br0", kind="bridge", on="eth0 veth0")
    made.add("macvlan0", kind="macvlan", on="eth0")
    made.add("eth0.7", kind="vlan", on="eth0")
    made.add("veth0.7", kind="vlan", on="veth0")
    made.add("odd.7", kind="vlan")
    made.add("bond0", "bonding", on="eth0 eth1")
    made.add("bond1", "bonding", on="eth0 veth0")
    made.add("bond0.7", kind="vlan", on="bond0")
    return made


@pytest.mark.parametrize("name", ["eth0", "tun0", "wg0", "eth0.7", "bond0", "bond0.7"])
@pytest.mark.usefixtures("interfaces")
def test_what_these_send_is_no_longer_in_memory(name: str) -> None:
    assert leaves_memory(name)


@pytest.mark.parametrize(
    "name", ["veth0", "br0", "macvlan0", "veth0.7", "odd.7", "bond1", "unknown", ""]
)
@pytest.mark.usefixtures("interfaces")
def test_what_these_send_may_still_be(name: str) -> None:
    assert not leaves_memory(name)


def test_without_a_sys_directory_nothing_leaves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routes, "_CLASS", tmp_path / "none")
    assert not leaves_memory("eth0")


# The route of a socket -------------------------------------------------------------

ROUTE = """
import socket, sys
from zc_response.kernel.routes import route_of
address, mark, device, own = sys.argv[1], int(sys.argv[2]), *sys.argv[3:]
family = socket.AF_INET6 if ":" in address else socket.AF_INET
with socket.socket(family, socket.SOCK_DGRAM) as sock:
    if mark:
        sock.setsockopt(socket.SOL_SOCKET, 36, mark)
    if device:
        sock.setsockopt(socket.SOL_SOCKET, 25, device.encode())
    if own:
        sock.bind((own, 0))
    sock.connect((address, 9))
    route, mtu = route_of(sock)
    print(route.interface or "-", route.gateway or "-", route.mtu, mtu)
"""

needs_networks = pytest.mark.skipif(
    bool(networks.why_not()), reason=networks.why_not() or "-"
)


def route_in(
    here: networks.Network,
    address: str,
    *,
    mark: int = 0,
    device: str = "",
    own: str = "",
) -> str:
    words = ("-c", ROUTE, address, str(mark), device, own)
    with here.python(*words) as process:
        return process.communicate(timeout=20)[0].strip()


@pytest.fixture
def here() -> Iterator[networks.Network]:
    """A network with a way out by `veth0`."""
    with networks.pair() as (here, _there):
        yield here


@needs_networks
def test_a_socket_has_the_route_and_the_mtu_of_its_peer(here: networks.Network) -> None:
    here.run("ip route add 192.0.2.0/24 via 198.51.100.2")
    here.run("ip route add 192.0.2.7/32 via 198.51.100.2 mtu 1300")
    here.run("ip -6 route add 2001:db8::/32 via fd00:51::2")
    assert route_in(here, "198.51.100.2") == "veth0 - 0 1500"
    assert route_in(here, "192.0.2.1") == "veth0 198.51.100.2 0 1500"
    assert route_in(here, "192.0.2.7") == "veth0 198.51.100.2 1300 1300"
    here.run("ip route add 203.0.113.0/24 via inet6 fd00:51::2 dev veth0")
    assert route_in(here, "203.0.113.7") == "veth0 fd00:51::2 0 1500"
    assert route_in(here, "2001:db8::7") == "veth0 fd00:51::2 0 1500"


@needs_networks
def test_what_a_socket_is_bound_to_counts(here: networks.Network) -> None:
    here.run("ip link add veth1 type veth peer name veth2")
    here.run("ip link set veth1 up")
    here.run("ip link set veth2 up")
    here.run("ip address add 203.0.113.1/24 dev veth1")
    here.run("ip route add default via 198.51.100.2")
    here.run("ip route add default via 203.0.113.2 metric 500")
    assert route_in(here, "192.0.2.7").startswith("veth0")
    assert route_in(here, "192.0.2.7", device="veth1").startswith("veth1 203.0.113.2")


@needs_networks
def test_the_mark_of_a_socket_counts(here: networks.Network) -> None:
    """By a rule, as those that VPNs make."""
    here.run("ip route add default via 198.51.100.2")
    here.run("ip route add default via 198.51.100.77 dev veth0 table 100")
    here.run("ip rule add fwmark 7 table 100")
    assert route_in(here, "192.0.2.7").startswith("veth0 198.51.100.2 ")
    assert route_in(here, "192.0.2.7", mark=7).startswith("veth0 198.51.100.77 ")


@needs_networks
def test_the_own_address_of_a_socket_counts(here: networks.Network) -> None:
    here.run("ip address add 198.51.100.50/24 dev veth0")
    here.run("ip route add default via 198.51.100.2")
    here.run("ip route add default via 198.51.100.77 dev veth0 table 100")
    here.run("ip rule add from 198.51.100.50 table 100")
    assert route_in(here, "192.0.2.7").startswith("veth0 198.51.100.2 ")
    found = route_in(here, "192.0.2.7", own="198.51.100.50")
    assert found.startswith("veth0 198.51.100.77 ")


def test_an_ipv4_peer_of_an_ipv6_socket_has_an_ipv4_route() -> None:
    if not socket.has_dualstack_ipv6():
        pytest.skip("no IPv6 here")
    with socket.socket(IPV6, socket.SOCK_DGRAM) as sock:
        sock.connect(("::ffff:127.0.0.1", 9))
        found = routes.route_of(sock)
    assert found.route == Route(is_local=True, interface="lo")
    assert found.mtu > 0


def test_a_connection_has_the_route_of_its_client() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        ours, _ = listener.accept()
    with ours, client:
        assert routes.route_of(ours).route == Route(is_local=True, interface="lo")


def test_a_socket_of_another_family_has_no_route() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert refusal(lambda: routes.route_of(ours)) == "EAFNOSUPPORT"


def test_where_there_is_no_netlink_there_is_no_route(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(socket, "AF_NETLINK")
    assert refusal(lambda: route_to(IPV4, bytes(4))) == "EAFNOSUPPORT"


def test_a_socket_without_a_peer_has_no_route() -> None:
    with socket.socket(IPV4, socket.SOCK_DGRAM) as sock:
        assert refusal(lambda: routes.route_of(sock)) == "ENOTCONN"

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

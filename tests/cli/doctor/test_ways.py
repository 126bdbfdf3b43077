"""`zc-response doctor --peer` in networks of its own, and whether it is right."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import networks
from tests.networks import OURS, THEIRS, Network

pytestmark = pytest.mark.skipif(
    bool(networks.why_not("ethtool")), reason=networks.why_not("ethtool") or "-"
)

SIZE = 40_000


@pytest.fixture
def ends() -> Iterator[tuple[Network, Network]]:
    with networks.pair() as ends:
        yield ends


@pytest.fixture
def here(ends: tuple[Network, Network]) -> Network:
    """A network with a neighbour at the other end of `veth0`."""
    return ends[0]


def doctor(here: Network, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        here.command(sys.executable, "-m", "zc_response.cli", "doctor", *words),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def findings(here: Network, peer: str) -> dict[str, dict[str, Any]]:
    """What it says of the way to a peer."""
    done = doctor(here, "--json", "--peer", peer)
    assert done.stdout, done.stderr
    first = json.loads(done.stdout)["sections"][0]
    assert first["title"] == f"to {peer}"
    return {each["topic"]: each for each in first["findings"]}


def copies(here: Network, peer: str) -> str:
    return str(findings(here, peer)["copies"]["case"])


# Is it right? ------------------------------------------------------------------------

SEND = """
import fcntl, os, socket, sys, time
fd = os.open(sys.argv[1], os.O_RDWR)
size = os.fstat(fd).st_size
with socket.create_server((sys.argv[2], 0), family=int(sys.argv[3])) as listener:
    print(listener.getsockname()[1], flush=True)
    with listener.accept()[0] as sock:
        assert os.sendfile(sock.fileno(), fd, 0, size) == size
        while any(fcntl.ioctl(sock.fileno(), 0x5411, bytes(4))):  # SIOCOUTQ
            time.sleep(0.01)
        os.pwrite(fd, b"b" * size, 0)
        print("overwritten", flush=True)
        sys.stdin.readline()
"""
RECEIVE = """
import socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2]))) as sock:
    sys.stdin.readline()
    data = b""
    while piece := sock.recv(65536):
        data += piece
print(len(data), *sorted(map(chr, set(data))))
"""


def arrives(ends: tuple[Network, Network], file: Path, address: str) -> str:
    """What a client gets of a file that is rewritten when all of it has arrived.

    It is acknowledged by the client's kernel, and not yet read by the client: if it was
    sent by reference all the way, what the client reads is the new content.
    """
    file.write_bytes(b"a" * SIZE)
    family = "10" if ":" in address else "2"
    here, there = ends
    with here.python("-c", SEND, str(file), address, family) as sender:
        assert sender.stdin is not None
        assert sender.stdout is not None
        port = sender.stdout.readline().strip()
        with there.python("-c", RECEIVE, address, port) as receiver:
            assert sender.stdout.readline() == "overwritten\n"
            sender.stdin.close()
            got, _ = receiver.communicate("\n", timeout=20)
    return got.strip()


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize(
    ("switched", "case", "letter"),
    [
        ("", "unknown-veth", "b"),
        ("tso off", "unknown-veth", "b"),
        ("tso off gso off", "unknown-veth", "b"),
        ("sg off", "once-no-scatter-gather", "a"),
        ("tx off", "once-no-checksum", "a"),
    ],
)
def test_the_kernel_copies_where_the_doctor_says_so(
    ends: tuple[Network, Network],
    tmp_path: Path,
    switched: str,
    case: str,
    letter: str,
    version: int,
) -> None:
    """A copy is known by its age: it has the bytes of before the file was rewritten."""
    here, _ = ends
    if switched:
        here.run(f"ethtool -K veth0 {switched}")
    address, peer = (OURS[0], THEIRS[0]) if version == 4 else (OURS[1], THEIRS[1])
    assert copies(here, peer) == case
    assert arrives(ends, tmp_path / "file", address) == f"{SIZE} {letter}"


# Interfaces --------------------------------------------------------------------------


def test_what_is_switched_off_is_told_how_to_switch_on(here: Network) -> None:
    here.run("ethtool -K veth0 sg off")
    found = findings(here, THEIRS[0])["copies"]
    assert found["advice"] == ["ethtool -K veth0 sg on"]
    here.run(found["advice"][0])
    assert copies(here, THEIRS[0]) == "unknown-veth"


def test_of_a_bridge_the_port_is_named(here: Network) -> None:
    here.run("ip link add veth1 type veth peer name veth2")
    here.run("ip link add br0 type bridge")
    for each in ("veth1 master br0", "veth1 up", "veth2 up", "br0 up"):
        here.run(f"ip link set {each}")
    here.run("ip address add 203.0.113.1/24 dev br0")
    here.run("ethtool -K veth1 sg off")
    found = findings(here, "203.0.113.2")
    assert found["copies"]["case"] == "once-no-scatter-gather"
    assert found["copies"]["what"].endswith("veth1 has no scatter-gather")
    assert found["route"]["what"].startswith("by br0 (bridge), on veth1 (veth);")


@pytest.mark.parametrize("kind", ["vlan id 7", "macvlan mode bridge"])
def test_what_stands_on_another_interface_is_judged_by_that(
    here: Network, kind: str
) -> None:
    if not networks.can(here, f"ip link add link veth0 name upper0 type {kind}"):
        pytest.skip(f"this kernel has no {kind.split()[0]}")
    here.run("ip address add 203.0.113.1/24 dev upper0")
    here.run("ip link set upper0 up")
    assert copies(here, "203.0.113.2") == "unknown-veth"
    here.run("ethtool -K veth0 tx off")
    found = findings(here, "203.0.113.2")["copies"]
    assert found["case"] == "once-no-checksum"
    assert "veth0 does not" in found["what"]


def test_a_program_behind_a_tun_device_copies(here: Network) -> None:
    here.run("ip tuntap add tun0 mode tun")
    here.run("ip address add 203.0.113.1/24 dev tun0")
    here.run("ip link set tun0 up")
    assert copies(here, "203.0.113.2") == "once-program"


@pytest.mark.parametrize(
    ("policy", "case"),
    [
        ("dst 203.0.113.0/24 dir out", "once-ipsec"),
        ("dst 203.0.113.0/24 dir in", "unknown-veth"),
        ("dst 203.0.114.0/24 dir out", "unknown-veth"),
        ("dst 2001:db8::/32 dir out", "unknown-veth"),
    ],
)
def test_what_ipsec_encrypts_is_copied(here: Network, policy: str, case: str) -> None:
    here.run(f"ip route add default via {THEIRS[0]}")
    six = ":" in policy
    source, target = (OURS[1], THEIRS[1]) if six else (OURS[0], THEIRS[0])
    template = f"tmpl src {source} dst {target} proto esp mode tunnel"
    if not networks.can(here, f"ip xfrm policy add {policy} {template}"):
        pytest.skip("this kernel has no IPsec")
    assert copies(here, "203.0.113.9") == case


# Routes ------------------------------------------------------------------------------


@pytest.mark.parametrize("peer", ["127.0.0.1", "::1", *OURS])
def test_this_host_itself_is_no_reason_to_complain(here: Network, peer: str) -> None:
    done = doctor(here, "--peer", peer)
    assert done.returncode == 0
    assert "copied once by the CPU: by the program that receives it" in done.stdout


@pytest.mark.parametrize("peer", ["192.0.2.7", "2001:db8::7"])
def test_a_peer_that_cannot_be_reached_is_status_2(here: Network, peer: str) -> None:
    done = doctor(here, "--peer", peer)
    assert done.returncode == 2
    assert "there is none: Network is unreachable" in done.stdout


def test_a_router_and_the_mtu_of_the_route_are_told(here: Network) -> None:
    here.run(f"ip route add 192.0.2.0/24 via {THEIRS[0]} mtu 1300")
    found = findings(here, "192.0.2.7")
    assert found["route"]["case"] == "gateway"
    assert f"through {THEIRS[0]}; packets of 1300 bytes" in found["route"]["what"]
    assert found["copies"]["case"] == "unknown-veth"


def test_an_address_of_a_link_is_reached_by_that_link(here: Network) -> None:
    here.run("ip link add veth1 type veth peer name veth2")
    here.run("ip link set veth1 up")
    here.run("ip link set veth2 up")
    for name in ("veth0", "veth1"):
        here.run(f"ip -6 address add fe80::1/64 dev {name} nodad")
        route = findings(here, f"fe80::7%{name}")["route"]
        assert route["what"].startswith(f"by {name} (veth);")


def test_the_worst_peer_makes_the_exit_status(here: Network) -> None:
    assert doctor(here, "--peer", OURS[0], "--peer", THEIRS[0]).returncode == 1


def test_without_a_peer_the_default_routes_are_judged(
    here: Network, tmp_path: Path
) -> None:
    here.run(f"ip route add default via {THEIRS[0]}")
    here.run(f"ip -6 route add default via {THEIRS[1]}")
    done = doctor(here, str(tmp_path))
    assert "to the Internet, by IPv4\n" in done.stdout
    assert "to the Internet, by IPv6\n" in done.stdout


def test_the_network_does_not_change_the_verdict_on_a_file(
    here: Network, tmp_path: Path
) -> None:
    """Who asks about a file on a machine without any way out has done nothing wrong."""
    without = doctor(here, str(tmp_path))
    assert "there is no default route" in without.stdout
    here.run(f"ip route add default via {THEIRS[0]}")
    here.run("ethtool -K veth0 sg off")
    copied = doctor(here, str(tmp_path))
    assert "copied once by the CPU: veth0 has no scatter-gather" in copied.stdout
    assert copied.returncode == without.returncode


def test_another_user_is_told_the_same(here: Network) -> None:
    done = doctor(here, "--user", "nobody", "--peer", THEIRS[0])
    assert "cannot be told from here: veth0" in done.stdout
    assert done.returncode == 1

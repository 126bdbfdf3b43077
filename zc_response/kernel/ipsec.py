"""To which addresses does this host send encrypted packets only (IPsec, ip-xfrm(8))?"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from zc_response.kernel import netlink

_NETLINK_XFRM: Final = 6
_GET_POLICY: Final = 0x15  # linux/xfrm.h
_SELECTOR: Final = struct.Struct("16s16s8xHBB4xiI")  # struct xfrm_selector
_SIZE: Final = 168  # struct xfrm_userpolicy_info; it begins with the selector
_DIRECTION: Final = 160  # where the way packets go stands in it, and the action after
_OUT: Final = 1
_ALLOW: Final = 0
_TEMPLATE: Final = 5  # XFRMA_TMPL: what is to be done to packets


class Policy(NamedTuple):
    """Packets to these addresses are transformed before they leave."""

    family: int
    address: bytes
    bits: int
    """How many of the address's have to be the same."""

    def covers(self, family: int, address: bytes) -> bool:
        """True if the address is one of these."""
        unlike = len(address) * 8 - self.bits
        return (
            family == self.family
            and _number(address) >> unlike
            == _number(self.address[: len(address)]) >> unlike
        )


def _number(address: bytes) -> int:
    return int.from_bytes(address, "big")


def policies() -> list[Policy]:
    """Those for packets that leave. Raises OSError: without CAP_NET_ADMIN, EPERM.

    Ports and protocols are left out of account: TCP is what IPsec is there for.
    """
    answers = netlink.ask_for_all(_GET_POLICY, b"", protocol=_NETLINK_XFRM)
    found = []
    for each in answers:
        if len(each.body) < _SIZE:
            raise netlink.malformed()
        address, _source, family, bits, *_rest = _SELECTOR.unpack_from(each.body)
        direction, action = each.body[_DIRECTION : _DIRECTION + 2]
        kinds = {kind for kind, _ in netlink.attributes(each.body[_SIZE:])}
        if direction == _OUT and action == _ALLOW and _TEMPLATE in kinds:
            found.append(Policy(family, address, bits))
    return found

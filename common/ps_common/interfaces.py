"""The network cards of this machine, and the addresses that they have. See netdevice(7)."""

import contextlib
import fcntl
import ipaddress
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

from ps_common.errors import UsageError
from ps_common.spelling import nearest

_SIOCGIFADDR = 0x8915
_NAME_BYTES_MAX = 15  # IFNAMSIZ, less the end
_IPV6 = Path("/proc/net/if_inet6")
_LINK_LOCAL = "20"  # scope: means something with the card's name alone


def address_of(name: str) -> str:
    """The address of a network card: of IPv4, if it has one. Raises `UsageError` where it has none."""
    names = [known for _, known in socket.if_nameindex()]
    if name not in names:
        raise UsageError(f"--interface: this machine has no network card {name!r:.40}{nearest(name, names)}")
    found = next((address for card, address in addresses() if card == name), None)
    if found is None:
        raise UsageError(f"--interface: the network card {name} has no address")
    return found


def card_of(address: str) -> str:
    """The network card that has this address; empty: none has."""
    wanted = ipaddress.ip_address(address.partition("%")[0])
    return next((card for card, found in addresses() if ipaddress.ip_address(found) == wanted), "")


def addresses() -> Iterator[tuple[str, str]]:
    """Each card with each of its addresses that others can use, those of IPv4 first."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        for _, name in socket.if_nameindex():
            request = struct.pack("256s", name.encode()[:_NAME_BYTES_MAX])
            with contextlib.suppress(OSError):  # it has none
                yield name, socket.inet_ntoa(fcntl.ioctl(asking, _SIOCGIFADDR, request)[20:24])
    with contextlib.suppress(OSError):  # a system without IPv6
        for line in _IPV6.read_text().splitlines():
            digits, _, _, scope, _, name = line.split()
            if scope != _LINK_LOCAL:
                yield name, str(ipaddress.ip_address(bytes.fromhex(digits)))

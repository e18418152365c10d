"""Which addresses of the internet anybody may be sent to.

The tables are IANA's registries of special-purpose addresses (RFC 6890 and its successors). `ipaddress.is_global` is not
asked: it calls some of these global, and which ones differs between releases of Python.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import Final, TypeAlias

Address: TypeAlias = IPv4Address | IPv6Address
Networks: TypeAlias = Sequence[IPv4Network | IPv6Network]

SPECIAL: Final = tuple(
    ip_network(text)
    for text in (
        "0.0.0.0/8",  # this host
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # behind a provider's NAT; some clouds keep their metadata here
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # what Azure answers its machines on, although it looks public
        "169.254.0.0/16",  # link-local, with the metadata of most clouds
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments, and Oracle's metadata
        "192.0.2.0/24",  # documentation
        "192.31.196.0/24",  # AS112
        "192.52.193.0/24",  # AMT
        "192.88.99.0/24",  # relays of 6to4
        "192.168.0.0/16",  # private
        "192.175.48.0/24",  # AS112
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and broadcast
        "2001::/23",  # protocol assignments: Teredo and ORCHID among them
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4, which holds any IPv4 address
        "2620:4f:8000::/48",  # AS112
        "3fff::/20",  # documentation
    )
)
UNICAST_6: Final = IPv6Network("2000::/3")
"""All of IPv6 that is given out to anybody: loopback, ULA, link-local, site-local and multicast lie outside."""
NAT64: Final = IPv6Network("64:ff9b::/96")
"""How a network without IPv4 reaches an IPv4 address, which stands in the last four bytes (RFC 6052)."""


def plain(address: Address) -> Address:
    """The address that a connection would really reach: IPv4 for an IPv4-mapped IPv6 address."""
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address


def is_public(address: Address) -> bool:
    """Whether an address belongs to the public internet, and to nothing nearer."""
    address = plain(address)
    if isinstance(address, IPv6Address):
        if address in NAT64:
            return is_public(IPv4Address(int(address) & 0xFFFFFFFF))
        if address not in UNICAST_6:
            return False
    return not within(address, SPECIAL)


def within(address: Address, networks: Networks) -> bool:
    """Whether one of the networks holds the address."""
    return any(plain(address) in network for network in networks)

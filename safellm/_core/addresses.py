"""What kind of place an IP address is: a list of our own, as `ipaddress.is_global` is wrong for some that matter (THREATS E.7).

Addresses that carry an IPv4 address inside (mapped, NAT64, 6to4, Teredo and the like) are what they carry.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Collection, Iterable
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from safellm._core.origin import Origin


class Kind(StrEnum):
    """What an address is; the value stands in refusals."""

    PUBLIC = "public"
    LOOPBACK = "this machine itself"
    PRIVATE = "a private network"
    LINK_LOCAL = "link-local"
    METADATA = "a cloud's metadata service"
    MULTICAST = "multicast"
    UNSPECIFIED = "unspecified"
    RESERVED = "reserved"


# Services that hand out a machine's own credentials to whoever asks from it. Some of them look public.
_METADATA = frozenset(
    {
        ip_address("169.254.169.254"),  # AWS, Azure, Google Cloud, DigitalOcean and others
        ip_address("169.254.170.2"),  # AWS: credentials of containers
        ip_address("169.254.170.23"),  # AWS: credentials of pods
        ip_address("168.63.129.16"),  # Azure: the host's agent
        ip_address("192.0.0.192"),  # Oracle Cloud
        ip_address("100.100.100.200"),  # Alibaba Cloud
        ip_address("fd00:ec2::254"),  # AWS
        ip_address("fd00:ec2::23"),  # AWS: credentials of pods
        ip_address("fd20:ce::254"),  # Google Cloud
    }
)
# From the IANA special-purpose registries (RFC 6890 and its updates); the first that fits counts.
_FOUR = (
    (Kind.UNSPECIFIED, IPv4Network("0.0.0.0/8")),
    (Kind.LOOPBACK, IPv4Network("127.0.0.0/8")),
    (Kind.LINK_LOCAL, IPv4Network("169.254.0.0/16")),
    (Kind.PRIVATE, IPv4Network("10.0.0.0/8")),
    (Kind.PRIVATE, IPv4Network("172.16.0.0/12")),
    (Kind.PRIVATE, IPv4Network("192.168.0.0/16")),
    (Kind.PRIVATE, IPv4Network("100.64.0.0/10")),  # shared by the customers of a carrier (RFC 6598)
    (Kind.PRIVATE, IPv4Network("198.18.0.0/15")),  # benchmarks (RFC 2544); local proxies answer names with it
    (Kind.RESERVED, IPv4Network("192.0.0.0/24")),
    (Kind.RESERVED, IPv4Network("192.0.2.0/24")),
    (Kind.RESERVED, IPv4Network("192.88.99.0/24")),
    (Kind.RESERVED, IPv4Network("198.51.100.0/24")),
    (Kind.RESERVED, IPv4Network("203.0.113.0/24")),
    (Kind.MULTICAST, IPv4Network("224.0.0.0/4")),
    (Kind.RESERVED, IPv4Network("240.0.0.0/4")),  # with the broadcast address
)
_SIX = (
    (Kind.UNSPECIFIED, IPv6Network("::/128")),
    (Kind.LOOPBACK, IPv6Network("::1/128")),
    (Kind.LINK_LOCAL, IPv6Network("fe80::/10")),
    (Kind.PRIVATE, IPv6Network("fec0::/10")),  # site-local, withdrawn (RFC 3879)
    (Kind.PRIVATE, IPv6Network("fc00::/7")),
    (Kind.MULTICAST, IPv6Network("ff00::/8")),
    (Kind.RESERVED, IPv6Network("100::/64")),
    (Kind.RESERVED, IPv6Network("2001:db8::/32")),
    (Kind.RESERVED, IPv6Network("3fff::/20")),
    (Kind.RESERVED, IPv6Network("5f00::/16")),
)
_GLOBAL = IPv6Network("2000::/3")  # all that is given out; everything else in IPv6 is reserved (RFC 4291)
_MAPPED = (IPv6Network("::ffff:0:0/96"), IPv6Network("::ffff:0:0:0/96"), IPv6Network("::/96"))
_NAT64 = IPv6Network("64:ff9b::/96")
_LOCAL_NAT64 = IPv6Network("64:ff9b:1::/48")
_SIX_TO_FOUR = IPv6Network("2002::/16")
_TEREDO = IPv6Network("2001::/32")
_ISATAP = (0x00005EFE, 0x02005EFE)  # upper half of the interface identifier (RFC 5214 6.1)
_LOW = 0xFFFFFFFF


def kind_of(text: str) -> Kind:
    """Return what kind of place an address is.

    Args:
        text: As a resolver gives it, an IPv6 zone (`%eth0`) included.

    Raises:
        ValueError: it is no address.
    """
    address = ip_address(text)
    if isinstance(address, IPv4Address):
        return _kind_of_four(address)
    address = IPv6Address(int(address))  # without the zone
    if address in _METADATA:
        return Kind.METADATA
    found = next((kind for kind, network in _SIX if address in network), None)
    if found is not None:
        return found
    carried = _carried(address)
    if carried is not None:
        return _kind_of_four(carried)
    return Kind.PUBLIC if address in _GLOBAL else Kind.RESERVED


def _kind_of_four(address: IPv4Address) -> Kind:
    if address in _METADATA:
        return Kind.METADATA
    return next((kind for kind, network in _FOUR if address in network), Kind.PUBLIC)


def _carried(address: IPv6Address) -> IPv4Address | None:
    """Return the IPv4 address that a translator or tunnel would send to."""
    number = int(address)
    if any(address in network for network in (*_MAPPED, _NAT64, _LOCAL_NAT64)):
        # Of the local prefix the last 32 bits are taken: the usual length; others are refused as the zeros they show.
        return IPv4Address(number & _LOW)
    if address in _SIX_TO_FOUR:
        return IPv4Address((number >> 80) & _LOW)
    if address in _TEREDO:
        return IPv4Address((number & _LOW) ^ _LOW)  # written inverted (RFC 4380 4)
    if (number >> 32) & _LOW in _ISATAP:
        return IPv4Address(number & _LOW)
    return None


# What may be reached besides public addresses, by what was said about the address of the call.
_OWN_NETWORK = frozenset({Kind.PUBLIC, Kind.PRIVATE, Kind.LOOPBACK})
_BOUND = _OWN_NETWORK | {Kind.LINK_LOCAL}
_PUBLIC = frozenset({Kind.PUBLIC})
_LOOPBACK = frozenset({Kind.LOOPBACK})


def allowed_kinds(
    host: str, port: int, *, private: Collection[Origin], in_code: Collection[Origin], strict: bool
) -> frozenset[Kind]:
    """Return which kinds of addresses a connection may lead to. A metadata service is never among them.

    Args:
        host: The name that the call goes to.
        port: Its port.
        private: Origins that the policy binds as private (`egress.private`).
        in_code: Origins that the program itself gave; outside strict mode they may be in its own network.
        strict: Strict mode takes nothing from code.
    """
    name = host.strip("[]").lower()
    if Origin("http", name, port).is_loopback:
        return _LOOPBACK  # plain http is open to it, so it must be this machine
    if _has(private, name, port):
        return _BOUND
    return _OWN_NETWORK if not strict and _has(in_code, name, port) else _PUBLIC


def _has(origins: Iterable[Origin], host: str, port: int) -> bool:
    return any(one.host == host and one.port == port for one in origins)


def first_forbidden(addresses: Iterable[str], allowed: frozenset[Kind]) -> Kind | None:
    """Return the kind of the first address that may not be reached, or None when all may."""
    for address in addresses:
        kind = kind_of(address)
        if kind not in allowed:
            return kind
    return None

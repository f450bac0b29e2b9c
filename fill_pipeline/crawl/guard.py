"""Which addresses may be connected to: the one wall between hostile links and the inside of a network.

The check that counts happens at connect time on the resolved address (see ``fetch``); ``check_url``
only refuses early what can be told from the URL alone.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from functools import lru_cache

from fill_pipeline.crawl.urls import origin

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# IANA IPv6 special-purpose registry: prefixes that carry an IPv4 address inside.
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052
_NAT64_LOCAL = ipaddress.IPv6Network("64:ff9b:1::/48")  # RFC 8215
_IPV4_COMPATIBLE = ipaddress.IPv6Network("::/96")  # RFC 4291, deprecated
_DOCUMENTATION = ipaddress.IPv6Network("3fff::/20")  # RFC 9637
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")  # RFC 4291: all that is routed today
# Metadata services of cloud platforms that sit on otherwise routable addresses.
_METADATA = frozenset({ipaddress.ip_address("168.63.129.16"), ipaddress.ip_address("100.100.100.200")})


class BlockedAddress(ValueError):
    """The address or host must not be connected to; the message says why."""


def parse_nets(nets: Iterable[str]) -> tuple[Network, ...]:
    """Networks in CIDR notation; raises ValueError naming the bad one."""
    return tuple(ipaddress.ip_network(net.strip(), strict=False) for net in nets if net.strip())


def is_allowed(ip: str, allow_nets: tuple[Network, ...] = ()) -> bool:
    """Whether an address (as the resolver gave it) is globally routable, or inside one of the named networks."""
    return _verdict(ip, allow_nets)


def check_url(url: str, allow_nets: tuple[Network, ...] = ()) -> None:
    """Raise BlockedAddress for a URL that can be refused without resolving it, ValueError for no URL at all."""
    if not url.lower().startswith(("http://", "https://")):
        raise BlockedAddress(f"scheme {url.partition(':')[0][:20]!r} is not http or https")
    host = origin(url).partition("://")[2].rpartition(":")[0]
    literal = host.strip("[]")
    if (host.startswith("[") or literal.replace(".", "").isdigit()) and not is_allowed(literal, allow_nets):
        raise BlockedAddress(f"address {literal} is not globally routable")


@lru_cache(maxsize=8192)
def _verdict(ip: str, allow_nets: tuple[Network, ...]) -> bool:
    try:
        address = ipaddress.ip_address(ip)
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address) and address.scope_id is not None:
        return False
    if address in _METADATA:
        return _inside(address, allow_nets)
    embedded = _embedded(address)
    if embedded is None:
        return _routable(address) or _inside(address, allow_nets)
    # What is sent there reaches the inner address: it must be fine, and the wrapping a usual one.
    return _verdict(str(embedded), allow_nets) and (_is_translated(address) or _routable(address))


def _embedded(address: Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address an IPv6 one carries, by whichever transition mechanism."""
    if isinstance(address, ipaddress.IPv4Address):
        return None
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    number = int(address)
    if address in _NAT64 or address in _NAT64_LOCAL or address in _IPV4_COMPATIBLE:
        return ipaddress.IPv4Address(number & 0xFFFFFFFF)
    if (number >> 32) & 0xFFFFFFFF in (0x00005EFE, 0x02005EFE):  # ISATAP, RFC 5214
        return ipaddress.IPv4Address(number & 0xFFFFFFFF)
    return None


def _is_translated(address: Address) -> bool:
    """Whether the address is an IPv4 one in IPv6 clothes: mapped by the kernel, or NAT64 on networks without IPv4."""
    return isinstance(address, ipaddress.IPv6Address) and (address.ipv4_mapped is not None or address in _NAT64)


def _routable(address: Address) -> bool:
    if not address.is_global or address.is_multicast or address.is_reserved or address.is_unspecified:
        return False
    if isinstance(address, ipaddress.IPv6Address):
        return address in _GLOBAL_UNICAST and address not in _DOCUMENTATION
    return True


def _inside(address: Address, nets: tuple[Network, ...]) -> bool:
    return any(address.version == net.version and address in net for net in nets)

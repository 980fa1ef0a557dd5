"""Which addresses are on the open internet, as IANA's registries of special ones tell. It knows no names.

The standard library's `is_global` has changed between versions of Python, and calls some of these global.
"""

from __future__ import annotations

import ipaddress

__all__ = ["is_public"]

_SPECIAL_4 = [
    ipaddress.IPv4Network("0.0.0.0/8"),  # this network
    ipaddress.IPv4Network("10.0.0.0/8"),  # private
    ipaddress.IPv4Network("100.64.0.0/10"),  # behind a carrier's NAT
    ipaddress.IPv4Network("127.0.0.0/8"),  # loopback
    ipaddress.IPv4Network("169.254.0.0/16"),  # link-local, where clouds keep their secrets
    ipaddress.IPv4Network("172.16.0.0/12"),  # private
    ipaddress.IPv4Network("192.0.0.0/24"),  # protocol assignments
    ipaddress.IPv4Network("192.0.2.0/24"),  # documentation
    ipaddress.IPv4Network("192.31.196.0/24"),  # AS112
    ipaddress.IPv4Network("192.52.193.0/24"),  # AMT
    ipaddress.IPv4Network("192.88.99.0/24"),  # 6to4 relays
    ipaddress.IPv4Network("192.168.0.0/16"),  # private
    ipaddress.IPv4Network("192.175.48.0/24"),  # AS112
    ipaddress.IPv4Network("198.18.0.0/15"),  # benchmarking
    ipaddress.IPv4Network("198.51.100.0/24"),  # documentation
    ipaddress.IPv4Network("203.0.113.0/24"),  # documentation
    ipaddress.IPv4Network("224.0.0.0/3"),  # multicast, reserved, broadcast
]
_GLOBAL_6 = ipaddress.IPv6Network("2000::/3")  # all unicast that is handed out
_SPECIAL_6 = [
    ipaddress.IPv6Network("2001::/23"),  # protocol assignments: Teredo, ORCHID, benchmarking
    ipaddress.IPv6Network("2001:db8::/32"),  # documentation
    ipaddress.IPv6Network("2002::/16"),  # 6to4
    ipaddress.IPv6Network("2620:4f:8000::/48"),  # AS112
    ipaddress.IPv6Network("3fff::/20"),  # documentation
]
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # how a network of IPv6 alone reaches IPv4


def is_public(address: str) -> bool:
    """Whether an address is one of the open internet; what is no address is not.

    >>> is_public("8.8.8.8"), is_public("127.0.0.1"), is_public("::ffff:127.0.0.1"), is_public("64:ff9b::a00:1")
    (True, False, False, False)
    """
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv4Address):
        return not any(found in network for network in _SPECIAL_4)
    if found.scope_id is not None:
        return False
    if found in _NAT64:
        return is_public(str(ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)))
    return found in _GLOBAL_6 and not any(found in network for network in _SPECIAL_6)

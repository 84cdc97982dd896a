# SPDX-License-Identifier: Apache-2.0
"""What may be shown of an IP address, and how sources are told apart.

Pure. An IPv6 address may carry a whole IPv4 one: 6to4 has it in its first 48 bits,
so that cutting ``2002:5301:0c4d::1`` to /48 would leave ``83.1.12.77`` to be read.
Every function here therefore takes the IPv4 address out first. What is left is a
form for people or a means of counting: nothing here makes an address anonymous.
"""

import re
from enum import StrEnum
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
)

# Google's and the source documents' cut: the last octet, and the last 80 bits.
V4_BITS = 24
V6_BITS = 48

# Prefixes of 96 bits before an IPv4 address: translated by NAT64 (RFC 6052), by a
# stateless translator (RFC 2765), and "compatible" (RFC 4291, no longer used).
# 64:ff9b:1::/48 (RFC 8215) is not unwrapped: its operator chooses where in it the
# IPv4 address stands, but never in the 48 bits that are left of it here.
_BEFORE_V4 = (
    IPv6Network("64:ff9b::/96"),
    IPv6Network("::ffff:0:0:0/96"),
    IPv6Network("::/96"),
)
_NOT_COMPATIBLE = 0xFFFF  # ``::``, ``::1`` and their like are addresses of their own
_LOW_32 = 0xFFFF_FFFF
_SCOPE = re.compile(r"[A-Za-z0-9_.~-]{1,32}")
_LONGEST = 64  # more than any address with a scope needs

NOT_AN_ADDRESS = "-"


class Style(StrEnum):
    """The two forms in which the source documents show an address."""

    NETWORK = "network"
    """``83.1.12.x``, ``2001:db8:5301:x:x:x:x:x``"""
    FIRST = "first"
    """``217.XXX.XXX.XXX``, ``2001:XXXX:XXXX:XXXX:XXXX:XXXX:XXXX:XXXX``"""


def unwrapped(text: str) -> IPv4Address | IPv6Address | None:
    """Return the one address in ``text``, as IPv4 where it carries an IPv4 one.

    Brackets and a scope go. ``None`` for what is no address, a list of them too.
    Whole, so only for a look-up or a comparison: it is not to be stored or shown.
    """
    bare = _bare(text)
    if bare is None:
        return None
    try:
        address = ip_address(bare)
    except ValueError:
        return None
    return _carried(address) if isinstance(address, IPv6Address) else address


def network_of(text: str) -> IPv4Network | IPv6Network | None:
    """Return the /24 or /48 that the address in ``text`` is of, or ``None``."""
    address = unwrapped(text)
    if address is None:
        return None
    if isinstance(address, IPv4Address):
        return IPv4Network((address, V4_BITS), strict=False)
    return IPv6Network((address, V6_BITS), strict=False)


def source_of(text: str) -> str:
    """Return what one source of requests is counted by while records are folded.

    The exact IPv4 address, or the /48, since one household has all of a /48 or /56
    and changes address daily. All that is no address is one source, so that junk
    never makes a small group look large. Not to be stored.
    """
    address = unwrapped(text)
    if isinstance(address, IPv6Address):
        return str(IPv6Network((address, V6_BITS), strict=False))
    return "" if address is None else str(address)


def shown(text: str, style: Style | str = Style.NETWORK) -> str:
    """Return the address in ``text`` in one of the forms that may be shown.

    ``-`` for what is no address: the text itself could be anything. Raises
    ``ValueError`` for an unknown style.
    """
    first = Style(style) is Style.FIRST
    network = network_of(text)
    if network is None:
        return NOT_AN_ADDRESS
    whole = network.network_address
    if isinstance(whole, IPv4Address):
        octets = str(whole).split(".")
        return ".".join([octets[0], *["XXX"] * 3] if first else [*octets[:3], "x"])
    groups = [f"{int(each, 16):x}" for each in whole.exploded.split(":")]
    return ":".join([groups[0], *["XXXX"] * 7] if first else [*groups[:3], *["x"] * 5])


def _bare(text: str) -> str | None:
    """Return ``text`` without blanks, brackets and scope, if the rest may be read."""
    bare = text.strip()
    if len(bare) > _LONGEST:
        return None
    if bare.startswith("[") and bare.endswith("]"):
        bare = bare[1:-1]
    bare, has_scope, scope = bare.partition("%")
    if has_scope and not (":" in bare and _SCOPE.fullmatch(scope)):
        return None
    return bare


def _carried(address: IPv6Address) -> IPv4Address | IPv6Address:
    """Return the IPv4 address that ``address`` carries, or ``address``."""
    inside = address.ipv4_mapped or address.sixtofour
    if inside is not None:
        return inside
    if address.teredo is not None:
        return address.teredo[1]  # of the client; [0] is the relay's
    low = int(address) & _LOW_32
    for prefix in _BEFORE_V4:
        if address in prefix and (int(address) > _LOW_32 or low > _NOT_COMPATIBLE):
            return IPv4Address(low)
    return address

# SPDX-License-Identifier: Apache-2.0
"""Looks for addresses in files, in every form that bytes of ours could have.

For the ranges rather than for each address: so it is quick, and finds what is left of
an address that was cut. Only the packed and hexadecimal forms of an IPv4 address are
too short for that, and are compared with the very addresses.
"""

import base64
import ipaddress
import re
from collections import Counter
from collections.abc import Collection, Iterable
from pathlib import Path

# Four bytes that are drawn at random are one of some hundred addresses once in ten
# million times, and keys and digests are many bytes: one such find may be chance.
BY_CHANCE = 1


def forms_of(prefix: str) -> dict[str, bytes]:
    """Return the forms of a text that an address begins with, by name."""
    text = prefix.encode()
    forms = {"text": text, "UTF-16": prefix.encode("utf-16-le")}
    forms |= {"hex of text": text.hex().encode()}
    forms |= {"HEX of text": text.hex().upper().encode()}
    for offset in range(3):
        forms[f"base64 of text at {offset}"] = _base64_inside(text, offset)
    return forms


def _base64_inside(data: bytes, offset: int) -> bytes:
    """Return what is sure of ``data`` in base64 where ``offset`` bytes go before it."""
    encoded = base64.b64encode(bytes(offset) + data).rstrip(b"=")
    whole = (offset + len(data)) * 8 // 6
    return encoded[-(-offset * 8 // 6) : whole]


V6_BYTES = bytes.fromhex("2a0eb1075a")
V6_FORMS = {
    "packed IPv6": V6_BYTES,
    "hex of packed IPv6": V6_BYTES.hex().encode(),
    "HEX of packed IPv6": V6_BYTES.hex().upper().encode(),
    **{f"base64 of packed IPv6 at {n}": _base64_inside(V6_BYTES, n) for n in range(3)},
}
V4_PACKED = re.compile(rb"\xc6[\x12\x13][\x80-\xff]{2}", re.DOTALL)
V4_HEX = re.compile(rb"(?i)c61[23][89a-f][0-9a-f][89a-f][0-9a-f]")
V4_BASE64 = re.compile(rb"xh[IM][A-Za-z0-9+/_-]{3}(?:==)")


class Search:
    """A search for the canaries of ``rows.V4_RANGE`` and ``rows.V6_RANGE``."""

    def __init__(self, canaries: Collection[str]) -> None:
        """Look for ``canaries``, and for whatever is of their ranges."""
        self._forms = V6_FORMS | {
            f"{name} {prefix}": form
            for prefix in ("198.18.", "198.19.", "2a0e:b107:", "2A0E:B107:")
            for name, form in forms_of(prefix).items()
        }
        addresses = [ipaddress.ip_address(each) for each in canaries]
        v4 = [each.packed for each in addresses if each.version == 4]
        self._packed = frozenset(v4)
        self._hexes = frozenset(each.hex().encode() for each in v4)
        self._base64 = frozenset(base64.b64encode(each) for each in v4)

    def of(self, data: bytes) -> Counter[str]:
        """Count what is found in ``data``, by form."""
        found: Counter[str] = Counter()
        for name, form in self._forms.items():
            found[name] += data.count(form)
        for match in V4_PACKED.finditer(data):
            found["packed IPv4"] += match[0] in self._packed
        for match in V4_HEX.finditer(data):
            found["hex of packed IPv4"] += match[0].lower() in self._hexes
        for match in V4_BASE64.finditer(data):
            found["base64 of packed IPv4"] += match[0] in self._base64
        return +found

    def among(self, folders: Iterable[Path]) -> dict[str, Counter[str]]:
        """Return what is found in each file under ``folders`` where anything is."""
        result = {}
        for folder in folders:
            for file in sorted(folder.rglob("*")):
                if file.is_file() and not file.is_symlink():
                    found = self.of(file.read_bytes())
                    if found:
                        result[str(file)] = found
        return result


def beyond_chance(found: dict[str, Counter[str]]) -> dict[str, Counter[str]]:
    """Leave out what four random bytes can be."""
    short = [count["packed IPv4"] for count in found.values()]
    if sum(short) <= BY_CHANCE:
        found = {
            name: Counter({k: v for k, v in count.items() if k != "packed IPv4"})
            for name, count in found.items()
        }
    return {name: count for name, count in found.items() if count}

# SPDX-License-Identifier: Apache-2.0
"""Both codes, written a second time from the text of protocol section 3 alone.

Nothing of the project is imported, and the ways differ on purpose: products in
GF(32) by shifting and reducing instead of tables, check symbols as the remainder of
a long division by the generator polynomial instead of evaluation at its roots,
HMAC and HKDF written out over SHA-256.
"""

import hashlib
from datetime import date, timedelta
from typing import NamedTuple

SYMBOLS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
BLOCK = 64  # of SHA-256, in bytes


def product(left: int, right: int) -> int:
    """Multiply without carry, then reduce by x⁵ + x² + 1."""
    wide = 0
    for place in range(5):
        if right >> place & 1:
            wide ^= left << place
    for place in range(8, 4, -1):
        if wide >> place & 1:
            wide ^= 0b100101 << (place - 5)
    return wide


# (x + a)(x + a²) with a = 2, highest power first.
GENERATOR = (1, 2 ^ 4, product(2, 4))


def remainder(polynomial: list[int]) -> list[int]:
    """Divide by the generator, as at school; return the two symbols left over."""
    left = list(polynomial)
    for place in range(len(left) - 2):
        factor = left[place]
        for offset, coefficient in enumerate(GENERATOR):
            left[place + offset] ^= product(factor, coefficient)
    return left[-2:]


def checked(data: str) -> str:
    """Append the two check symbols."""
    values = [SYMBOLS.index(each) for each in data]
    return data + "".join(SYMBOLS[each] for each in remainder([*values, 0, 0]))


def is_whole(code: str) -> bool:
    """Whether a code without hyphens is divisible by the generator."""
    return remainder([SYMBOLS.index(each) for each in code]) == [0, 0]


def hmac_sha256(key: bytes, message: bytes) -> bytes:
    """RFC 2104."""
    key = (hashlib.sha256(key).digest() if len(key) > BLOCK else key).ljust(
        BLOCK, b"\0"
    )
    inner = hashlib.sha256(bytes(each ^ 0x36 for each in key) + message).digest()
    return hashlib.sha256(bytes(each ^ 0x5C for each in key) + inner).digest()


def release_key(master: bytes, serial_number: str) -> bytes:
    """HKDF (RFC 5869): one block is all that 32 bytes take."""
    extracted = hmac_sha256(serial_number.encode(), master)
    return hmac_sha256(extracted, b"pbx release code v1\x01")


class Said(NamedTuple):
    """What a release code says."""

    version: int
    sequence: int
    product_number: int
    quantity: int
    expires_on: date | None


def release_code(said: Said, serial_number: str, key: bytes) -> str:
    """Write a release code, bit by bit."""
    days = (said.expires_on - date(2020, 1, 1)).days if said.expires_on else 0
    head = (
        f"{said.version:03b}{said.sequence:010b}{said.product_number:014b}"
        f"{said.quantity:010b}{days:014b}"
    )
    bits = head + "".join(f"{each:08b}" for each in _mac(head, serial_number, key))
    assert len(bits) == 115
    return checked(
        "".join(SYMBOLS[int(bits[at : at + 5], 2)] for at in range(0, 115, 5))
    )


def read(code: str, serial_number: str, key: bytes) -> Said | None:
    """Read a release code without hyphens; None where it is not genuine."""
    if not is_whole(code):
        return None
    bits = "".join(f"{SYMBOLS.index(each):05b}" for each in code)[:115]
    head, mac = bits[:51], bits[51:]
    if "".join(f"{each:08b}" for each in _mac(head, serial_number, key)) != mac:
        return None
    fields = [int(head[a:b], 2) for a, b in ((0, 3), (3, 13), (13, 27), (27, 37))]
    days = int(head[37:], 2)
    return Said(*fields, date(2020, 1, 1) + timedelta(days=days) if days else None)


def _mac(head: str, serial_number: str, key: bytes) -> bytes:
    message = b"release/1\0" + serial_number.encode() + b"\0"
    return hmac_sha256(key, message + int(head, 2).to_bytes(7, "big"))[:8]

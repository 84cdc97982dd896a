# SPDX-License-Identifier: Apache-2.0
"""A release code as the PBX reads it, with nobody to ask (protocol, section 3).

It says what was released and proves it: 64 bits of a MAC under the key that the
vendor shares with this one PBX since its initialisation.
"""

import hmac
from dataclasses import dataclass
from datetime import date, timedelta
from hashlib import sha256
from typing import Final

from fleet.pbx.codes import ALPHABET, RELEASE_SYMBOLS, NotAccepted, read_symbols

VERSION: Final = 1
EPOCH: Final = date(2020, 1, 1)
LABEL: Final = b"release/1"

SEQUENCE_BITS: Final = 10
PRODUCT_BITS: Final = 14
QUANTITY_BITS: Final = 10
DAYS_BITS: Final = 14
MAC_BITS: Final = 64
CHECK_BITS: Final = 10
HEAD_BYTES: Final = 7


class NotForThisPbx(NotAccepted):
    """The code was typed well, but it was not made for this PBX."""


class OfALaterVersion(NotAccepted):
    """Codes of this version are made for firmware of later years."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """What a genuine release code says; ``last_day`` None is for ever."""

    sequence: int
    product_number: int
    quantity: int
    last_day: date | None


def read_release_code(typed: str, *, serial_number: str, release_key: bytes) -> Release:
    """Return what a release code for this PBX says.

    Raises ``Mistyped``, ``OfALaterVersion`` or ``NotForThisPbx``.
    """
    number = 0
    for symbol in read_symbols(typed, symbols=RELEASE_SYMBOLS):
        number = number << 5 | ALPHABET.index(symbol)
    head, mac = divmod(number >> CHECK_BITS, 1 << MAC_BITS)
    rest, days = divmod(head, 1 << DAYS_BITS)
    rest, quantity = divmod(rest, 1 << QUANTITY_BITS)
    rest, product_number = divmod(rest, 1 << PRODUCT_BITS)
    version, sequence = divmod(rest, 1 << SEQUENCE_BITS)
    if version != VERSION:
        raise OfALaterVersion("this code needs newer firmware: please update")
    if not _is_genuine(mac, head, serial_number, release_key):
        raise NotForThisPbx("this code was made for another PBX, or for none")
    return Release(
        sequence=sequence,
        product_number=product_number,
        quantity=quantity,
        last_day=EPOCH + timedelta(days=days) if days else None,
    )


def _is_genuine(mac: int, head: int, serial_number: str, release_key: bytes) -> bool:
    message = b"\0".join(
        (LABEL, serial_number.encode("ascii"), head.to_bytes(HEAD_BYTES, "big"))
    )
    expected = hmac.digest(release_key, message, sha256)[: MAC_BITS // 8]
    return hmac.compare_digest(expected, mac.to_bytes(MAC_BITS // 8, "big"))

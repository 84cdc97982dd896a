# SPDX-License-Identifier: Apache-2.0
"""Release codes: what a person types into a PBX that may be offline.

Protocol, section 3: version (3 bits), sequence (10), product number (14), quantity
(10), days from 2020-01-01 to the last valid day (14, 0 is for ever) and a MAC of 64
bits under the PBX's own key, together 23 symbols of five bits, then the two
check symbols of a voucher code.
"""

import hmac
from dataclasses import dataclass
from datetime import date, timedelta

from voucher import codes
from voucher.codes import CHECK_SYMBOLS, with_checks

VERSION = 1
MOST_SEQUENCE = 2**10 - 1
MOST_PRODUCT_NUMBER = 2**14 - 1
MOST_QUANTITY = 2**10 - 1

EPOCH = date(2020, 1, 1)
LAST_DAY = EPOCH + timedelta(days=2**14 - 1)
"""The latest day that fits, 2064-11-08."""

_LABEL = b"release/1"
_HEAD_BYTES = 7
_MAC_BYTES = 8
_MEANINGFUL_SYMBOLS = 23

SYMBOLS = _MEANINGFUL_SYMBOLS + CHECK_SYMBOLS


@dataclass(frozen=True)
class Release:
    """What one release code says; ``last_day`` None is for ever."""

    sequence: int
    product_number: int
    quantity: int
    last_day: date | None

    def __post_init__(self) -> None:
        """Raise ``ValueError`` for what does not fit into its bits."""
        days = _days(self.last_day)
        if not (
            1 <= self.sequence <= MOST_SEQUENCE
            and 0 <= self.product_number <= MOST_PRODUCT_NUMBER
            and 0 <= self.quantity <= MOST_QUANTITY
            and 0 <= days < 2**14
            and (days > 0) == (self.last_day is not None)
        ):
            raise ValueError("a part of the release does not fit into its bits")


def encode(release: Release, *, serial_number: str, release_key: bytes) -> str:
    """Return the release code of one PBX, 25 symbols without hyphens."""
    head = VERSION
    for value, bits in (
        (release.sequence, 10),
        (release.product_number, 14),
        (release.quantity, 10),
        (_days(release.last_day), 14),
    ):
        head = head << bits | value
    message = b"\0".join(
        (_LABEL, serial_number.encode("ascii"), head.to_bytes(_HEAD_BYTES, "big"))
    )
    mac = hmac.digest(release_key, message, "sha256")[:_MAC_BYTES]
    number = head << 8 * _MAC_BYTES | int.from_bytes(mac, "big")
    return with_checks(
        [number >> 5 * place & 31 for place in reversed(range(_MEANINGFUL_SYMBOLS))]
    )


def canonical(typed: str) -> str:
    """Return the 25 symbols of a release code as typed; raises ``MistypedCode``."""
    return codes.canonical(typed, symbols=SYMBOLS)


def _days(last_day: date | None) -> int:
    return 0 if last_day is None else (last_day - EPOCH).days

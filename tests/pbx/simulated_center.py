# SPDX-License-Identifier: Apache-2.0
"""A simulated Voucher Center: what it sold, to which PBX, and how it says so.

It is as simple as can be. Its codes come from code that was written from the text of
the protocol, and nothing of our server is in it.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

import codes_by_the_text as by_the_text

RELEASE_KEY = bytes(range(100, 132))


@dataclass(frozen=True)
class Offer:
    """What somebody buys; ``last_day`` None is for ever."""

    quantity: int = 10
    last_day: date | None = None
    function: str = "users"
    product_number: int = 17
    stacking: str = "add"
    source: str = "voucher"


USERS = Offer()
CATALOGUE = {17: ("users", "add"), 18: ("users", "renew"), 20: ("voicemail", "renew")}


def renewing(quantity: int, last_day: date | None) -> Offer:
    return Offer(quantity, last_day, product_number=18, stacking="renew")


def voicemail(last_day: date | None) -> Offer:
    return Offer(1, last_day, "voicemail", 20, "renew")


@dataclass
class SimulatedCenter:
    serial_number: str
    vouchers: dict[str, Offer] = field(default_factory=dict)
    redeemed: dict[str, str] = field(default_factory=dict)
    released: list[Offer] = field(default_factory=list)
    trials: dict[int, Offer] = field(default_factory=dict)
    reversed: set[int] = field(default_factory=set)
    tells_last_sequence: bool = True
    next_sync_in: int = 86400

    def sell(self, offer: Offer) -> str:
        """Make a voucher; return its code as it is printed."""
        data = f"{len(self.vouchers):018d}"
        code = by_the_text.checked(data)
        self.vouchers[code] = offer
        return "-".join(code[at : at + 5] for at in range(0, 20, 5))

    def redeem(self, code: str) -> str | None:
        """Return the release code, always the same; None for no voucher of ours."""
        if code not in self.vouchers:
            return None
        if code not in self.redeemed:
            self.redeemed[code] = self.release(self.vouchers[code])
        return self.redeemed[code]

    def release(self, offer: Offer) -> str:
        """Release something, as in a browser; return the release code as printed."""
        self.released.append(offer)
        said = by_the_text.Said(
            1,
            len(self.released),
            offer.product_number,
            offer.quantity,
            offer.last_day,
        )
        code = by_the_text.release_code(said, self.serial_number, RELEASE_KEY)
        return "-".join(code[at : at + 5] for at in range(0, 25, 5))

    def take_back(self, sequence: int) -> None:
        """Reverse a release, as support does."""
        self.reversed.add(sequence)

    def claims(self, now: datetime) -> dict[str, Any]:
        """Return what entitlements say beside the common claims."""
        in_force = [
            offer
            for sequence, offer in enumerate(self.released, 1)
            if sequence not in self.reversed
        ]
        said: dict[str, Any] = {
            "functions": list(lines_of(in_force, now)),
            "expires": (now + timedelta(days=7)).strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
        if self.tells_last_sequence:
            said["last_sequence"] = len(self.released)
        return said


def lines_of(offers: Iterable[Offer], now: datetime) -> Iterable[dict[str, Any]]:
    """Walk down the days on which something ends, and say what each ends with."""
    today = (now - timedelta(hours=12)).date()
    living = [o for o in offers if o.last_day is None or o.last_day >= today]
    for function in sorted({each.function for each in living}):
        ours = [each for each in living if each.function == function]
        days = sorted({each.last_day or date.max for each in ours}, reverse=True)
        there = 0
        for day in days:
            lasting = [o for o in ours if (o.last_day or date.max) >= day]
            sums = sum(o.quantity for o in lasting if o.stacking == "add")
            sums += max((o.quantity for o in lasting if o.stacking != "add"), default=0)
            if sums > there:
                yield {
                    "function": function,
                    "quantity": sums - there,
                    "expires_on": None if day == date.max else day.isoformat(),
                    "source": ours[0].source,
                }
            there = sums

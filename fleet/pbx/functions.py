# SPDX-License-Identifier: Apache-2.0
"""Which functions this PBX has: what the vendor signed, and what was typed in since.

Two things give functions, and both prove themselves:

* The **entitlements**, signed by the vendor over this PBX's own question. They are the
  truth: all that was ever released is in them, or was taken back.
* A **release code** that a person types in, perhaps with no network for months. It is
  added to what is known until entitlements arrive that account for it.

How they go together, for whoever writes firmware:

1. Signed entitlements replace the ones before. Their ``last_sequence`` says up to which
   release code they account for everything: what was typed in up to that sequence is
   forgotten, whatever it was; without that claim, all of it is. Only a code newer than
   the document goes on counting beside it.
2. A release code counts once. The sequences that were entered are remembered for ever,
   and one up to ``last_sequence`` is refused as already accounted for: otherwise a
   voucher that was redeemed in a browser, synced, and then typed in would count twice.
3. Quantities of the signed lines sum. So do release codes of a product that *adds*. One
   that *renews* is no sum: on each day the larger of it and what is there holds. (Where
   both kinds are sold of one function, that may be too little until the next sync.)
   What a product number means is in the catalogue that the factory wrote.
4. Each line ends with its own last day, at UTC-12, where that day ends last on Earth.
   Nothing else ends it: not the age of the document, not silence, not a restart. While
   the PBX is locked it has no functions at all, and afterwards what it had.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta, timezone
from enum import StrEnum
from typing import Final, Self

from fleet.pbx.codes import NotAccepted
from fleet.pbx.release_codes import Release

LAST_ZONE: Final = timezone(timedelta(hours=-12))
TYPED_IN: Final = "release code"
"""The source of what no signed entitlements account for yet."""


class UnknownProduct(NotAccepted):
    """The code is genuine, of a product that this firmware has never heard of."""


class AlreadyEntered(NotAccepted):
    """The code, or the voucher that it came from, was entered here before."""


class AlreadyCounted(NotAccepted):
    """The vendor's signed entitlements account for this code."""


class Stacking(StrEnum):
    """How several releases of one product go together."""

    ADD = "add"
    RENEW = "renew"


@dataclass(frozen=True, slots=True)
class Product:
    """What a product number means, as the factory wrote it into the catalogue."""

    function: str
    stacking: Stacking


Catalogue = Mapping[int, Product]


@dataclass(frozen=True, slots=True)
class Function:
    """So much of a function, until the end of a day; None is for ever."""

    function: str
    quantity: int
    expires_on: date | None
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Entitlements:
    """What the vendor signed.

    ``ask_again_by`` is when to ask again at the latest; nothing ends then.
    ``last_sequence`` is None from a server that does not say it.
    """

    issued_at: datetime
    functions: tuple[Function, ...]
    ask_again_by: datetime
    last_sequence: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Entered:
    """A release code that was typed in, and what it means here."""

    sequence: int
    function: str
    stacking: Stacking
    quantity: int
    last_day: date | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """All that gives functions, and the sequences that were entered at any time."""

    entitlements: Entitlements | None = None
    entered: tuple[Entered, ...] = ()
    used: tuple[int, ...] = ()

    def signed(self, entitlements: Entitlements) -> Self:
        """Take signed entitlements as the truth."""
        last = entitlements.last_sequence
        newer = tuple(
            each for each in self.entered if last is not None and each.sequence > last
        )
        return replace(self, entitlements=entitlements, entered=newer)

    def with_code(self, release: Release, product: Product) -> Self:
        """Add a release code that was typed in.

        Raises ``AlreadyEntered`` or ``AlreadyCounted``.
        """
        self.check_is_new(release)
        entered = Entered(
            sequence=release.sequence,
            function=product.function,
            stacking=product.stacking,
            quantity=release.quantity,
            last_day=release.last_day,
        )
        held = self.with_used(release.sequence)
        return replace(held, entered=(*self.entered, entered))

    def check_is_new(self, release: Release) -> None:
        """Raise ``AlreadyEntered`` or ``AlreadyCounted`` for a code of the past."""
        if release.sequence in self.used:
            raise AlreadyEntered("this code was already entered")
        counted = self.entitlements.last_sequence if self.entitlements else None
        if counted is not None and release.sequence <= counted:
            raise AlreadyCounted("the signed functions already account for this code")

    def with_used(self, sequence: int) -> Self:
        """Remember that a release code needs not be entered any more."""
        return replace(self, used=tuple(sorted({*self.used, sequence})))

    def at(self, now: datetime) -> tuple[Function, ...]:
        """Return what there is at ``now``, a line for each function and last day."""
        signed = self.entitlements.functions if self.entitlements else ()
        names = {f.function for f in signed} | {e.function for e in self.entered}
        return tuple(
            line
            for name in sorted(names)
            for line in _lines(
                name,
                [each for each in signed if each.function == name],
                [each for each in self.entered if each.function == name],
            )
            if line.expires_on is None or now < ends_at(line.expires_on)
        )


def ends_at(day: date) -> datetime:
    """Return when ``day`` ends everywhere on Earth."""
    return datetime.combine(
        day + timedelta(days=1), datetime.min.time(), tzinfo=LAST_ZONE
    )


def quantities(functions: Iterable[Function]) -> Mapping[str, int]:
    """Return how much of each function the lines sum to."""
    found: dict[str, int] = {}
    for each in functions:
        found[each.function] = found.get(each.function, 0) + each.quantity
    return found


def described(functions: Iterable[Function]) -> str:
    """Return the lines for a person to read."""
    lines = [
        f"{each.quantity} {each.function}"
        + (f" until {each.expires_on}" if each.expires_on else "")
        for each in functions
    ]
    return ", ".join(lines) or "none"


def _lines(name: str, signed: list[Function], entered: list[Entered]) -> list[Function]:
    """Return the steps by which a function falls, the first to end first.

    On any day there is the larger of what was signed and the largest that renews,
    and all that adds beside it.
    """
    lines: list[Function] = []
    there = 0
    last_days = {each.expires_on for each in signed} | {e.last_day for e in entered}
    for day in sorted(last_days, key=_late, reverse=True):
        sums = sum(each.quantity for each in signed if _lasts(each.expires_on, day))
        lasting = [each for each in entered if _lasts(each.last_day, day)]
        renewed = [each.quantity for each in lasting if each.stacking is Stacking.RENEW]
        added = [each.quantity for each in lasting if each.stacking is Stacking.ADD]
        has = max(sums, *renewed, 0) + sum(added)
        if has > there:
            source = _source(day, signed)
            lines.append(Function(name, has - there, day, source))
            there = has
    return lines[::-1]


def _late(day: date | None) -> date:
    return day or date.max


def _lasts(last_day: date | None, day: date | None) -> bool:
    return _late(last_day) >= _late(day)


def _source(day: date | None, signed: list[Function]) -> str:
    """Return where a line comes from; the vendor's word stands before our own."""
    return next((each.source for each in signed if each.expires_on == day), TYPED_IN)

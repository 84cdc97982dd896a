# SPDX-License-Identifier: Apache-2.0
"""Says in one sentence why a voucher is in the state that it is in.

For support, to be read out while a caller waits. Pure: what is known comes in.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from voucher.service.desk.histories import Happened
from voucher.service.ledger import Kind
from voucher.states import Life, State, state_of

_WAYS = {"pbx": "by the PBX itself", "browser": "in the browser"}


@dataclass(frozen=True, repr=False)
class Known:
    """What there is to say about one voucher.

    ``serial_number`` is the PBX's that has it now, or as much of it as the reader
    may see; ``history`` is newest first, and may be left out.
    """

    life: Life
    dealer: str
    order_reference: str
    serial_number: str | None
    is_masked: bool
    replaced_by: int | None
    history: Sequence[Happened] = ()

    def last(self, *kinds: Kind) -> Happened | None:
        """Return the newest entry of one of ``kinds``, if there is one."""
        return next((each for each in self.history if each.kind in kinds), None)


def sentence(known: Known, now: datetime) -> str:
    """Return why the voucher is in its state at ``now``."""
    life = known.life
    return {
        State.REVOKED: _revoked,
        State.REDEEMED: _redeemed,
        State.EXPIRED: _expired,
        State.ACTIVATED: _activated,
        State.ALLOCATED: _unsold,
        State.EXPORTED: _unsold,
        State.CREATED: _unsold,
    }[state_of(life, now)](known)


def _revoked(known: Known) -> str:
    entry = known.last(Kind.REVOKED, Kind.REPLACED)
    said = f"It was revoked on {_at(known.life.revoked_at)}{_by_whom(entry)}."
    if known.replaced_by is None:
        return said
    return f"{said} Voucher {known.replaced_by} is in its place."


def _redeemed(known: Known) -> str:
    entry = known.last(Kind.REDEEMED)
    way = f", {_WAYS[entry.actor]}" if entry and entry.actor in _WAYS else ""
    said = f"It was redeemed on {_at(known.life.redeemed_at)}"
    moved = known.last(Kind.MOVED_IN)
    if entry is None or moved is None or moved.id < entry.id:
        return f"{said} for {_pbx(known)}{way}."
    return f"{said}{way}, and moved on {_at(moved.happened_at)} to {_pbx(known)}."


def _expired(known: Known) -> str:
    return f"It was not redeemed before {_at(known.life.valid_until)}, and has expired."


def _activated(known: Known) -> str:
    order = f" (order {known.order_reference})" if known.order_reference else ""
    said = (
        f"It was activated at its sale on {_at(known.life.activated_at)}{order} and "
        f"can be redeemed{_until(known)}."
    )
    undone = known.last(Kind.REVERSED)
    if undone is None:
        return said
    return (
        f"Its redemption was reversed on {_at(undone.happened_at)}{_by_whom(undone)}. "
        + said
    )


def _unsold(known: Known) -> str:
    life = known.life
    where = f"is with the dealer {known.dealer}" if known.dealer else "is in stock"
    if life.exported_at is None:
        return f"It {where} without a code: it was not exported yet, so nobody has it."
    return (
        f"It {where} and was not activated at a sale yet, so it cannot be redeemed; "
        f"its code was exported on {_at(life.exported_at)}."
    )


def _pbx(known: Known) -> str:
    if known.is_masked:
        return f"a PBX whose serial number ends in {known.serial_number}"
    return f"PBX {known.serial_number}"


def _until(known: Known) -> str:
    end = known.life.valid_until
    return f" until {_at(end)}" if end is not None else ""


def _by_whom(entry: Happened | None) -> str:
    if entry is None or not entry.reason:
        return ""
    return f" by {entry.actor}: {entry.reason.rstrip('.')}"


def _at(instant: datetime | None) -> str:
    return f"{instant:%Y-%m-%d %H:%M} UTC" if instant is not None else "an unknown day"

# SPDX-License-Identifier: Apache-2.0
"""Who may have what: the verdicts over a voucher, and over a product for a PBX.

Pure: no Flask, no database, no clock. What is said first stays true longest. That
another PBX has a voucher matters more than that it would have expired by now; a
voucher that is not for this PBX is for another, and one whose function is
there for ever already can be given away.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from voucher.errors import (
    PrerequisiteMissing,
    ReleaseCodesExhausted,
    TrialAlreadyUsed,
    VoucherAlreadyRedeemed,
    VoucherExpired,
    VoucherNotActivated,
    VoucherNotForThisDevice,
    VoucherNotValid,
    WithoutEffect,
)
from voucher.functions import Stacking, Term, ends_at, lacking, last_day_of
from voucher.release_code import MOST_SEQUENCE
from voucher.states import Life, State, state_of


@dataclass(frozen=True)
class Offer:
    """What one version of a product gives, to whom, and for how long."""

    product_number: int
    function: str
    unit: str
    quantity: int
    duration_days: int | None
    stacking: Stacking
    trial: bool
    device_types: Sequence[str] = ()
    prerequisites: Sequence[str] = ()


@dataclass(frozen=True)
class Receiver:
    """A PBX, as far as it decides what can be released for it.

    ``terms`` are in force by the ledger; ``trials`` are the product numbers of
    all that it ever tried.
    """

    terms: Sequence[Term]
    trials: Collection[int]
    last_sequence: int


def is_repeat(
    life: Life, *, redeemed_by: int | None, device_id: int | None, now: datetime
) -> bool:
    """Judge a voucher itself; return whether this very PBX has it already.

    ``device_id`` is None for a PBX that nobody knows.

    Raises ``VoucherNotValid``, ``VoucherAlreadyRedeemed``, ``VoucherExpired`` or
    ``VoucherNotActivated``.
    """
    state = state_of(life, now)
    if state is State.REVOKED:
        raise VoucherNotValid
    if state is State.REDEEMED:
        if redeemed_by is None or redeemed_by != device_id:
            raise VoucherAlreadyRedeemed
        return True
    if state is State.EXPIRED:
        raise VoucherExpired
    if state is not State.ACTIVATED:
        raise VoucherNotActivated
    return False


def check_fits(
    device_type: str,
    held: Collection[Term],
    *,
    device_types: Collection[str],
    prerequisites: Collection[str],
    now: datetime,
) -> None:
    """Refuse a product that is not for this PBX, or not yet.

    ``held`` is in force on it by the ledger; a product that names no device types
    is for all. Raises ``VoucherNotForThisDevice`` or ``PrerequisiteMissing``.
    """
    if device_types and device_type not in device_types:
        raise VoucherNotForThisDevice
    missing = lacking(prerequisites, held, now)
    if missing:
        raise PrerequisiteMissing(
            f"The PBX lacks what this product needs: {', '.join(missing)}."
        )


def last_day_for(offer: Offer, receiver: Receiver, now: datetime) -> date | None:
    """Return the last day of a new release of a product; None is for ever.

    Raises ``TrialAlreadyUsed``, ``WithoutEffect`` or ``ReleaseCodesExhausted``.
    """
    if offer.trial and offer.product_number in receiver.trials:
        raise TrialAlreadyUsed
    last_day = last_day_of(
        offer.function,
        offer.quantity,
        duration_days=offer.duration_days,
        stacking=offer.stacking,
        held=receiver.terms,
        now=now,
    )
    if receiver.last_sequence >= MOST_SEQUENCE:
        raise ReleaseCodesExhausted
    return last_day


def check_lasts(last_day: date | None, now: datetime) -> None:
    """Refuse to give a release again whose term is over.

    The same voucher and PBX have one code for ever, and so one term: where the
    first redemption was reversed, a second one cannot begin a new one.

    Raises ``WithoutEffect``.
    """
    if last_day is not None and now >= ends_at(last_day):
        raise WithoutEffect("The time of what this voucher gave this PBX is over.")

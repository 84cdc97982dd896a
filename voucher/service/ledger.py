# SPDX-License-Identifier: Apache-2.0
"""The ledger: everything that ever happened to vouchers and releases, in order.

Entries are only ever added; the database refuses to change or delete them. What a
PBX has is the fold over them: of each release, the last entry that bears on it
says whether it is in force.
"""

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from sqlalchemy import select
from sqlalchemy.orm import Session

from voucher.functions import Source, Stacking, Term
from voucher.models import LedgerEntry, Product, ReleaseCode


class Kind(StrEnum):
    """What an entry says has happened."""

    # To a range of vouchers of one batch.
    CREATED = "created"
    EXPORTED = "exported"
    ALLOCATED = "allocated"
    TAKEN_BACK = "taken-back"
    ACTIVATED = "activated"
    REVOKED = "revoked"
    REPLACED = "replaced"
    # To a release on a PBX.
    REDEEMED = "redeemed"
    TRIAL_STARTED = "trial-started"
    GRANTED = "granted"
    MOVED_OUT = "moved-out"
    MOVED_IN = "moved-in"
    REVERSAL_REQUESTED = "reversal-requested"
    REVERSED = "reversed"


@dataclass
class Holding:
    """What a PBX has: the terms in force, and its newest release, in force or not."""

    terms: list[Term] = field(default_factory=list)
    last_sequence: int = 0


BEGINS = (Kind.REDEEMED, Kind.TRIAL_STARTED, Kind.GRANTED, Kind.MOVED_IN)
"""After these a release is in force."""

ENDS = (Kind.MOVED_OUT, Kind.REVERSED)
"""After these it is not."""

# What the ledger says last of a release: a column for a query of release codes.
LAST_SAID = (
    select(LedgerEntry.kind)
    .where(
        LedgerEntry.release_id == ReleaseCode.id,
        LedgerEntry.kind.in_([*BEGINS, *ENDS]),
    )
    .order_by(LedgerEntry.id.desc())
    .limit(1)
    .correlate(ReleaseCode)
    .scalar_subquery()
)


def write(  # noqa: PLR0913 -- the columns of an entry
    session: Session,
    kind: Kind,
    *,
    actor: str,
    now: datetime,
    reason: str = "",
    batch_id: int | None = None,
    first_number: int | None = None,
    last_number: int | None = None,
    voucher_id: int | None = None,
    release_id: int | None = None,
    device_id: int | None = None,
) -> None:
    """Add an entry, in the caller's transaction, and before what follows from it.

    A voucher changes hands only as the ledger says already: the database looks.
    """
    session.add(
        LedgerEntry(
            happened_at=now,
            kind=kind.value,
            actor=actor,
            reason=reason,
            batch_id=batch_id,
            first_number=first_number,
            last_number=last_number,
            voucher_id=voucher_id,
            release_id=release_id,
            device_id=device_id,
        )
    )
    session.flush()


def releases_in_force(session: Session, device_id: int) -> list[ReleaseCode]:
    """Return the releases that are in force on a PBX, in order of their sequence.

    In force by the ledger: the term of some may be over.
    """
    return list(
        session.scalars(
            select(ReleaseCode)
            .where(ReleaseCode.device_id == device_id, LAST_SAID.in_(BEGINS))
            .order_by(ReleaseCode.sequence)
        )
    )


def terms_of(session: Session, device_ids: Collection[int]) -> dict[int, list[Term]]:
    """Return what is in force on each of some PBXs, by its id."""
    return {
        device_id: holding.terms
        for device_id, holding in holdings_of(session, device_ids).items()
    }


def holdings_of(session: Session, device_ids: Collection[int]) -> dict[int, Holding]:
    """Return what each of some PBXs has, by its id.

    By one statement, so that the terms and the last sequence number belong
    together whoever redeems meanwhile.
    """
    rows = session.execute(
        select(
            ReleaseCode.device_id,
            ReleaseCode.sequence,
            LAST_SAID.label("last_said"),
            Product.function,
            ReleaseCode.quantity,
            ReleaseCode.last_day,
            Product.stacking,
            ReleaseCode.source,
        )
        .join(Product, Product.id == ReleaseCode.product_id)
        .where(ReleaseCode.device_id.in_(device_ids))
        .order_by(ReleaseCode.device_id, ReleaseCode.sequence)
    )
    holdings = {each: Holding() for each in device_ids}
    for row in rows:
        holding = holdings[row.device_id]
        holding.last_sequence = row.sequence
        if row.last_said in BEGINS:
            stacking, source = Stacking(row.stacking), Source(row.source)
            holding.terms.append(
                Term(row.function, row.quantity, row.last_day, stacking, source)
            )
    return holdings

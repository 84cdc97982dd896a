# SPDX-License-Identifier: Apache-2.0
"""A new card for a damaged one: another code, and the old one is void.

The new voucher has the next number of the same batch, and all that the old one
had come to: whose it is, and whether it was sold. Its code is handed over once,
and like every code kept nowhere.
"""

from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from fleet.database import transaction
from fleet.staff import audit
from fleet.staff.roles import StaffMember
from voucher import codes
from voucher.errors import UnknownVoucher, VoucherStateConflict
from voucher.models import Voucher
from voucher.service import ledger
from voucher.service.desk.lookups import life_of
from voucher.service.digests import digest_of
from voucher.service.ledger import Kind
from voucher.service.trade import batches
from voucher.states import State, state_of

REPLACEABLE = (State.EXPORTED, State.ALLOCATED, State.ACTIVATED)


@dataclass(frozen=True)
class Replacement:
    """The voucher in the other's place, and its code, at the one moment it is shown."""

    voucher_id: int
    code: str = field(repr=False)


def replace(
    voucher_id: int, *, reason: str, by: StaffMember, now: datetime
) -> Replacement:
    """Make a voucher in the place of another, which is revoked.

    Raises ``UnknownVoucher``, and ``VoucherStateConflict`` for one that was
    redeemed or revoked, has expired, or has no code that could be on a card.
    """
    with transaction() as session:
        old = _locked(session, voucher_id, now)
        code = codes.draw()
        key_version, digest = digest_of(code)
        new = Voucher(
            batch_id=old.batch_id,
            number=_next_number(session, old.batch_id),
            digest=digest,
            key_version=key_version,
            last_four=code[-4:],
            dealer=old.dealer,
            order_reference=old.order_reference,
            exported_at=now,
            allocated_at=old.allocated_at,
            activated_at=old.activated_at,
        )
        session.add(new)
        session.flush()
        old.revoked_at = now
        old.replaced_by_id = new.id
        session.flush()
        _write_down(session, old, new, reason=reason, by=by, now=now)
        return Replacement(new.id, codes.shown(code))


def _locked(session: Session, voucher_id: int, now: datetime) -> Voucher:
    """Lock the batch, then the voucher, in the order of all who sell."""
    batch_id = session.scalar(select(Voucher.batch_id).where(Voucher.id == voucher_id))
    if batch_id is None:
        raise UnknownVoucher
    batch, _ = batches.locked(session, batch_id)
    voucher = session.scalars(
        select(Voucher)
        .where(Voucher.id == voucher_id)
        .with_for_update(key_share=True)
        .execution_options(populate_existing=True)
    ).one()
    state = state_of(life_of(voucher, batch), now)
    if state not in REPLACEABLE or voucher.digest is None:
        raise VoucherStateConflict(
            f"This voucher is {state.value}; a card is replaced after its export, and "
            "before it is redeemed, revoked or expired."
        )
    return voucher


def _next_number(session: Session, batch_id: int) -> int:
    last = select(func.max(Voucher.number)).where(Voucher.batch_id == batch_id)
    return (session.scalar(last) or 0) + 1


def _write_down(
    session: Session,
    old: Voucher,
    new: Voucher,
    *,
    reason: str,
    by: StaffMember,
    now: datetime,
) -> None:
    """Write the end of the one and the whole life so far of the other."""
    begun = [Kind.CREATED, Kind.EXPORTED]
    begun += [Kind.ALLOCATED] if new.allocated_at is not None else []
    begun += [Kind.ACTIVATED] if new.activated_at is not None else []
    for kind, voucher in ((Kind.REPLACED, old), *((each, new) for each in begun)):
        ledger.write(
            session,
            kind,
            actor=by.owner,
            reason=reason,
            batch_id=voucher.batch_id,
            first_number=voucher.number,
            last_number=voucher.number,
            now=now,
        )
    audit.record(
        session,
        actor=by,
        action="voucher.replace",
        subject=f"voucher:{old.id}",
        reason=reason,
        before={"last_four": old.last_four, "number": old.number},
        after={
            "voucher_id": new.id,
            "last_four": new.last_four,
            "number": new.number,
        },
        now=now,
    )

# SPDX-License-Identifier: Apache-2.0
"""What the Voucher Center forgets of a PBX that is erased, and what it keeps.

While the PBX is supported all that was sold for it stays: the database itself refuses
to let it go (migration 0003). Only why a redemption failed is deleted. Afterwards
release codes and ledger go. The vouchers themselves stay as cards that cannot be used
again and name nobody: batches are reconciled with them, and another PBX may have had
one before.
"""

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from fleet.devices.models import Device
from voucher.models import LedgerEntry, RedemptionRefusal, ReleaseCode, Voucher
from voucher.service import ledger
from voucher.service.ledger import Kind

ACTOR = "erasure"


def forget(
    session: Session,
    device: Device,
    keep_contract: bool,  # noqa: FBT001 -- a hook of fleet.devices.forgetting
    now: datetime,
) -> Mapping[str, int]:
    """Delete what the law does not keep; after the end of support, all of it."""
    refusals = session.execute(
        delete(RedemptionRefusal)
        .where(RedemptionRefusal.device_id == device.id)
        .returning(RedemptionRefusal.id)
    )
    gone = {"redemption_refusal": len(refusals.all())}
    if keep_contract:
        return gone
    gone["voucher.redeemed_by_id"] = _let_vouchers_go(session, device, now)
    entries = session.execute(
        delete(LedgerEntry)
        .where(LedgerEntry.device_id == device.id)
        .returning(LedgerEntry.id)
    )
    gone["ledger_entry"] = len(entries.all())
    releases = session.execute(
        delete(ReleaseCode)
        .where(ReleaseCode.device_id == device.id)
        .returning(ReleaseCode.id)
    )
    gone["release_code"] = len(releases.all())
    return gone


def _let_vouchers_go(session: Session, device: Device, now: datetime) -> int:
    """Part the vouchers from the PBX, and revoke them: they were used once."""
    vouchers = session.scalars(
        select(Voucher)
        .where(Voucher.redeemed_by_id == device.id)
        .order_by(Voucher.id)
        .with_for_update(key_share=True)
        .execution_options(populate_existing=True)
    ).all()
    for each in vouchers:
        ledger.write(session, Kind.REVERSED, actor=ACTOR, voucher_id=each.id, now=now)
        each.redeemed_by_id = each.redeemed_at = None
        session.flush()
        ledger.write(
            session,
            Kind.REVOKED,
            actor=ACTOR,
            batch_id=each.batch_id,
            first_number=each.number,
            last_number=each.number,
            now=now,
        )
        each.revoked_at = now
        session.flush()
    return len(vouchers)

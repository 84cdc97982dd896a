# SPDX-License-Identifier: Apache-2.0
"""A PBX takes another's place: all that was released for the one is the other's.

In the transaction of the licence check's replacement (``fleet.devices.succession``):
both happen or neither, so no PBX is replaced and its functions lost.
"""

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from fleet.devices.errors import CannotReplace
from fleet.devices.succession import Succession
from voucher.errors import ReleaseCodesExhausted, VoucherStateConflict
from voucher.functions import ends_at
from voucher.models import ReleaseCode
from voucher.release_code import MOST_SEQUENCE
from voucher.service import ledger
from voucher.service.desk.moves import hand_over, lock_vouchers


def take_over(session: Session, succession: Succession) -> None:
    """Let the heir have every release of the old PBX that has not ended.

    Whatever the type of the heir: what was paid for is not lost by a repair.
    What has ended stays where it was.

    Raises ``CannotReplace`` where the heir has no release codes left, or has had
    one of the vouchers before for another time.
    """
    inherited = [
        each
        for each in ledger.releases_in_force(session, succession.old.id)
        if each.last_day is None or succession.now < ends_at(each.last_day)
    ]
    lock_vouchers(session, inherited)
    left = MOST_SEQUENCE - _last_sequence(session, succession.heir.id)
    try:
        for each in inherited:
            hand_over(
                session,
                each,
                succession.heir,
                actor=succession.by.owner,
                reason=succession.reason,
                now=succession.now,
            )
    except ReleaseCodesExhausted:
        raise CannotReplace(
            f"The other PBX cannot take over: {len(inherited)} releases would move to "
            f"it, and {left} of its {MOST_SEQUENCE:,} release codes are left."
        ) from None
    except VoucherStateConflict as conflict:
        raise CannotReplace(conflict.detail) from None


def _last_sequence(session: Session, device_id: int) -> int:
    used = select(func.max(ReleaseCode.sequence)).where(
        ReleaseCode.device_id == device_id
    )
    return session.scalar(used) or 0

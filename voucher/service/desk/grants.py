# SPDX-License-Identifier: Apache-2.0
"""What staff give a PBX without a voucher: as goodwill, or to try."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from fleet.database import transaction
from fleet.devices.models import Device
from fleet.devices.registry import locked
from fleet.identity.guard import DeviceNotPermitted, is_held
from fleet.staff import audit
from fleet.staff.roles import StaffMember
from voucher.errors import TrialAlreadyUsed
from voucher.functions import Source
from voucher.models import Product, ReleaseCode
from voucher.service import ledger
from voucher.service.ledger import Kind
from voucher.service.releasing import is_in_force, release, trial_of
from voucher.service.trade import products
from voucher.verdicts import check_fits


@dataclass(frozen=True, repr=False)
class Granted:
    """What a PBX got, and whether it got it just now."""

    release: ReleaseCode
    is_new: bool


def grant(
    serial_number: str,
    *,
    product_number: int,
    reason: str,
    by: StaffMember,
    now: datetime,
) -> Granted:
    """Release the present version of a product for a PBX.

    A trial product is that PBX's trial: had once, and while it runs, found again.

    Raises ``UnknownDevice``, ``DeviceNotPermitted``, ``UnknownProduct``,
    ``ProductRetired``, ``TrialAlreadyUsed``, ``ReleaseCodesExhausted``, and the
    refusals of ``voucher.verdicts`` over a product for a PBX.
    """
    with transaction() as session:
        device = locked(session, serial_number)
        if is_held(session.connection(), device.id, now=now):
            raise DeviceNotPermitted
        product = products.for_sale(session, product_number)
        if product.trial:
            made = trial_of(session, device.id, product_number)
            if made is not None and is_in_force(session, made, now):
                return Granted(made, is_new=False)
            if made is not None:
                raise TrialAlreadyUsed
        made = _release(session, device, product, reason=reason, by=by, now=now)
        audit.record(
            session,
            actor=by,
            action="release.grant",
            subject=f"device:{serial_number}",
            reason=reason,
            before={},
            after={
                "release_id": made.id,
                "product_number": product.product_number,
                "product_version": product.version,
                "quantity": made.quantity,
                "last_day": made.last_day,
            },
            now=now,
        )
        return Granted(made, is_new=True)


def _release(
    session: Session,
    device: Device,
    product: Product,
    *,
    reason: str,
    by: StaffMember,
    now: datetime,
) -> ReleaseCode:
    check_fits(
        device.device_type,
        ledger.terms_of(session, [device.id])[device.id],
        device_types=product.device_types,
        prerequisites=product.prerequisites,
        now=now,
    )
    return release(
        session,
        device,
        product,
        source=Source.TRIAL if product.trial else Source.GRANT,
        kind=Kind.TRIAL_STARTED if product.trial else Kind.GRANTED,
        voucher=None,
        actor=by.owner,
        reason=reason,
        now=now,
    )

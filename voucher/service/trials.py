# SPDX-License-Identifier: Apache-2.0
"""Trials that a PBX starts by itself: of each product once for each serial number."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from fleet.database import transaction
from fleet.devices.models import Device
from fleet.devices.registry import locked
from fleet.identity.guard import DeviceNotPermitted, is_held
from voucher.errors import TrialAlreadyUsed, UnknownProduct
from voucher.functions import Source
from voucher.models import ReleaseCode
from voucher.service import ledger
from voucher.service.entitling import Entitled, entitled_now
from voucher.service.ledger import Kind
from voucher.service.releasing import is_in_force, release, trial_of
from voucher.service.trade import products
from voucher.verdicts import check_fits


@dataclass(frozen=True, repr=False)
class Started:
    """A trial that runs, and all that the PBX has with it."""

    is_new: bool
    product_number: int
    quantity: int
    release_code: str
    redeemed_at: datetime
    has: Entitled


def start(serial_number: str, product_number: int, *, now: datetime) -> Started:
    """Start a trial on a PBX; one that still runs is answered again.

    Raises ``UnknownDevice``, ``DeviceNotPermitted``, ``TrialAlreadyUsed``,
    ``UnknownProduct`` also for what is no trial, ``ProductRetired``, and the
    refusals of ``voucher.verdicts`` over a product for a PBX.
    """
    with transaction() as session:
        device = locked(session, serial_number)
        if is_held(session.connection(), device.id, now=now):
            raise DeviceNotPermitted
        made = trial_of(session, device.id, product_number)
        is_new = made is None
        if made is None:
            made = _begin(session, device, product_number, now=now)
        elif not is_in_force(session, made, now):
            raise TrialAlreadyUsed
        return Started(
            is_new=is_new,
            product_number=made.product_number,
            quantity=made.quantity,
            release_code=made.code,
            redeemed_at=made.released_at,
            has=entitled_now(device.id, now),
        )


def _begin(
    session: Session, device: Device, product_number: int, *, now: datetime
) -> ReleaseCode:
    product = products.for_sale(session, product_number)
    if not product.trial:
        raise UnknownProduct("There is no trial with this product number.")
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
        source=Source.TRIAL,
        kind=Kind.TRIAL_STARTED,
        voucher=None,
        actor="pbx",
        now=now,
    )

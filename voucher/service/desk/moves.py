# SPDX-License-Identifier: Apache-2.0
"""Moves what was released from one PBX to another: the same thing, until the same day.

The heir gets a release code of its own, since a code is good for one PBX only,
and the voucher follows. Nothing is deleted: the ledger says that the release left
the one PBX and arrived at the other. What comes back to where it was is the same
release there, with the code it had.

A trial stays a trial where the heir has not had one of that product. Where it has,
the rest of the old one arrives as what staff granted: so nobody loses days of a
trial by a broken PBX, and no PBX has two.
"""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from fleet.database import transaction
from fleet.devices.models import Device
from fleet.devices.registry import locked
from fleet.identity.guard import DeviceNotPermitted, is_held
from fleet.staff import audit
from fleet.staff.roles import StaffMember
from voucher.errors import (
    NotInForce,
    UnknownRelease,
    VoucherNotForThisDevice,
    VoucherStateConflict,
)
from voucher.functions import Source
from voucher.models import Product, ReleaseCode, Voucher
from voucher.service import ledger
from voucher.service.ledger import LAST_SAID, Kind
from voucher.service.releasing import is_in_force, release, trial_of


def move(
    release_id: int,
    *,
    to_serial_number: str,
    reason: str,
    by: StaffMember,
    now: datetime,
) -> ReleaseCode:
    """Move one release to another PBX, and return what it is there.

    A PBX that was blocked or replaced may give, and not receive. Whether the other
    one lacks something, or has as much for ever, is for staff to judge: what they
    move, they can move back.

    Raises ``UnknownRelease``, ``UnknownDevice``, ``NotInForce``,
    ``DeviceNotPermitted``, ``VoucherNotForThisDevice``,
    ``ReleaseCodesExhausted``, and ``VoucherStateConflict`` where the other PBX
    has had the same voucher before, for another time.
    """
    with transaction() as session:
        released, old, heir = _both(session, release_id, to_serial_number)
        if old is heir:
            raise NotInForce("The release is on this PBX already.")
        if not is_in_force(session, released, now):
            raise NotInForce
        _check_may_receive(session, heir, released, now)
        lock_vouchers(session, [released])
        moved = hand_over(
            session, released, heir, actor=by.owner, reason=reason, now=now
        )
        audit.record(
            session,
            actor=by,
            action="release.move",
            subject=f"device:{old.serial_number}",
            reason=reason,
            before={"release_id": released.id, "serial_number": old.serial_number},
            after={"release_id": moved.id, "serial_number": heir.serial_number},
            now=now,
        )
        return moved


def hand_over(
    session: Session,
    released: ReleaseCode,
    heir: Device,
    *,
    actor: str,
    reason: str,
    now: datetime,
) -> ReleaseCode:
    """Let ``heir`` have a release that is in force elsewhere; return its own.

    Both PBXs are locked, and so are the vouchers (``lock_vouchers``). Raises
    ``ReleaseCodesExhausted`` and ``VoucherStateConflict``.
    """
    ledger.write(
        session,
        Kind.MOVED_OUT,
        actor=actor,
        reason=reason,
        voucher_id=released.voucher_id,
        release_id=released.id,
        device_id=released.device_id,
        now=now,
    )
    moved = _arrive(session, released, heir, actor=actor, reason=reason, now=now)
    voucher = _voucher_of(session, released)
    if voucher is not None:
        voucher.redeemed_by_id = heir.id  # as the ledger says by now
        session.flush()
    return moved


def returning(
    session: Session, released: ReleaseCode, heir: Device
) -> ReleaseCode | None:
    """Return the release that ``heir`` has had of the same, and can have again.

    Raises ``VoucherStateConflict`` where that was the same voucher for another
    time: a voucher and a PBX have one release code for ever.
    """
    same = (
        select(ReleaseCode)
        .where(ReleaseCode.device_id == heir.id)
        .order_by(ReleaseCode.sequence)
    )
    if released.voucher_id is not None:
        earlier = session.scalars(
            same.where(ReleaseCode.voucher_id == released.voucher_id)
        ).one_or_none()
        if earlier is not None and earlier.last_day != released.last_day:
            raise VoucherStateConflict(
                "The other PBX has had this voucher before, for another time: reverse "
                "it here, and redeem it there."
            )
        return earlier
    return session.scalars(
        same.where(
            ReleaseCode.voucher_id.is_(None),
            ReleaseCode.product_id == released.product_id,
            ReleaseCode.last_day.is_not_distinct_from(released.last_day),
            LAST_SAID.in_([Kind.MOVED_OUT]),
        ).limit(1)
    ).one_or_none()


def lock_vouchers(session: Session, releases: Sequence[ReleaseCode]) -> None:
    """Lock the vouchers that some releases came from, in the order of all."""
    ids = [each.voucher_id for each in releases if each.voucher_id is not None]
    session.scalars(
        select(Voucher)
        .where(Voucher.id.in_(ids))
        .order_by(Voucher.id)
        .with_for_update(key_share=True)
        .execution_options(populate_existing=True)
    ).all()


def _both(
    session: Session, release_id: int, to_serial_number: str
) -> tuple[ReleaseCode, Device, Device]:
    """Return a release, the PBX it is on and the other, both locked in order."""
    row = session.execute(
        select(ReleaseCode, Device.serial_number)
        .join(Device, Device.id == ReleaseCode.device_id)
        .where(ReleaseCode.id == release_id)
    ).one_or_none()
    if row is None:
        raise UnknownRelease
    released, serial_number = row
    devices = {
        each: locked(session, each)
        for each in sorted({serial_number, to_serial_number})
    }
    return released, devices[serial_number], devices[to_serial_number]


def _arrive(
    session: Session,
    released: ReleaseCode,
    heir: Device,
    *,
    actor: str,
    reason: str,
    now: datetime,
) -> ReleaseCode:
    """Put in force on ``heir`` what it has had of the same before, or a new release."""
    earlier = returning(session, released, heir)
    if earlier is None:
        return release(
            session,
            heir,
            session.get_one(Product, released.product_id),
            source=_source_on(session, released, heir),
            kind=Kind.MOVED_IN,
            voucher=_voucher_of(session, released),
            actor=actor,
            reason=reason,
            last_day=released.last_day,
            now=now,
        )
    ledger.write(
        session,
        Kind.MOVED_IN,
        actor=actor,
        reason=reason,
        voucher_id=earlier.voucher_id,
        release_id=earlier.id,
        device_id=heir.id,
        now=now,
    )
    return earlier


def _check_may_receive(
    session: Session, heir: Device, released: ReleaseCode, now: datetime
) -> None:
    if is_held(session.connection(), heir.id, now=now):
        raise DeviceNotPermitted
    device_types = session.get_one(Product, released.product_id).device_types
    if device_types and heir.device_type not in device_types:
        raise VoucherNotForThisDevice


def _voucher_of(session: Session, released: ReleaseCode) -> Voucher | None:
    if released.voucher_id is None:
        return None
    return session.get_one(Voucher, released.voucher_id)


def _source_on(session: Session, released: ReleaseCode, heir: Device) -> Source:
    source = Source(released.source)
    if source is not Source.TRIAL:
        return source
    if trial_of(session, heir.id, released.product_number) is None:
        return source
    return Source.GRANT if released.voucher_id is None else Source.VOUCHER

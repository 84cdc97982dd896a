# SPDX-License-Identifier: Apache-2.0
"""Makes one release for one PBX, in a transaction of the caller.

For trials, grants and moves. Redemptions do the same for many at a time
(``voucher.service.redemptions``).
"""

from datetime import date, datetime
from enum import Enum

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from fleet.devices.models import Device
from fleet.devices.release_keys import release_key_of
from voucher.errors import ReleaseCodesExhausted, TrialAlreadyUsed
from voucher.functions import Source, Stacking, ends_at, last_day_of
from voucher.models import Product, ReleaseCode, Voucher
from voucher.release_code import MOST_SEQUENCE, Release, encode
from voucher.service import ledger
from voucher.service.ledger import Kind


class Computed(Enum):
    """Stands for "as the product says": a day is a value, and so is none."""

    COMPUTED = "computed"


COMPUTED = Computed.COMPUTED


def release(  # noqa: PLR0913 -- what, for whom, whence, by whom, why, when, until when
    session: Session,
    device: Device,
    product: Product,
    *,
    source: Source,
    kind: Kind,
    voucher: Voucher | None,
    actor: str,
    reason: str = "",
    last_day: date | Computed | None = COMPUTED,
    now: datetime,
) -> ReleaseCode:
    """Release ``product`` for ``device``, whose row is locked, and write it down.

    The same voucher and PBX have one release code for ever: where there is one it
    is returned, and in force again. ``last_day`` is given for a release that
    moves, which keeps its own.

    Raises ``ReleaseCodesExhausted``, ``WithoutEffect`` where the PBX has as much for
    ever, and ``TrialAlreadyUsed`` for a second trial of one product.
    """
    made = None if voucher is None else _made_before(session, device, voucher)
    if made is None:
        if source is Source.TRIAL and trial_of(
            session, device.id, product.product_number
        ):
            raise TrialAlreadyUsed
        if isinstance(last_day, Computed):
            last_day = _last_day(session, device, product, now)
        said = _next(session, device, product, last_day)
        made = _row(said, device, product, source=source, voucher=voucher, now=now)
        session.add(made)
        session.flush()
    ledger.write(
        session,
        kind,
        actor=actor,
        reason=reason,
        voucher_id=voucher.id if voucher else None,
        release_id=made.id,
        device_id=device.id,
        now=now,
    )
    return made


def is_in_force(session: Session, released: ReleaseCode, now: datetime) -> bool:
    """Whether a release is in force, by the ledger and by its term."""
    if released.last_day is not None and now >= ends_at(released.last_day):
        return False
    return released in ledger.releases_in_force(session, released.device_id)


def trial_of(
    session: Session, device_id: int, product_number: int
) -> ReleaseCode | None:
    """Return the trial that a PBX has had of a product, of any version."""
    return session.scalars(
        select(ReleaseCode).where(
            ReleaseCode.device_id == device_id,
            ReleaseCode.product_number == product_number,
            ReleaseCode.source == Source.TRIAL.value,
        )
    ).one_or_none()


def _made_before(
    session: Session, device: Device, voucher: Voucher
) -> ReleaseCode | None:
    return session.scalars(
        select(ReleaseCode).where(
            ReleaseCode.device_id == device.id, ReleaseCode.voucher_id == voucher.id
        )
    ).one_or_none()


def _last_day(
    session: Session, device: Device, product: Product, now: datetime
) -> date | None:
    return last_day_of(
        product.function,
        product.quantity,
        duration_days=product.duration_days,
        stacking=Stacking(product.stacking),
        held=ledger.terms_of(session, [device.id])[device.id],
        now=now,
    )


def _next(
    session: Session, device: Device, product: Product, last_day: date | None
) -> Release:
    """Return what the next release code of ``device`` says."""
    used = select(func.max(ReleaseCode.sequence)).where(
        ReleaseCode.device_id == device.id
    )
    sequence = (session.scalar(used) or 0) + 1
    if sequence > MOST_SEQUENCE:
        raise ReleaseCodesExhausted
    return Release(sequence, product.product_number, product.quantity, last_day)


def _row(
    said: Release,
    device: Device,
    product: Product,
    *,
    source: Source,
    voucher: Voucher | None,
    now: datetime,
) -> ReleaseCode:
    return ReleaseCode(
        device_id=device.id,
        sequence=said.sequence,
        source=source.value,
        voucher_id=voucher.id if voucher else None,
        product_id=product.id,
        product_number=said.product_number,
        quantity=said.quantity,
        last_day=said.last_day,
        code=encode(
            said,
            serial_number=device.serial_number,
            release_key=release_key_of(device),
        ),
        released_at=now,
    )

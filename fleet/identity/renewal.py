# SPDX-License-Identifier: Apache-2.0
"""A PBX renews its certificate before it ends; one transaction.

The old one stays valid for a week, so that a PBX that lost the answer, or lost
power before it had stored it, is not shut out.
"""

from datetime import datetime, timedelta

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from fleet.database import transaction
from fleet.devices.models import Device
from fleet.errors import TooMany
from fleet.identity.csr import CsrFacts
from fleet.identity.guard import CallingDevice, DeviceNotRecognised, SerialMismatch
from fleet.identity.models import DeviceCertificate
from fleet.identity.store import issue

OLD_STAYS = timedelta(days=7)

# One a year is needed. A key that was stolen, or firmware that runs wild, must not
# fill the database with certificates.
MOST_IN_A_DAY = 24


def renew(device: CallingDevice, csr: CsrFacts, *, now: datetime) -> bytes:
    """Return the new certificate in DER, for the key in ``csr``.

    The same key again gets the same certificate, for as long as the old one is
    shown, which it can be for a week: an answer was lost. The new one belongs to
    the generation of the old, so a re-initialisation revokes both.

    Raises ``SerialMismatch`` for a request that names another PBX,
    ``DeviceNotRecognised`` where a re-initialisation came between, and
    ``TooMany`` after many renewals within a day.
    """
    if any(each != device.serial_number for each in csr.serial_numbers):
        raise SerialMismatch
    with transaction() as session:
        row = session.scalars(
            select(Device).where(Device.id == device.device_id).with_for_update()
        ).one()
        shown = session.get_one(
            DeviceCertificate, device.certificate_id, populate_existing=True
        )
        if shown.revoked_at is not None:
            raise DeviceNotRecognised
        again = session.scalars(
            select(DeviceCertificate)
            .where(
                DeviceCertificate.device_id == device.device_id,
                DeviceCertificate.key_digest == csr.spki_sha256,
                DeviceCertificate.id > shown.id,
                DeviceCertificate.revoked_at.is_(None),
                DeviceCertificate.retires_at.is_(None),
            )
            .order_by(DeviceCertificate.id.desc())
        ).first()
        if again is not None:
            return again.der
        _check_rate(session, device, now=now)
        issued = issue(
            session, row, csr.public_key, generation=shown.generation, now=now
        )
        session.execute(
            update(DeviceCertificate)
            .where(
                DeviceCertificate.device_id == device.device_id,
                DeviceCertificate.id != issued.id,
                DeviceCertificate.revoked_at.is_(None),
                DeviceCertificate.retires_at.is_(None),
            )
            .values(retires_at=now + OLD_STAYS)
        )
        return issued.der


def _check_rate(session: Session, device: CallingDevice, *, now: datetime) -> None:
    lately = session.execute(
        select(func.count())
        .select_from(DeviceCertificate)
        .where(
            DeviceCertificate.device_id == device.device_id,
            DeviceCertificate.issued_at > now - timedelta(days=1),
        )
    ).scalar_one()
    if lately >= MOST_IN_A_DAY:
        raise TooMany(retry_after=3600)

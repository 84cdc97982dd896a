# SPDX-License-Identifier: Apache-2.0
"""One PBX for a support agent on the telephone: standing, why, and all behind it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from cic.models import Activation, LifeEvent
from cic.service.initialisation import reinitialisations_left
from cic.service.standings import Overview, overview, policy_in
from cic.standing import Reason
from fleet.clock import rfc3339
from fleet.database import reading
from fleet.devices.errors import UnknownDevice
from fleet.devices.models import Device
from fleet.identity.models import DeviceCertificate

# The newest; a PBX that has more of either is looked at with other eyes anyway.
MOST_EVENTS = 100
MOST_CERTIFICATES = 50

SENTENCES = {
    Reason.IN_TOUCH: "It is in touch: less than 24 hours of silence count.",
    Reason.WITHIN_GRACE: "It is silent, but within its grace; it locks at {lock_at}.",
    Reason.AMNESTY: "It is silent, but an amnesty lasts until {lock_at}.",
    Reason.SILENT_TOO_LONG: (
        "It was silent for too long and locked at {lock_at}: it must re-initialise."
    ),
    Reason.BLOCKED_BY_VENDOR: "It was blocked at {held_at}: {hold_reason}",
    Reason.REPLACED_BY_OTHER: "It was replaced at {held_at}: {hold_reason}",
    Reason.NEVER_INITIALISED: "It has not initialised itself yet.",
}


@dataclass(frozen=True)
class Detail:
    """One PBX, and what happened to it, newest first."""

    overview: Overview
    why: str
    replaced_by: str | None
    reinitialisations_left: int
    certificates: Sequence[DeviceCertificate]
    history: Sequence[LifeEvent]


def detail(serial_number: str, *, now: datetime) -> Detail:
    """Return all that is known of one PBX; raise ``UnknownDevice``."""
    with reading() as session:
        row = session.execute(
            select(Device, Activation)
            .outerjoin(Activation, Activation.device_id == Device.id)
            .where(Device.serial_number == serial_number)
        ).one_or_none()
        if row is None:
            raise UnknownDevice
        found = overview(row[0], row[1], policy=policy_in(session), now=now)
        return Detail(
            overview=found,
            why=sentence(found),
            replaced_by=_serial_of(session, found.activation.replaced_by_id),
            reinitialisations_left=reinitialisations_left(
                session, found.activation, now=now
            ),
            certificates=_newest_certificates(session, found.device.id),
            history=_newest_events(session, found.device.id),
        )


def sentence(found: Overview) -> str:
    """Say a standing in one sentence."""
    activation, lock_at = found.activation, found.standing.lock_at
    return SENTENCES[found.standing.reason].format(
        lock_at=rfc3339(lock_at) if lock_at else "",
        held_at=rfc3339(activation.held_at) if activation.held_at else "",
        hold_reason=activation.hold_reason or "no reason was given.",
    )


def _serial_of(session: Session, device_id: int | None) -> str | None:
    if device_id is None:
        return None
    return session.scalar(select(Device.serial_number).where(Device.id == device_id))


def _newest_certificates(
    session: Session, device_id: int
) -> Sequence[DeviceCertificate]:
    return session.scalars(
        select(DeviceCertificate)
        .where(DeviceCertificate.device_id == device_id)
        .order_by(DeviceCertificate.id.desc())
        .limit(MOST_CERTIFICATES)
    ).all()


def _newest_events(session: Session, device_id: int) -> Sequence[LifeEvent]:
    return session.scalars(
        select(LifeEvent)
        .where(LifeEvent.device_id == device_id)
        .order_by(LifeEvent.happened_at.desc(), LifeEvent.id.desc())
        .limit(MOST_EVENTS)
    ).all()

# SPDX-License-Identifier: Apache-2.0
"""Who wants no statistics made of their PBX, or its data only kept.

Access records name no PBX, so one of these could not be found again to be left out of
the statistics. Therefore none is written from then on, by any service (GDPR, articles
18 and 21). What is restricted is changed only as its owner asks. Those that were
written before cannot be told from others; they are gone after 14 days. The PBX that
takes another's place is its owner's too: what held for the one holds for the other.
"""

from datetime import datetime

from sqlalchemy.orm import Session

from fleet.database import afterwards, transaction
from fleet.devices import registry
from fleet.devices.models import Device
from fleet.devices.succession import Succession
from fleet.staff import audit
from retention.service.marks import Mark, keep_all, mark
from retention.service.requests import Kind, note_own

OBJECTED = "left out from now on"
WITHDRAWN = "no longer left out"


def object_for_itself(
    serial_number: str, *, withdraw: bool, now: datetime
) -> datetime | None:
    """Leave a PBX out of statistics, or no longer, as it asks; return since when.

    The same again changes nothing. Raises ``UnknownDevice``, ``TooMany`` for one that
    cannot make up its mind, and ``MarksNotKept``.
    """
    with transaction() as session:
        device = registry.locked(session, serial_number)
        if leave_out(session, device, withdraw=withdraw, now=now):
            answer = WITHDRAWN if withdraw else OBJECTED
            note_own(session, device.id, Kind.OBJECTION, answer=answer, now=now)
        else:
            afterwards(session, keep_all)  # which may have failed the first time
        return device.objected_at


def leave_out(
    session: Session, device: Device, *, withdraw: bool = False, now: datetime
) -> bool:
    """Note an objection on a locked row, or its withdrawal; say if that changed it."""
    if (device.objected_at is None) == withdraw:
        return False
    device.objected_at = None if withdraw else now
    kind = Mark.OBJECTION_WITHDRAWN if withdraw else Mark.OBJECTED
    mark(session, kind, device.serial_number, now=now)
    return True


def restrict(
    session: Session, device: Device, *, lift: bool = False, now: datetime
) -> bool:
    """Restrict a locked row to being kept, or lift that; say if that changed it."""
    if (device.restricted_at is None) == lift:
        return False
    device.restricted_at = None if lift else now
    kind = Mark.RESTRICTION_LIFTED if lift else Mark.RESTRICTED
    mark(session, kind, device.serial_number, now=now)
    return True


def hand_down(session: Session, succession: Succession) -> None:
    """Let the heir be left out and restricted where the PBX before it was, since then.

    Marked as of now: the mark must come after whatever the heir had said for itself.
    The commit raises ``MarksNotKept``.
    """
    old, heir = succession.old, succession.heir
    if old.objected_at is not None and heir.objected_at is None:
        heir.objected_at = old.objected_at
        _note_handed_down(session, succession, "device.object", Mark.OBJECTED)
    if old.restricted_at is not None and heir.restricted_at is None:
        heir.restricted_at = old.restricted_at
        _note_handed_down(session, succession, "device.restrict", Mark.RESTRICTED)


def _note_handed_down(
    session: Session, succession: Succession, action: str, kind: Mark
) -> None:
    serial_number, now = succession.heir.serial_number, succession.now
    mark(session, kind, serial_number, now=now)
    audit.record(
        session,
        actor=succession.by,
        action=action,
        subject=f"device:{serial_number}",
        reason=f"It takes the place of {succession.old.serial_number}.",
        before={},
        after={"lifted": False},
        now=now,
    )

# SPDX-License-Identifier: Apache-2.0
"""What support decides about one PBX: block, open, clear, replace, change.

Each is one transaction with its entry in the audit log, and may be repeated: the
same decision again changes nothing and is not noted twice.
"""

from collections.abc import Callable
from datetime import date, datetime, timedelta

from sqlalchemy.orm import Session

from cic.errors import HoldConflict
from cic.models import Activation
from cic.service.initialisation import (
    MOST_REINITIALISATIONS,
    reinitialisations_left,
)
from cic.service.standings import activation_of, note_event
from cic.standing import Hold
from fleet.database import transaction
from fleet.devices import registry, succession
from fleet.devices.errors import CannotReplace
from fleet.devices.models import Device
from fleet.devices.registry import UNCHANGED, Unchanged, locked
from fleet.devices.succession import Succession
from fleet.staff import audit
from fleet.staff.roles import StaffMember


def block(serial_number: str, *, reason: str, by: StaffMember, now: datetime) -> None:
    """Let the PBX get its verdict, its key set, its CA and updates, and no more.

    Raises ``UnknownDevice``, and ``HoldConflict`` for a PBX that was replaced.
    """

    def decide(session: Session, activation: Activation) -> bool:
        if activation.hold == Hold.BLOCKED:
            return False
        if activation.hold:
            raise HoldConflict
        activation.hold = Hold.BLOCKED.value
        activation.hold_reason = reason
        activation.held_at = now
        note_event(session, activation.device_id, "blocked", now=now, detail=reason)
        return True

    _decide("device.block", serial_number, decide, reason=reason, by=by, now=now)


def unblock(serial_number: str, *, reason: str, by: StaffMember, now: datetime) -> None:
    """Let the PBX run again; the time of the block does not count as its silence.

    While it was blocked no check of it could be a success, so with that time
    counted it would find itself locked the moment it is forgiven. One that was
    locked before the block is locked after it.

    Raises ``UnknownDevice``, and ``HoldConflict`` for a PBX that was replaced.
    """

    def decide(session: Session, activation: Activation) -> bool:
        if activation.hold == Hold.NONE:
            return False
        if activation.hold != Hold.BLOCKED:
            raise HoldConflict
        if activation.silent_since is not None and activation.held_at is not None:
            blocked_for = max(now - activation.held_at, timedelta(0))
            activation.silent_since = min(now, activation.silent_since + blocked_for)
        activation.hold = Hold.NONE.value
        activation.hold_reason = ""
        activation.held_at = None
        note_event(session, activation.device_id, "unblocked", now=now, detail=reason)
        return True

    _decide("device.unblock", serial_number, decide, reason=reason, by=by, now=now)


def open_reinitialisation(
    serial_number: str, *, reason: str, by: StaffMember, now: datetime
) -> None:
    """Let the PBX re-initialise itself again, as often as it may by itself.

    Opened before and not used since, there is nothing to open.

    Raises ``UnknownDevice``.
    """

    def decide(session: Session, activation: Activation) -> bool:
        left = reinitialisations_left(session, activation, now=now)
        opened = activation.reinitialisation_opened_at is not None
        if opened and left == MOST_REINITIALISATIONS:
            return False
        activation.reinitialisation_opened_at = now
        note_event(
            session,
            activation.device_id,
            "reinitialisation-opened",
            now=now,
            detail=reason,
        )
        return True

    _decide(
        "device.reinitialisation", serial_number, decide, reason=reason, by=by, now=now
    )


def clear_suspicion(
    serial_number: str, *, reason: str, by: StaffMember, now: datetime
) -> None:
    """Take back that the PBX may have a clone; the next sign of one counts anew.

    Raises ``UnknownDevice``.
    """

    def decide(session: Session, activation: Activation) -> bool:
        if activation.clone_suspected_at is None:
            return False
        activation.clone_suspected_at = None
        note_event(
            session,
            activation.device_id,
            "clone-suspicion-cleared",
            now=now,
            detail=reason,
        )
        return True

    _decide(
        "device.clone-suspicion",
        serial_number,
        decide,
        reason=reason,
        by=by,
        now=now,
    )


def replace(
    serial_number: str,
    *,
    replaced_by: str,
    reason: str,
    by: StaffMember,
    now: datetime,
) -> None:
    """Let another PBX take this one's place; this one is ``replaced`` for good.

    Raises ``UnknownDevice`` for either, ``CannotReplace`` where the other cannot
    take over, and ``HoldConflict`` where a third one already has.
    """

    def decide(session: Session, activation: Activation) -> bool:
        heir = locked(session, replaced_by)
        if activation.hold == Hold.REPLACED:
            if activation.replaced_by_id == heir.id:
                return False
            raise HoldConflict
        if heir.id == activation.device_id or activation_of(session, heir).hold:
            raise CannotReplace
        activation.hold = Hold.REPLACED.value
        activation.hold_reason = reason
        activation.held_at = now
        activation.replaced_by_id = heir.id
        note_event(session, activation.device_id, "replaced", now=now, detail=reason)
        note_event(session, heir.id, "took-over", now=now, detail=reason)
        old = session.get_one(Device, activation.device_id)
        succession.succeed(
            session,
            Succession(old=old, heir=heir, reason=reason, by=by, now=now),
        )
        return True

    _decide(
        "device.replacement",
        serial_number,
        decide,
        reason=reason,
        by=by,
        now=now,
        also=replaced_by,
    )


def change(  # noqa: PLR0913 -- the fields of the protocol's PATCH
    serial_number: str,
    *,
    customer: str | Unchanged = UNCHANGED,
    notes: str | Unchanged = UNCHANGED,
    support_ends_on: date | Unchanged | None = UNCHANGED,
    grace_days: int | Unchanged | None = UNCHANGED,
    reason: str,
    by: StaffMember,
    now: datetime,
) -> None:
    """Change what is known of a PBX, or its own grace; no grace is its type's.

    Raises ``UnknownDevice``, and ``ProcessingRestricted`` for customer and notes of
    a PBX whose data is only kept.
    """
    with transaction() as session:
        device = locked(session, serial_number)
        activation = activation_of(session, device)
        before = _told(device, activation)
        after = before | _said(
            grace_days=grace_days or None, support_ends_on=support_ends_on
        )
        if changed := _rewritten(device, customer=customer, notes=notes):
            after |= {"rewritten": changed}
        if after == before:
            return
        # First, for once: the database brings no end of support forward of which
        # the audit log does not know (migration 0003).
        audit.record(
            session,
            actor=by,
            action="device.change",
            subject=f"device:{serial_number}",
            reason=reason,
            before=before,
            after=after,
            now=now,
        )
        if not isinstance(grace_days, Unchanged):
            activation.grace_days = grace_days or 0
        registry.change(
            serial_number,
            customer=customer,
            notes=notes,
            support_ends_on=support_ends_on,
        )


def _decide(  # noqa: PLR0913 -- what an entry of the audit log says
    action: str,
    serial_number: str,
    decide: Callable[[Session, Activation], bool],
    *,
    reason: str,
    by: StaffMember,
    now: datetime,
    also: str | None = None,
) -> None:
    """Decide under the PBX's lock, and note it if that changed anything."""
    with transaction() as session:
        device, activation = _held(session, serial_number, also or serial_number)
        before, why = _told(device, activation), activation.hold_reason
        if not decide(session, activation):
            return
        after = _told(device, activation) | ({"by": also} if also else {})
        if activation.hold_reason != why:
            after |= {"rewritten": ["hold_reason"]}
        audit.record(
            session,
            actor=by,
            action=action,
            subject=f"device:{serial_number}",
            reason=reason,
            before=before,
            after=after,
            now=now,
        )


def _held(
    session: Session, serial_number: str, other: str
) -> tuple[Device, Activation]:
    """Lock one PBX, and another that takes part; return the first.

    Rows are always locked in one order, or two replacements that cross would
    wait for each other, or one for a batch of checks (``cic.service.checks``).
    """
    devices = [locked(session, each) for each in sorted({serial_number, other})]
    activations = {
        each.serial_number: (each, activation_of(session, each))
        for each in sorted(devices, key=lambda device: device.id)
    }
    return activations[serial_number]


def _rewritten(device: Device, **texts: str | Unchanged) -> list[str]:
    """Return which texts about people change: never they themselves.

    The audit log is for ever, and could not forget them (GDPR, article 17).
    """
    return [
        name
        for name, text in texts.items()
        if not isinstance(text, Unchanged) and text != getattr(device, name)
    ]


def _said(**fields: str | int | date | Unchanged | None) -> dict[str, object]:
    """Return what is said anew of a PBX, as the audit log shows it."""
    return {
        name: value.isoformat() if isinstance(value, date) else value
        for name, value in fields.items()
        if not isinstance(value, Unchanged)
    }


def _told(device: Device, activation: Activation) -> dict[str, object]:
    """Return what the audit log shows of a PBX, before and after: no words of anybody.

    Why something was decided stands once in an entry, as its reason.
    """
    ends_on = device.support_ends_on
    opened_at = activation.reinitialisation_opened_at
    suspected_at = activation.clone_suspected_at
    return {
        "support_ends_on": ends_on.isoformat() if ends_on else None,
        "grace_days": activation.grace_days or None,
        "hold": activation.hold,
        "reinitialisation_opened_at": opened_at.isoformat() if opened_at else None,
        "clone_suspected_at": suspected_at.isoformat() if suspected_at else None,
    }

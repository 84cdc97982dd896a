# SPDX-License-Identifier: Apache-2.0
"""Promises to many PBXs at once: amnesties, and the grace of a device type.

They count from the next check on, on every node; no lease has to be taken back.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from cic.errors import UnknownAmnesty
from cic.models import Amnesty, GracePolicy
from fleet.clock import rfc3339
from fleet.database import reading, transaction
from fleet.errors import Invalid
from fleet.server.pulse import policy_changed
from fleet.staff import audit
from fleet.staff.roles import StaffMember
from fleet.web.paging import Order, Page

# Longer would be a change of policy, which is another decision.
LONGEST = timedelta(days=366)

# As a PBX spells it (``fleet.fields.label``).
DEVICE_TYPE = re.compile(r"[\x20-\x7e]{1,64}")

NEWEST_FIRST = Order("amnesties", {Amnesty.id: int}, descending=True)


@dataclass(frozen=True)
class AmnestyFacts:
    """An amnesty, as it was read."""

    id: int
    until: datetime
    reason: str
    granted_by: str
    granted_at: datetime
    withdrawn_at: datetime | None


def grant(
    *, until: datetime, reason: str, by: StaffMember, now: datetime
) -> AmnestyFacts:
    """Promise that nobody locks before ``until``; who already did may run again.

    Raises ``Invalid`` for an instant that is past, or more than a year ahead.
    """
    if not now < until <= now + LONGEST:
        raise Invalid(fields={"until": ["Must lie within the next 366 days."]})
    with transaction() as session:
        amnesty = Amnesty(
            until=until, reason=reason, granted_by=by.owner, granted_at=now
        )
        session.add(amnesty)
        session.flush()
        _note(session, "amnesty.grant", amnesty, reason=reason, by=by, now=now)
        return _facts(amnesty)


def withdraw(
    amnesty_id: int, *, reason: str, by: StaffMember, now: datetime
) -> AmnestyFacts:
    """Take a promise back; again changes nothing. Raises ``UnknownAmnesty``."""
    with transaction() as session:
        amnesty = session.get(Amnesty, amnesty_id, with_for_update=True)
        if amnesty is None:
            raise UnknownAmnesty
        if amnesty.withdrawn_at is None:
            amnesty.withdrawn_at = now
            _note(session, "amnesty.withdraw", amnesty, reason=reason, by=by, now=now)
        return _facts(amnesty)


def amnesties(*, limit: int, cursor: str | None) -> Page[AmnestyFacts]:
    """List all amnesties, the newest first."""
    query = (
        select(Amnesty)
        .where(NEWEST_FIRST.after(cursor))
        .order_by(*NEWEST_FIRST.by)
        .limit(limit + 1)
    )
    with reading() as session:
        return NEWEST_FIRST.page(
            session.scalars(query).all(),
            limit=limit,
            position=lambda row: (row.id,),
            view=_facts,
        )


@dataclass(frozen=True)
class GraceFacts:
    """The grace of a device type."""

    device_type: str
    grace_days: int
    reason: str
    set_at: datetime


def graces() -> Sequence[GraceFacts]:
    """List the device types whose grace is not the default."""
    with reading() as session:
        rows = session.scalars(select(GracePolicy).order_by(GracePolicy.device_type))
        return [
            GraceFacts(row.device_type, row.grace_days, row.reason, row.set_at)
            for row in rows
        ]


def set_grace(
    device_type: str,
    *,
    grace_days: int | None,
    reason: str,
    by: StaffMember,
    now: datetime,
) -> None:
    """Set the grace of a device type, or give it back to the default.

    Raises ``Invalid`` for what no PBX can name as its type.
    """
    if not DEVICE_TYPE.fullmatch(device_type):
        fault = "1 to 64 printable ASCII characters."
        raise Invalid(fields={"device_type": [fault]})
    with transaction() as session:
        row = session.get(GracePolicy, device_type, with_for_update=True)
        before = row.grace_days if row else None
        if before == grace_days:
            return
        if grace_days is None:
            session.delete(row)
        elif row is None:
            session.add(
                GracePolicy(
                    device_type=device_type,
                    grace_days=grace_days,
                    reason=reason,
                    set_at=now,
                )
            )
        else:
            row.grace_days, row.reason, row.set_at = grace_days, reason, now
        policy_changed(session.connection())
        audit.record(
            session,
            actor=by,
            action="grace.set",
            subject=f"device-type:{device_type}",
            reason=reason,
            before={"grace_days": before},
            after={"grace_days": grace_days},
            now=now,
        )


def _note(
    session: Session,
    action: str,
    amnesty: Amnesty,
    *,
    reason: str,
    by: StaffMember,
    now: datetime,
) -> None:
    policy_changed(session.connection())
    until = {"until": rfc3339(amnesty.until)}
    granted = action == "amnesty.grant"
    audit.record(
        session,
        actor=by,
        action=action,
        subject=f"amnesty:{amnesty.id}",
        reason=reason,
        before={} if granted else until,
        after=until if granted else {},
        now=now,
    )


def _facts(row: Amnesty) -> AmnestyFacts:
    return AmnestyFacts(
        id=row.id,
        until=row.until,
        reason=row.reason,
        granted_by=row.granted_by,
        granted_at=row.granted_at,
        withdrawn_at=row.withdrawn_at,
    )

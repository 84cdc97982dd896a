# SPDX-License-Identifier: Apache-2.0
"""What people ask of their data, and by when they must be answered.

An answer is due one calendar month after the request came in; for one that is hard to
answer two more months can be taken, if the person is told within the first, and why
(GDPR, article 12 (3)). Where the last month has no such day, it ends with its last one.
What a PBX asks for itself is answered at once and noted as fulfilled.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Row, case, func, select
from sqlalchemy.orm import Session

from fleet.database import reading, transaction
from fleet.devices import registry
from fleet.devices.models import Device
from fleet.devices.serial_numbers import normalise_serial
from fleet.errors import Invalid, TooMany
from fleet.staff import audit
from fleet.staff.roles import StaffMember
from fleet.web.paging import Order, Page
from retention.ages import later
from retention.errors import ExtensionTooLate, RequestClosed, UnknownRequest
from retention.models import RightsRequest

MONTHS = 1
MONTHS_EXTENDED = 3
MOST_A_DAY = 20  # of one kind, by one PBX
AN_HOUR = 3600  # seconds
BY_DEVICE = "device"
BY_CERTIFICATE = "client certificate"


class Kind(StrEnum):
    """What is asked for; the articles are of the GDPR, and one of the EU Data Act."""

    ACCESS = "access"  # 15
    RECTIFICATION = "rectification"  # 16
    ERASURE = "erasure"  # 17
    RESTRICTION = "restriction"  # 18
    PORTABILITY = "portability"  # 20
    OBJECTION = "objection"  # 21
    SHARE = "share"  # Data Act, 5


class State(StrEnum):
    """What became of a request."""

    OPEN = "open"
    FULFILLED = "fulfilled"
    REFUSED = "refused"


@dataclass(frozen=True)
class RequestFacts:
    """A request, as it was read; its PBX is None once that was erased wholly."""

    id: int
    serial_number: str | None
    kind: Kind
    asked_by: str
    verified_by: str
    reason: str
    received_at: datetime
    due_at: datetime
    overdue: bool
    extended_at: datetime | None
    extended_because: str
    state: State
    closed_at: datetime | None
    answer: str
    receipt: Mapping[str, Any] | None


@dataclass(frozen=True)
class Wanted:
    """Which requests: those that agree with all that is given."""

    state: State | None = None
    kind: Kind | None = None
    serial_number: str | None = None


@dataclass(frozen=True)
class NewRequest:
    """A request that staff take down: whose, for what, and how that was verified."""

    serial_number: str
    kind: Kind
    verified_by: str
    reason: str
    received_at: datetime | None = None


# Who waits comes first, and of these whoever has waited longest beyond the time.
_WAITS = case((RightsRequest.state == State.OPEN.value, 0), else_=1)
_ORDER = Order(
    "rights-requests",
    {_WAITS: int, RightsRequest.due_at: datetime, RightsRequest.id: int},
)


def take_down(new: NewRequest, *, by: StaffMember, now: datetime) -> RequestFacts:
    """Take a request down; its time runs from when it was received.

    Raises ``UnknownDevice``, and ``Invalid`` for what is still to come.
    """
    received_at = (new.received_at or now).astimezone(UTC)
    if received_at > now:
        raise Invalid(fields={"received_at": ["This is still to come."]})
    with transaction() as session:
        device = registry.locked(session, normalise_serial(new.serial_number))
        row = RightsRequest(
            device_id=device.id,
            kind=new.kind.value,
            asked_by=by.owner,
            verified_by=new.verified_by,
            reason=new.reason,
            received_at=received_at,
            due_at=later(received_at, months=MONTHS),
        )
        session.add(row)
        session.flush()
        note(session, "rights.open", row, by=by, now=now)
        return _facts(row, device.serial_number, now)


def find(request_id: int, *, now: datetime) -> RequestFacts:
    """Return one request; raise ``UnknownRequest``."""
    with reading() as session:
        row = session.get(RightsRequest, request_id)
        if row is None:
            raise UnknownRequest
        return facts(session, row, now=now)


def listed(
    wanted: Wanted, *, limit: int, cursor: str | None = None, now: datetime
) -> Page[RequestFacts]:
    """List requests: the overdue first, then the open, then the closed.

    Raises ``Invalid`` for a bad cursor or what is no serial number.
    """
    statement = (
        select(RightsRequest, Device.serial_number)
        .outerjoin(Device, Device.id == RightsRequest.device_id)
        .where(_ORDER.after(cursor))
    )
    if wanted.state is not None:
        statement = statement.where(RightsRequest.state == wanted.state.value)
    if wanted.kind is not None:
        statement = statement.where(RightsRequest.kind == wanted.kind.value)
    if wanted.serial_number is not None:
        serial = normalise_serial(wanted.serial_number)
        statement = statement.where(Device.serial_number == serial)

    def position(found: Row[RightsRequest, str]) -> tuple[int | datetime, ...]:
        row = found[0]
        return (0 if row.state == State.OPEN.value else 1), row.due_at, row.id

    with reading() as session:
        rows = session.execute(statement.order_by(*_ORDER.by).limit(limit + 1)).all()
        return _ORDER.page(
            rows,
            limit=limit,
            position=position,
            view=lambda found: _facts(found[0], found[1], now),
        )


def extend(
    request_id: int, *, because: str, by: StaffMember, now: datetime
) -> RequestFacts:
    """Take two more months, of which the person has been told within the first.

    The same again changes nothing. Raises ``UnknownRequest``, ``RequestClosed``, and
    ``ExtensionTooLate``.
    """
    with transaction() as session:
        row = locked(session, request_id)
        if row.extended_at is not None and row.extended_because == because:
            return facts(session, row, now=now)
        if row.state != State.OPEN.value:
            raise RequestClosed
        if row.extended_at is not None or now >= row.due_at:
            raise ExtensionTooLate
        before = {"due_at": row.due_at}
        row.extended_at, row.extended_because = now, because
        row.due_at = later(row.received_at, months=MONTHS_EXTENDED)
        note(session, "rights.extend", row, by=by, now=now, before=before)
        return facts(session, row, now=now)


def refuse(
    request_id: int, *, because: str, by: StaffMember, now: datetime
) -> RequestFacts:
    """Refuse a request, with the reason that the person is told.

    The same again changes nothing. Raises ``UnknownRequest`` and ``RequestClosed``.
    """
    with transaction() as session:
        row = locked(session, request_id)
        if row.state == State.REFUSED.value and row.answer == because:
            return facts(session, row, now=now)
        if row.state != State.OPEN.value:
            raise RequestClosed
        close(row, State.REFUSED, answer=because, now=now)
        note(session, "rights.refuse", row, by=by, now=now)
        return facts(session, row, now=now)


def note_own(
    session: Session, device_id: int, kind: Kind, *, answer: str, now: datetime
) -> None:
    """Note what a PBX asked for itself, and got.

    Raises ``TooMany`` for one that asks for the same over and over within a day.
    """
    if own_today(session, device_id, kind, now=now) >= MOST_A_DAY:
        raise TooMany(retry_after=AN_HOUR)
    session.add(
        RightsRequest(
            device_id=device_id,
            kind=kind.value,
            asked_by=BY_DEVICE,
            verified_by=BY_CERTIFICATE,
            reason="",
            received_at=now,
            due_at=later(now, months=MONTHS),
            state=State.FULFILLED.value,
            closed_at=now,
            answer=answer,
        )
    )
    session.flush()


def own_today(session: Session, device_id: int, kind: Kind, *, now: datetime) -> int:
    """Return how often a PBX has asked for ``kind`` since the UTC day began."""
    today = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    counted = session.scalar(
        select(func.count())
        .select_from(RightsRequest)
        .where(
            RightsRequest.device_id == device_id,
            RightsRequest.kind == kind.value,
            RightsRequest.asked_by == BY_DEVICE,
            RightsRequest.received_at >= today,
        )
    )
    return counted or 0


def note_access(device_id: int, *, now: datetime) -> None:
    """Note that a PBX read what is stored about it: the first time of each day.

    It may read as often as it likes (EU Data Act, article 4: continuously), and a
    reader is not to make more to read.
    """
    with reading() as session:
        if own_today(session, device_id, Kind.ACCESS, now=now):
            return
    with transaction() as session:
        note_own(session, device_id, Kind.ACCESS, answer="handed out", now=now)


def locked(session: Session, request_id: int) -> RightsRequest:
    """Return a request's row, locked; raise ``UnknownRequest``."""
    row = session.scalars(
        select(RightsRequest).where(RightsRequest.id == request_id).with_for_update()
    ).one_or_none()
    if row is None:
        raise UnknownRequest
    return row


def close(
    row: RightsRequest,
    state: State,
    *,
    answer: str,
    receipt: Mapping[str, object] | None = None,
    now: datetime,
) -> None:
    """Say on a locked row what became of a request."""
    row.state, row.closed_at, row.answer = state.value, now, answer
    row.receipt = "" if receipt is None else json.dumps(receipt, ensure_ascii=False)


def note(
    session: Session,
    action: str,
    row: RightsRequest,
    *,
    by: StaffMember,
    now: datetime,
    before: Mapping[str, object] | None = None,
) -> int:
    """Write to the audit log what was done about a request; no words of anybody."""
    return audit.record(
        session,
        actor=by,
        action=action,
        subject=f"rights-request:{row.id}",
        reason="",
        before=before or {},
        after={"kind": row.kind, "state": row.state, "due_at": row.due_at},
        now=now,
    )


def facts(session: Session, row: RightsRequest, *, now: datetime) -> RequestFacts:
    """Return a request as it is read."""
    device = None if row.device_id is None else session.get(Device, row.device_id)
    return _facts(row, device.serial_number if device else None, now)


def _facts(row: RightsRequest, serial: str | None, now: datetime) -> RequestFacts:
    state = State(row.state)
    return RequestFacts(
        id=row.id,
        serial_number=serial,
        kind=Kind(row.kind),
        asked_by=row.asked_by,
        verified_by=row.verified_by,
        reason=row.reason,
        received_at=row.received_at,
        due_at=row.due_at,
        overdue=state is State.OPEN and now >= row.due_at,
        extended_at=row.extended_at,
        extended_because=row.extended_because,
        state=state,
        closed_at=row.closed_at,
        answer=row.answer,
        receipt=json.loads(row.receipt) if row.receipt else None,
    )

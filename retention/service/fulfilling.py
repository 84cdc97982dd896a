# SPDX-License-Identifier: Apache-2.0
"""Carries out what was asked: one transaction, noted, and answered once.

The same again gives the same answer, except for a read token, which is shown once, and
for the data, which is handed out for a week. Each time that is in the audit log.
What an erasure or a restriction takes away cannot be given back by support, so only an
operator carries those out.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from fleet.clock import rfc3339
from fleet.database import afterwards, transaction
from fleet.devices import registry
from fleet.devices.errors import UnknownDevice
from fleet.devices.models import Device
from fleet.devices.registry import UNCHANGED, Unchanged
from fleet.errors import Invalid
from fleet.staff import audit
from fleet.staff.errors import NotPermitted
from fleet.staff.roles import Role, StaffMember
from retention.errors import RequestClosed
from retention.models import RightsRequest
from retention.service import erasing, gathering, objections, requests, sharing
from retention.service.gathering import Export
from retention.service.marks import keep_all
from retention.service.requests import Kind, RequestFacts, State

HANDED_OUT_FOR = timedelta(days=7)
_HANDED_OUT = frozenset({Kind.ACCESS, Kind.PORTABILITY})
OPERATORS_ONLY = frozenset({Kind.ERASURE, Kind.RESTRICTION})


@dataclass(frozen=True)
class Wishes:
    """What a request needs to be told beside its kind; each kind looks at its own.

    ``customer`` and ``notes`` are for a rectification, ``ends_service`` for an erasure
    after the end of support, ``recipient`` and ``days`` for a share.
    """

    answer: str = ""
    customer: str | Unchanged = UNCHANGED
    notes: str | Unchanged = UNCHANGED
    ends_service: bool = False
    recipient: str = ""
    days: int = 30


@dataclass(frozen=True)
class Fulfilled:
    """What was done: the data, or a token, where that was what was asked for."""

    request: RequestFacts
    data: Export | None = None
    token: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class _Task:
    session: Session
    row: RightsRequest
    device: Device
    wishes: Wishes
    by: StaffMember
    now: datetime

    def note(self, action: str, after: Mapping[str, object]) -> None:
        """Write to the audit log what was done to the PBX, and for which request."""
        audit.record(
            self.session,
            actor=self.by,
            action=action,
            subject=f"device:{self.device.serial_number}",
            reason=f"rights request {self.row.id}",
            before={},
            after=after,
            now=self.now,
        )


@dataclass(frozen=True)
class _Done:
    receipt: Mapping[str, object] = field(default_factory=dict)
    token: str | None = field(default=None, repr=False)


def fulfil(
    request_id: int, wishes: Wishes, *, by: StaffMember, now: datetime
) -> Fulfilled:
    """Do what a request asks for, and close it.

    Raises ``UnknownRequest``, ``NotPermitted`` for what only an operator may,
    ``RequestClosed``, also where data was handed out a week ago, ``Invalid`` for
    what is missing, ``ErasureEndsService``, ``TooManyShares`` and ``MarksNotKept``.
    """
    with transaction() as session:
        row = requests.locked(session, request_id)
        kind = Kind(row.kind)
        if kind in OPERATORS_ONLY and by.role is not Role.OPERATOR:
            raise NotPermitted(
                f"Your role is {by.role}; only an operator carries this out."
            )
        token = None
        if row.state == State.OPEN.value:
            token = _carry_out(session, row, kind, wishes, by, now)
        elif row.state != State.FULFILLED.value or kind is Kind.SHARE:
            raise RequestClosed
        elif kind in _HANDED_OUT:
            _hand_out_again(session, row, by=by, now=now)
        else:
            afterwards(session, keep_all)  # which may have failed the first time
        facts = requests.facts(session, row, now=now)
    data = None
    if kind in _HANDED_OUT and facts.serial_number is not None:
        data = gathering.gather(facts.serial_number, now=now)
    return Fulfilled(facts, data, token)


def handed_out(request_id: int, *, by: StaffMember, now: datetime) -> Export:
    """Return again what a request for access or portability was fulfilled with.

    As it is now, and for a week: who asks later asks anew.

    Raises ``UnknownRequest``, ``UnknownDevice``, and ``RequestClosed``.
    """
    with transaction() as session:
        row = requests.locked(session, request_id)
        if Kind(row.kind) not in _HANDED_OUT:
            raise RequestClosed("Nothing is handed out on this request.")
        if row.state != State.FULFILLED.value:
            raise RequestClosed("This request is not fulfilled.")
        serial_number = _hand_out_again(session, row, by=by, now=now)
    return gathering.gather(serial_number, now=now)


def lift(request_id: int, *, told: str, by: StaffMember, now: datetime) -> RequestFacts:
    """End a restriction or an objection that a request brought about.

    Of the end of a restriction the person is ``told`` before (article 18 (3)); how and
    when, stands with the request from now on. Again, it changes nothing.

    Raises ``UnknownRequest``, ``NotPermitted``, and ``RequestClosed`` for a request
    that has brought about neither.
    """
    with transaction() as session:
        row = requests.locked(session, request_id)
        kind = Kind(row.kind)
        if kind is Kind.RESTRICTION and by.role is not Role.OPERATOR:
            raise NotPermitted(
                f"Your role is {by.role}; only an operator carries this out."
            )
        device = _device_of(session, row)
        if row.state != State.FULFILLED.value or kind not in _LIFTED:
            raise RequestClosed("Only a restriction or an objection can be lifted.")
        action, undo = _LIFTED[kind]
        if undo(session, device, now):
            row.answer = told
            task = _Task(session, row, device, Wishes(), by, now)
            task.note(action, {"lifted": True})
        else:
            afterwards(session, keep_all)
        return requests.facts(session, row, now=now)


def _carry_out(
    session: Session,
    row: RightsRequest,
    kind: Kind,
    wishes: Wishes,
    by: StaffMember,
    now: datetime,
) -> str | None:
    device = _device_of(session, row)
    task = _Task(session, row, device, wishes, by, now)
    done = _WORK[kind](task)
    requests.close(
        row,
        State.FULFILLED,
        answer="" if done.receipt.get("wholly") else wishes.answer,
        receipt=done.receipt,
        now=now,
    )
    requests.note(session, "rights.fulfil", row, by=by, now=now)
    return done.token


def _hand_out_again(
    session: Session, row: RightsRequest, *, by: StaffMember, now: datetime
) -> str:
    """Let the data out once more, if that is not too late; return whose it is."""
    if row.closed_at is None or now >= row.closed_at + HANDED_OUT_FOR:
        raise RequestClosed("It was fulfilled a week ago; take a new one down.")
    device = _device_of(session, row)
    task = _Task(session, row, device, Wishes(), by, now)
    task.note("device.hand-out", {"kind": row.kind, "again": True})
    return device.serial_number


def _device_of(session: Session, row: RightsRequest) -> Device:
    known = None if row.device_id is None else session.get(Device, row.device_id)
    if known is None:
        raise UnknownDevice
    return registry.locked(session, known.serial_number)


def _hand_out(task: _Task) -> _Done:
    task.note("device.hand-out", {"kind": task.row.kind})
    return _Done({"handed_out_at": rfc3339(task.now)})


def _rectify(task: _Task) -> _Done:
    wishes, device = task.wishes, task.device
    changed = [
        name
        for name, text in (("customer", wishes.customer), ("notes", wishes.notes))
        if not isinstance(text, Unchanged) and text != getattr(device, name)
    ]
    if isinstance(wishes.customer, Unchanged) and isinstance(wishes.notes, Unchanged):
        fault = "Say what is right: customer, notes or both."
        raise Invalid(fields={"customer": [fault]})
    registry.change(
        device.serial_number,
        customer=wishes.customer,
        notes=wishes.notes,
        as_asked=True,
    )
    task.note("device.rectify", {"rewritten": changed})
    return _Done({"rewritten": changed})


def _erase(task: _Task) -> _Done:
    return _Done(
        erasing.erase(
            task.session,
            task.device,
            ends_service=task.wishes.ends_service,
            request_id=task.row.id,
            by=task.by,
            now=task.now,
        )
    )


def _restrict(task: _Task) -> _Done:
    if objections.restrict(task.session, task.device, now=task.now):
        task.note("device.restrict", {"lifted": False})
    return _Done({"restricted_at": _since(task.device.restricted_at)})


def _object(task: _Task) -> _Done:
    if objections.leave_out(task.session, task.device, now=task.now):
        task.note("device.object", {"lifted": False})
    return _Done({"objected_at": _since(task.device.objected_at)})


def _share(task: _Task) -> _Done:
    wishes = task.wishes
    if not wishes.recipient:
        raise Invalid(fields={"recipient": ["Say who may read."]})
    made = sharing.share(
        task.session,
        task.device,
        recipient=wishes.recipient,
        days=wishes.days,
        by=task.by.owner,
        now=task.now,
    )
    task.note("data-share.issue", {"share": made.id, "expires_at": made.expires_at})
    return _Done({"share": made.id, "expires_at": rfc3339(made.expires_at)}, made.token)


def _since(instant: datetime | None) -> str | None:
    return None if instant is None else rfc3339(instant)


_WORK: Mapping[Kind, Callable[[_Task], _Done]] = {
    Kind.ACCESS: _hand_out,
    Kind.PORTABILITY: _hand_out,
    Kind.RECTIFICATION: _rectify,
    Kind.ERASURE: _erase,
    Kind.RESTRICTION: _restrict,
    Kind.OBJECTION: _object,
    Kind.SHARE: _share,
}

_LIFTED: Mapping[Kind, tuple[str, Callable[[Session, Device, datetime], bool]]] = {
    Kind.RESTRICTION: (
        "device.restrict",
        lambda session, device, now: objections.restrict(
            session, device, lift=True, now=now
        ),
    ),
    Kind.OBJECTION: (
        "device.object",
        lambda session, device, now: objections.leave_out(
            session, device, withdraw=True, now=now
        ),
    ),
}

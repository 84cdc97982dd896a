# SPDX-License-Identifier: Apache-2.0
"""Takes back what was released, by two people: one asks, another confirms.

A reversed voucher can be redeemed again; for the same PBX it then gives the release
code that it gave before. A code that a person has typed into an offline PBX works
there until that PBX syncs.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from fleet.database import transaction
from fleet.devices.models import Device
from fleet.devices.registry import locked
from fleet.staff import audit
from fleet.staff.roles import StaffMember
from voucher.errors import (
    NothingToConfirm,
    NotInForce,
    SecondPersonNeeded,
    UnknownRelease,
)
from voucher.models import Batch, LedgerEntry, ReleaseCode, Voucher
from voucher.service import ledger
from voucher.service.desk.moves import lock_vouchers
from voucher.service.ledger import BEGINS, ENDS, Kind

REQUEST_LASTS = timedelta(days=7)
"""Who confirms later than that might confirm what nobody wants any more."""


@dataclass(frozen=True, repr=False)
class _Case:
    """A release under its PBX's lock, and what the ledger says last of it."""

    release: ReleaseCode
    device: Device
    last: LedgerEntry | None

    def asked_by(self, now: datetime) -> str | None:
        """Return who has asked for the reversal, if that can be confirmed."""
        if self.last is None or self.last.kind != Kind.REVERSAL_REQUESTED:
            return None
        if now - self.last.happened_at >= REQUEST_LASTS:
            return None
        return self.last.actor


def request(release_id: int, *, reason: str, by: StaffMember, now: datetime) -> None:
    """Ask for a reversal; asked again by the same person, it changes nothing.

    Where several people have asked, the last of them has. Raises
    ``UnknownRelease``, and ``NotInForce`` for what was moved or reversed.
    """
    with transaction() as session:
        case = _locked(session, release_id)
        if case.last is not None and case.last.kind in ENDS:
            raise NotInForce
        asked_by = case.asked_by(now)
        if asked_by is not None and _is_same(asked_by, by.owner):
            return
        _write(session, case, Kind.REVERSAL_REQUESTED, reason=reason, by=by, now=now)
        _note(session, case, "reversal-request", reason=reason, by=by, now=now)


def confirm(release_id: int, *, reason: str, by: StaffMember, now: datetime) -> None:
    """Reverse what somebody else has asked to; repeated, it changes nothing.

    Raises ``UnknownRelease``, ``SecondPersonNeeded``, and ``NothingToConfirm``
    where nobody has asked, or not in the last days.
    """
    with transaction() as session:
        case = _locked(session, release_id)
        asked_by = case.asked_by(now)
        if asked_by is None:
            if _was_done(case, by):
                return
            raise NothingToConfirm
        if _is_same(asked_by, by.owner):
            raise SecondPersonNeeded
        _lock_batch(session, case.release)
        lock_vouchers(session, [case.release])
        _write(session, case, Kind.REVERSED, reason=reason, by=by, now=now)
        if case.release.voucher_id is not None:
            voucher = session.get_one(Voucher, case.release.voucher_id)
            voucher.redeemed_at = voucher.redeemed_by_id = None
            session.flush()
        _note(session, case, "reversal", reason=reason, by=by, now=now)


def _locked(session: Session, release_id: int) -> _Case:
    row = session.execute(
        select(ReleaseCode, Device.serial_number)
        .join(Device, Device.id == ReleaseCode.device_id)
        .where(ReleaseCode.id == release_id)
    ).one_or_none()
    if row is None:
        raise UnknownRelease
    released, serial_number = row
    device = locked(session, serial_number)
    kinds = [*BEGINS, *ENDS, Kind.REVERSAL_REQUESTED]
    last = session.scalars(
        select(LedgerEntry)
        .where(LedgerEntry.release_id == released.id, LedgerEntry.kind.in_(kinds))
        .order_by(LedgerEntry.id.desc())
        .limit(1)
    ).one_or_none()
    return _Case(released, device, last)


def _lock_batch(session: Session, release: ReleaseCode) -> None:
    """Wait for whoever is selling a range: what it read is to stay as it was.

    It leaves redeemed vouchers unlocked (``voucher.service.trade.selections``), and
    here one ceases to be redeemed.
    """
    session.execute(
        select(Batch.id)
        .join(Voucher, Voucher.batch_id == Batch.id)
        .where(Voucher.id == release.voucher_id)
        .with_for_update(of=Batch, key_share=True)
    )


def _is_same(one: str, other: str) -> bool:
    """Whether two names are one person's; capitals and spaces make no second one."""
    return "".join(one.casefold().split()) == "".join(other.casefold().split())


def _was_done(case: _Case, by: StaffMember) -> bool:
    if case.last is None or case.last.kind != Kind.REVERSED:
        return False
    return _is_same(case.last.actor, by.owner)


def _write(
    session: Session,
    case: _Case,
    kind: Kind,
    *,
    reason: str,
    by: StaffMember,
    now: datetime,
) -> None:
    ledger.write(
        session,
        kind,
        actor=by.owner,
        reason=reason,
        voucher_id=case.release.voucher_id,
        release_id=case.release.id,
        device_id=case.device.id,
        now=now,
    )


def _note(
    session: Session,
    case: _Case,
    verb: str,
    *,
    reason: str,
    by: StaffMember,
    now: datetime,
) -> None:
    """Write it into the audit log: of the voucher, or of the PBX without one."""
    subject = f"device:{case.device.serial_number}"
    if case.release.voucher_id is not None:
        subject = f"voucher:{case.release.voucher_id}"
    told = {
        "release_id": case.release.id,
        "serial_number": case.device.serial_number,
    }
    audit.record(
        session,
        actor=by,
        action=f"release.{verb}",
        subject=subject,
        reason=reason,
        before=told if verb == "reversal" else {},
        after={} if verb == "reversal" else told,
        now=now,
    )

# SPDX-License-Identifier: Apache-2.0
"""What happened to one voucher or on one PBX, for whoever is asked about it.

A dealer is told when and how, and no more: who on the staff it was, and why, is
the vendor's; and a PBX is its owner's, of which a dealer sees the end of the
serial number, enough to know it again.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from fleet.database import reading
from fleet.devices.errors import UnknownDevice
from fleet.devices.models import Device
from fleet.errors import Refusal
from fleet.identity.guard import DeviceNotPermitted
from voucher import errors
from voucher.functions import Function, functions_of
from voucher.models import LedgerEntry, RedemptionRefusal, Voucher
from voucher.release_code import MOST_SEQUENCE
from voucher.service import ledger
from voucher.service.desk.standings import Released, of_device_id

# The newest; whoever has more of either is looked at with other eyes anyway.
MOST_ENTRIES = 500
MOST_REFUSALS = 100

SERIAL_SHOWN = 4
"""How much of a serial number a dealer sees."""

# Why a redemption was refused, by the code of the problem.
_REASONS = {
    each.code: each.reason
    for each in (
        UnknownDevice,
        DeviceNotPermitted,
        *(kind for kind in vars(errors).values() if isinstance(kind, type)),
    )
    if issubclass(each, Refusal) and hasattr(each, "code")
}


@dataclass(frozen=True, repr=False)
class Happened:
    """One entry of the ledger; ``actor`` also says "pbx" or "browser"."""

    id: int
    happened_at: datetime
    kind: str
    actor: str
    reason: str
    voucher_id: int | None
    release_id: int | None
    serial_number: str | None
    serial_last_four: str | None


@dataclass(frozen=True, repr=False)
class Refused:
    """That a redemption was refused, and why; ``last_four`` is the voucher's."""

    happened_at: datetime
    problem: str
    why: str
    way: str
    voucher_id: int | None
    last_four: str | None
    serial_number: str | None
    serial_last_four: str | None


@dataclass(frozen=True, repr=False)
class OfDevice:
    """One PBX as support needs it: what it may, what it got, what went wrong."""

    serial_number: str
    device_type: str
    functions: Sequence[Function]
    next_expiry: date | None
    releases: Sequence[Released]
    release_codes_left: int
    history: Sequence[Happened]
    refusals: Sequence[Refused]


def of_device(serial_number: str, *, now: datetime) -> OfDevice:
    """Return all that is known of one PBX; raise ``UnknownDevice``."""
    with reading() as session:
        device = session.scalars(
            select(Device).where(Device.serial_number == serial_number)
        ).one_or_none()
        if device is None:
            raise UnknownDevice
        terms = ledger.terms_of(session, [device.id])[device.id]
        functions = functions_of(terms, now)
        ends = [each.expires_on for each in functions if each.expires_on]
        releases = of_device_id(session, device.id, now=now)
        last = max((each.sequence for each in releases), default=0)
        return OfDevice(
            serial_number=device.serial_number,
            device_type=device.device_type,
            functions=functions,
            next_expiry=min(ends, default=None),
            releases=releases,
            release_codes_left=MOST_SEQUENCE - last,
            history=_entries(session, LedgerEntry.device_id == device.id),
            refusals=_refusals(session, RedemptionRefusal.device_id == device.id),
        )


def of_voucher(
    session: Session, voucher: Voucher, *, dealer: str = ""
) -> tuple[list[Happened], list[Refused]]:
    """Return what happened to a voucher, also in ranges, and how it was refused.

    Newest first. A ``dealer`` is told what a dealer may know, from when the
    voucher was theirs.
    """
    # Two questions rather than one with "or": each is one range of one index.
    history = _entries(session, LedgerEntry.voucher_id == voucher.id) + _entries(
        session,
        LedgerEntry.batch_id == voucher.batch_id,
        LedgerEntry.first_number <= voucher.number,
        LedgerEntry.last_number >= voucher.number,
    )
    history.sort(key=lambda each: each.id, reverse=True)
    refusals = _refusals(session, RedemptionRefusal.voucher_id == voucher.id)
    if not dealer:
        return history, refusals
    since = voucher.allocated_at
    if since is None:
        return [], []
    return (
        [
            replace(each, actor=_way(each.actor), reason="", serial_number=None)
            for each in history
            if each.happened_at >= since
        ],
        [
            replace(each, serial_number=None)
            for each in refusals
            if each.happened_at >= since
        ],
    )


def end_of(serial_number: str | None) -> str | None:
    """Return what anybody may see of a serial number."""
    return None if serial_number is None else serial_number[-SERIAL_SHOWN:]


def _way(actor: str) -> str:
    return actor if actor in {"pbx", "browser"} else "staff"


def _entries(session: Session, *conditions: ColumnElement[bool]) -> list[Happened]:
    rows = session.execute(
        select(LedgerEntry, Device.serial_number)
        .outerjoin(Device, Device.id == LedgerEntry.device_id)
        .where(*conditions)
        .order_by(LedgerEntry.id.desc())
        .limit(MOST_ENTRIES)
    )
    return [
        Happened(
            id=entry.id,
            happened_at=entry.happened_at,
            kind=entry.kind,
            actor=entry.actor,
            reason=entry.reason,
            voucher_id=entry.voucher_id,
            release_id=entry.release_id,
            serial_number=serial_number,
            serial_last_four=end_of(serial_number),
        )
        for entry, serial_number in rows
    ]


def _refusals(session: Session, condition: ColumnElement[bool]) -> list[Refused]:
    rows = session.execute(
        select(RedemptionRefusal, Device.serial_number, Voucher.last_four)
        .outerjoin(Device, Device.id == RedemptionRefusal.device_id)
        .outerjoin(Voucher, Voucher.id == RedemptionRefusal.voucher_id)
        .where(condition)
        .order_by(RedemptionRefusal.id.desc())
        .limit(MOST_REFUSALS)
    )
    return [
        Refused(
            happened_at=refusal.happened_at,
            problem=refusal.problem,
            why=_REASONS.get(refusal.problem, ""),
            way=refusal.way,
            voucher_id=refusal.voucher_id,
            last_four=last_four,
            serial_number=serial_number,
            serial_last_four=end_of(serial_number),
        )
        for refusal, serial_number, last_four in rows
    ]

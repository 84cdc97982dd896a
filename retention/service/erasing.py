# SPDX-License-Identifier: Apache-2.0
"""Erases what is stored about one PBX, and says what, and what the law keeps.

While the PBX is supported its owner needs what was sold for it, and so do we, to give
it (GDPR, article 17 (3)(e)): that stays, and the receipt says so. After the end of
support all goes, and with it the PBX's licence. The receipt names nobody. Who erased
stands in the audit log, whose hash the receipt holds: so neither can be changed alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from fleet.clock import rfc3339
from fleet.database import (
    WRITER_WAIT_SECONDS,
    Base,
    afterwards,
    db,
    transaction,
)
from fleet.devices import forgetting, registry
from fleet.devices.models import Device
from fleet.devices.serial_numbers import normalise_serial
from fleet.staff import audit
from fleet.staff.models import AuditEntry
from fleet.staff.roles import StaffMember
from retention.errors import ErasureEndsService
from retention.models import DataShare, RightsRequest
from retention.policies import Category, Erasure, load
from retention.service.marks import Mark, mark

# The longest that an answer waits for a reader who is in the way.
WIPE_WAITS_MS = 500

# What a request keeps once its PBX is gone: that it was made, when, and what was done.
_NO_WORDS: Mapping[str, object] = {
    "device_id": None,
    "verified_by": "",
    "reason": "",
    "extended_because": "",
    "answer": "",
}


@dataclass(frozen=True)
class Erased:
    """What an erasure did: how many rows or fields went, and what stays, and why.

    ``wholly``: the PBX is no longer registered.
    """

    wholly: bool
    erased: Mapping[str, int]
    kept: Sequence[Category]

    @property
    def counted(self) -> list[str]:
        """How much of what, for the audit log, which takes no name of a secret."""
        return [f"{count} {what}" for what, count in sorted(self.erased.items())]


def plan(serial_number: str, *, now: datetime) -> Erased:
    """Return what an erasure would do; nothing is changed.

    Raises ``UnknownDevice``.
    """
    with transaction() as session:
        device = registry.locked(session, normalise_serial(serial_number))
        before = session.begin_nested()
        try:
            wholly = not forgetting.is_supported(device, now)
            return forget(session, device, wholly=wholly, now=now)
        finally:
            before.rollback()


def erase(
    session: Session,
    device: Device,
    *,
    ends_service: bool,
    request_id: int,
    by: StaffMember,
    now: datetime,
) -> Mapping[str, object]:
    """Erase a PBX whose row is locked, as a request wants; return the receipt.

    Raises ``ErasureEndsService`` for a PBX that would lose its licence, where nobody
    has said that it may.
    """
    wholly = not forgetting.is_supported(device, now)
    if wholly and not ends_service:
        raise ErasureEndsService
    serial_number = device.serial_number
    done = forget(session, device, wholly=wholly, now=now)
    kind = Mark.ERASED_WHOLLY if wholly else Mark.ERASED
    mark_id = mark(session, kind, serial_number, now=now)
    entry = audit.record(
        session,
        actor=by,
        action="device.erase",
        subject=f"device:{serial_number}",
        reason=f"rights request {request_id}",
        before={},
        after={"wholly": done.wholly, "erased": done.counted},
        now=now,
    )
    return receipt(session, done, entry=entry, mark_id=mark_id, now=now)


def forget(session: Session, device: Device, *, wholly: bool, now: datetime) -> Erased:
    """Erase a PBX whose row is locked, in all rooms, and wipe it off the disk.

    Not ``wholly`` is what may go while it is supported.
    """
    afterwards(session, wipe)
    shares = session.execute(
        delete(DataShare)
        .where(DataShare.device_id == device.id)
        .returning(DataShare.id)
    )
    gone = {"data_share": len(shares.all())}
    if wholly:
        requests = session.execute(
            update(RightsRequest)
            .where(RightsRequest.device_id == device.id)
            .values(_NO_WORDS)
            .returning(RightsRequest.id)
        )
        gone["rights_request.device_id"] = len(requests.all())
    gone |= forgetting.forget(session, device, keep_contract=not wholly, now=now)
    return Erased(wholly, {k: v for k, v in gone.items() if v}, kept(wholly=wholly))


def kept(*, wholly: bool) -> list[Category]:
    """Return what an erasure leaves, by the registry, of what names the PBX."""
    found = [
        each
        for each in load()
        if each.erasure is Erasure.KEEP and each.subject and not each.coming
    ]
    return [each for each in found if not _goes(each)] if wholly else found


def receipt(
    session: Session, done: Erased, *, entry: int, mark_id: str, now: datetime
) -> dict[str, object]:
    """Return what whoever asked is given, and what is kept of it: it names nobody."""
    chained = session.scalars(
        select(AuditEntry.hash).where(AuditEntry.id == entry)
    ).one()
    return told(done) | {
        "erased_at": rfc3339(now),
        "audit_entry": entry,
        "audit_hash": chained.hex(),
        "mark": mark_id,
    }


def told(done: Erased) -> dict[str, object]:
    """Return what an erasure did, or would do, as a receipt says it."""
    return {
        "wholly": done.wholly,
        "erased": [{"what": k, "count": v} for k, v in sorted(done.erased.items())],
        "kept": [
            {
                "category": each.name,
                "title": {k.value: v for k, v in each.title.items()},
                "why": {k.value: v for k, v in each.erasure_why.says.items()},
            }
            for each in done.kept
        ],
    }


def wipe() -> bool:
    """Take what was erased out of SQLite's log, too; say whether that is done.

    The database file itself has nothing of it any more (``secure_delete``). Where a
    reader is in the way, the next run of retention does it.
    """
    if db.engine.dialect.name != "sqlite":
        return True
    connection = db.engine.raw_connection()
    try:
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout = {WIPE_WAITS_MS}")
        cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        answer = cursor.fetchone()
        cursor.execute(f"PRAGMA busy_timeout = {WRITER_WAIT_SECONDS * 1000}")
        return answer is not None and not answer[0]
    finally:
        connection.close()


def _goes(category: Category) -> bool:
    """Whether a category is gone with the PBX's own row: all of it refers to that."""
    return all(
        name == Device.__tablename__
        or any(
            each.column.table.name == Device.__tablename__
            for each in Base.metadata.tables[name].foreign_keys
        )
        for name in category.tables
    )

# SPDX-License-Identifier: Apache-2.0
"""Does again, after a restore of an older database, what was done since.

Before anything is served, and at each run of the job: a mark in the file that is not in
the table was forgotten by the database, so what it stands for is not done any more.
It is done again in the order of those days, each in a transaction with its mark.
"""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from fleet.database import reading, transaction
from fleet.devices import registry
from fleet.devices.forgetting import LAST_ZONE, is_supported
from fleet.devices.models import Device
from fleet.ground import ground
from fleet.keys.errors import MissingKey
from fleet.staff import audit
from fleet.staff.roles import Role, StaffMember
from retention.models import RightsMark
from retention.service import erasing
from retention.service.mark_file import Line
from retention.service.marks import PURPOSE, Mark, digest, keep_all, mark_file, row_of

log = logging.getLogger(__name__)

_BY = StaffMember(None, "cli:retention", Role.OPERATOR)
_TOGETHER = 5_000


@dataclass(frozen=True)
class Repeated:
    """How many marks were done again, and how many cannot be for want of a key."""

    done: int
    unreadable: int
    kept: int


def repeat(now: datetime) -> Repeated:
    """Do again what the database has forgotten; quick where it has forgotten nothing.

    Marks of this database that the file does not have are added to it. Raises
    ``MarksNotKept``.
    """
    lines = mark_file().lines()
    with reading() as session:
        known = set(session.scalars(select(RightsMark.id)))
    missing = [each for each in lines if each.id not in known]
    serials, unreadable = _serials_of(missing)
    done = 0
    for each in missing:
        if each.id not in unreadable:
            done += _do_again(each, serials.get(each.id), now)
    if done:
        log.warning("%d erasures, objections and restrictions were done again", done)
    if unreadable:
        log.error("%d marks cannot be read: their key is missing", len(unreadable))
    return Repeated(done, len(unreadable), keep_all())


def _serials_of(lines: Iterable[Line]) -> tuple[Mapping[str, str], set[str]]:
    """Return which PBX each mark is of, by its id, and whose key is missing.

    A PBX that is not registered is in neither.
    """
    wanted: dict[int, dict[bytes, list[str]]] = {}
    for each in lines:
        of_key = wanted.setdefault(each.key_version, {})
        of_key.setdefault(each.serial_digest, []).append(each.id)
    found: dict[str, str] = {}
    unreadable: set[str] = set()
    for version, digests in wanted.items():
        try:
            key = ground().keyring.get(PURPOSE, version)
        except MissingKey:
            unreadable.update(each for ids in digests.values() for each in ids)
            continue
        with reading() as session:
            every = session.scalars(
                select(Device.serial_number).execution_options(yield_per=_TOGETHER)
            )
            for serial_number in every:
                for mark_id in digests.get(digest(key, serial_number), ()):
                    found[mark_id] = serial_number
    return found, unreadable


def _do_again(line: Line, serial_number: str | None, now: datetime) -> int:
    """Do one again with its mark; of a PBX that is gone anyway, only the mark."""
    with transaction() as session:
        if not _take(session, line):
            return 0  # another process was quicker
        device = None
        if serial_number is not None:
            device = session.scalars(
                select(Device)
                .where(Device.serial_number == serial_number)
                .with_for_update()
                .execution_options(populate_existing=True)
            ).one_or_none()
        if device is None:
            return 1
        after = _done(session, line, device, now)
        audit.record(
            session,
            actor=_BY,
            action="device.rights-again",
            subject=f"device:{serial_number}",
            reason="An older database was restored.",
            before={},
            after=after,
            now=now,
        )
        return 1


def _take(session: Session, line: Line) -> bool:
    row = row_of(line)
    values = {each.key: getattr(row, each.key) for each in RightsMark.__table__.columns}
    is_sqlite = session.get_bind().dialect.name == "sqlite"
    insert = sqlite.insert if is_sqlite else postgresql.insert
    taken = session.execute(
        insert(RightsMark)
        .values(values)
        .on_conflict_do_nothing()
        .returning(RightsMark.id)
    )
    return taken.first() is not None


def _done(
    session: Session, line: Line, device: Device, now: datetime
) -> Mapping[str, object]:
    kind = Mark(line.kind)
    if kind is Mark.OBJECTED:
        device.objected_at = line.happened_at
    elif kind is Mark.OBJECTION_WITHDRAWN:
        device.objected_at = None
    elif kind is Mark.RESTRICTED:
        device.restricted_at = line.happened_at
    elif kind is Mark.RESTRICTION_LIFTED:
        device.restricted_at = None
    else:
        if kind is Mark.ERASED_WHOLLY and is_supported(device, now):
            _end_support(session, line, device, now)
        wholly = kind is Mark.ERASED_WHOLLY
        done = erasing.forget(session, device, wholly=wholly, now=now)
        return {"mark": kind.value, "erased": done.counted}
    return {"mark": kind.value}


def _end_support(session: Session, line: Line, device: Device, now: datetime) -> None:
    """Let support be over, as it was when the PBX was erased.

    The older database may not know yet; and it believes only what the audit log has
    said before (migration 0003).
    """
    ended_on = (line.happened_at.astimezone(UTC) - LAST_ZONE).date() - timedelta(days=1)
    before = device.support_ends_on
    audit.record(
        session,
        actor=_BY,
        action="device.change",
        subject=f"device:{device.serial_number}",
        reason="An older database was restored.",
        before={"support_ends_on": before},
        after={"support_ends_on": ended_on},
        now=now,
    )
    registry.change(device.serial_number, support_ends_on=ended_on)

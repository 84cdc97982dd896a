# SPDX-License-Identifier: Apache-2.0
"""Deletes what is too old by the registry, where no other job does (a job).

Two kinds: rows whose age is counted from an instant of their own, such as an answered
request; and whole PBXs, years after their support ended and they were last heard of.
What was sold for a PBX that is supported, proofs and counters are never touched,
whatever the registry says.

Both walk a table by its primary key, a slice at a time. Each slice is read first, and
written only if something in it is too old: no long transaction, no index of its own.
"""

import logging
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

from sqlalchemy import ColumnElement, Table, delete, exists, or_, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from fleet.database import Base, afterwards, reading, transaction
from fleet.devices import registry
from fleet.devices.errors import UnknownDevice
from fleet.devices.models import Device
from fleet.server.models import Outage
from fleet.server.pulse import ClockNotTrusted, timekeeper
from fleet.staff import audit
from fleet.staff.roles import Role, StaffMember
from retention import policies
from retention.ages import LAST_ZONE, Support
from retention.policies import Category
from retention.service import erasing

log = logging.getLogger(__name__)

# What categories call this job.
JOB = "forget-by-age"

# Nothing here is ever deleted for its age alone, by row.
PROTECTED = frozenset(
    {
        "access_count",
        "access_record",  # the runs of retention delete it, and count it first
        "audit_entry",
        "day_seal",
        "device",
        "ledger_entry",
        "release_code",
        "retention_entry",
        "rights_mark",
        "voucher",
    }
)

SLICE = 1_000
MOST_PBXS = 100

# A gap in the pulse so long may be a clock that leaped; for so long it is doubted.
LONG_OUTAGE = timedelta(days=30)
LEAP_IS_RECENT = timedelta(days=7)

# As whom the audit log names what no person did.
_BY = StaffMember(None, "cli:retention", Role.OPERATOR)


class Unforgettable(RuntimeError):  # noqa: N818 -- a fault of the registry, not of a caller
    """The registry wants rows deleted by age from a table that is protected."""


def forget(now: datetime) -> dict[str, int]:
    """Delete what is too old; return how many rows of each table, PBXs as ``device``.

    Safe to repeat and to break off: what is due is read from the data. By a clock that
    may be wrong nothing is deleted: a PBX could lose its licence for ever, and what is
    kept for years can wait for a week.
    """
    gone: Counter[str] = Counter()
    if not _clock_is_trusted(now):
        log.warning("nothing is forgotten by age: the clock may have leaped")
        return {}
    for category, table in rows_by_age():
        gone[table.name] += _forget_rows(category, table, now)
    gone["device"] = _forget_pbxs(now)
    return {name: count for name, count in sorted(gone.items()) if count}


def rows_by_age() -> Iterator[tuple[Category, Table]]:
    """Yield the categories that are deleted row by row, each with its table.

    A table of which several categories are kept under one rule comes once. Raises
    ``Unforgettable`` for a protected table.
    """
    seen: set[str] = set()
    for category in policies.load():
        if JOB not in category.done_by or isinstance(category.age, Support):
            continue
        for name in category.tables:
            if name in PROTECTED:
                raise Unforgettable(f"{category.name}: {name} is protected")
            if name not in seen:
                seen.add(name)
                yield category, Base.metadata.tables[name]


def is_forgotten(device: Device, session: Session, now: datetime) -> bool:
    """Whether a PBX is out of support, and silent, for so long that it goes unasked."""
    rule, _ = _pbxs()
    found = session.scalar(
        select(Device.id).where(Device.id == device.id, *_too_long_ago(rule, now))
    )
    return found is not None


def _clock_is_trusted(now: datetime) -> bool:
    """Whether this clock agrees with the pulse, and has not leaped of late.

    A leap forward is recorded as an outage of its length, which nobody can tell from
    a real one: an operator has a week to see which it was (``callhome clock``).
    """
    try:
        timekeeper().now()
    except ClockNotTrusted:
        return False
    with reading() as session:
        recent = session.execute(
            select(Outage.began_at, Outage.ended_at).where(
                Outage.ended_at > now - LEAP_IS_RECENT, Outage.ended_at <= now
            )
        ).all()
    return all(each.ended_at - each.began_at <= LONG_OUTAGE for each in recent)


def _forget_rows(category: Category, table: Table, now: datetime) -> int:
    cutoff = category.age.cutoff(now)
    if cutoff is None:
        return 0
    [key] = table.primary_key
    starts = (table.c[name] for name in category.start_of(table.name))
    too_old = [or_(*(each <= cutoff for each in starts)), *_unreferenced(table)]
    gone = 0
    for found in _slices(key, too_old):
        with transaction() as session:
            afterwards(session, erasing.wipe)
            deleted = session.execute(
                delete(table).where(key.in_(found), *too_old).returning(key)
            )
            gone += len(deleted.all())
    return gone


def _forget_pbxs(now: datetime) -> int:
    """Erase what is left of PBXs that nobody has used for years; return how many."""
    rule, _ = _pbxs()
    gone = 0
    for found in _slices(Device.__table__.c.id, _too_long_ago(rule, now)):
        with reading() as session:
            some = select(Device.serial_number).where(Device.id.in_(found))
            serials = session.scalars(some).all()
        for serial in serials[: MOST_PBXS - gone]:
            gone += _forget_pbx(serial, now)
        if gone >= MOST_PBXS:
            break  # the rest next time: each is a transaction that others wait for
    return gone


def _forget_pbx(serial_number: str, now: datetime) -> int:
    try:
        with transaction() as session:
            device = registry.locked(session, serial_number)
            if not is_forgotten(device, session, now):
                return 0
            done = erasing.forget(session, device, wholly=True, now=now)
            audit.record(
                session,
                actor=_BY,
                action="device.forget",
                subject=f"device:{serial_number}",
                reason="out of support, and not heard of for years",
                before={},
                after={"erased": done.counted},
                now=now,
            )
    except UnknownDevice:
        return 0  # somebody has erased it meanwhile
    except DBAPIError as fault:
        # The database itself thinks otherwise; the next one may still go.
        log.warning("a PBX was not forgotten: %s", type(fault.orig).__name__)
        return 0
    return 1


def _pbxs() -> tuple[Support, Category]:
    """Return the rule by which PBXs are forgotten, and its category."""
    category = policies.load()["pbx"]
    if not isinstance(category.age, Support):
        raise Unforgettable("pbx: its age is not that of its support")
    return category.age, category


def _too_long_ago(rule: Support, now: datetime) -> list[ColumnElement[bool]]:
    """Return the conditions that the rule's ``ends_at`` is reached, for ``Device``."""
    _, category = _pbxs()
    cutoff = rule.cutoff(now)
    devices: Table = Device.__table__  # type: ignore[assignment] # it is a table
    if cutoff is None:
        return [devices.c.id.is_(None)]
    conditions = [devices.c.support_ends_on <= last_day_before(cutoff)]
    for column in category.use_columns:
        table, _, name = column.partition(".")
        used = Base.metadata.tables[table]
        owner = used.c[policies.load().subject_of(table)]
        conditions.append(~exists().where(owner == devices.c.id, used.c[name] > cutoff))
    return conditions


def last_day_before(instant: datetime) -> date:
    """Return the last day that has ended everywhere on Earth at ``instant``."""
    return instant.astimezone(UTC).astimezone(LAST_ZONE).date() - timedelta(days=1)


def _unreferenced(table: Table) -> list[ColumnElement[bool]]:
    """Return the conditions that no row refers to this one: it would fail, and wait."""
    return [
        ~exists().where(key.parent == key.column)
        for other in Base.metadata.tables.values()
        for key in other.foreign_keys
        if key.column.table is table
    ]


def _slices(
    key: ColumnElement[int], too_old: list[ColumnElement[bool]]
) -> Iterator[list[int]]:
    """Yield the keys of what is too old, those of one slice of the table at a time."""
    after: int | None = None
    while True:
        beyond = [] if after is None else [key > after]
        with reading() as session:
            some = select(key).where(*beyond).order_by(key).limit(SLICE)
            within = session.scalars(some).all()
            if not within:
                return
            after = within[-1]
            found = session.scalars(
                select(key).where(*beyond, key <= after, *too_old).order_by(key)
            ).all()
        if found:
            yield list(found)

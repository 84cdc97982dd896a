# SPDX-License-Identifier: Apache-2.0
"""What the staff changed: who, when, what, why, before and after.

An entry is written in the transaction of the change itself: both are there or
neither is. Entries are numbered without a gap and each holds the SHA-256 of the
one before, so that a change, a gap or an insertion shows even to somebody who
got past the database's triggers. Only the end of the chain could be cut off
unseen: ``verify_chain`` returns its last hash, to be noted somewhere else.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from sqlalchemy import ColumnElement, select, text
from sqlalchemy.orm import Session

from fleet.clock import rfc3339
from fleet.database import reading
from fleet.staff.models import AuditEntry
from fleet.staff.roles import StaffMember
from fleet.web.paging import Order, Page

FIRST_PREVIOUS = bytes(32)

# "audit" in ASCII: nobody else in this database locks this number.
_LOCK = 0x6175646974
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ORDER = Order("audit", {AuditEntry.id: int}, descending=True)

# A name that ends so says that its value is a secret; that does not belong here.
_SECRET_NAMES = (
    "secret",
    "password",
    "token",
    "private_key",
    "release_key",
    "release_code",
    "voucher_code",
)


@dataclass(frozen=True)
class AuditFacts:
    """One entry, for readers."""

    id: int
    happened_at: datetime
    actor: str
    role: str
    action: str
    subject: str
    reason: str
    before: Mapping[str, object]
    after: Mapping[str, object]
    hash: str


@dataclass(frozen=True)
class Wanted:
    """Which entries: those that agree with all that is given.

    From ``since`` on, and before ``until``.
    """

    subject: str | None = None
    actor: str | None = None
    action: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        """Return the same for a statement."""
        conditions = [
            column == value
            for column, value in (
                (AuditEntry.subject, self.subject),
                (AuditEntry.actor, self.actor),
                (AuditEntry.action, self.action),
            )
            if value is not None
        ]
        if self.since is not None:
            conditions.append(AuditEntry.happened_at >= self.since)
        if self.until is not None:
            conditions.append(AuditEntry.happened_at < self.until)
        return conditions


@dataclass(frozen=True)
class ChainReport:
    """What became of the chain: ``broken_at`` is the first entry that is wrong."""

    entries: int
    last_hash: str
    broken_at: int | None = None
    fault: str | None = None

    @property
    def whole(self) -> bool:
        """Whether every entry is as it was written."""
        return self.broken_at is None


def record(  # noqa: PLR0913 -- who, what, to whom, why, before, after, when
    session: Session,
    *,
    actor: StaffMember,
    action: str,
    subject: str,
    reason: str,
    before: Mapping[str, object],
    after: Mapping[str, object],
    now: datetime,
) -> int:
    """Write down a change in the caller's transaction; return the entry's number.

    ``action`` is ``thing.verb``, ``subject`` ``thing:id``; ``before`` and
    ``after`` hold what changed: texts, numbers, instants, lists of them. Call it
    last in a transaction: on PostgreSQL all writers of the log queue from here
    to the commit.

    Raises ``ValueError`` for a value that is named like a secret, and
    ``TypeError`` for one that cannot be written down.
    """
    if session.get_bind().dialect.name == "postgresql":
        # SQLite has one writer at a time anyway.
        session.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    last = session.execute(
        select(AuditEntry.id, AuditEntry.hash).order_by(AuditEntry.id.desc()).limit(1)
    ).first()
    entry = AuditEntry(
        id=last.id + 1 if last else 1,
        happened_at=now,
        actor=actor.owner,
        role=actor.role,
        action=action,
        subject=subject,
        reason=reason,
        before=_written(before),
        after=_written(after),
        previous_hash=last.hash if last else FIRST_PREVIOUS,
        hash=b"",
    )
    entry.hash = _hash(entry)
    session.add(entry)
    session.flush()  # the next entry of this transaction must see it
    return entry.id


def entries(
    wanted: Wanted, *, limit: int, cursor: str | None = None
) -> Page[AuditFacts]:
    """List the entries that are ``wanted``, newest first.

    Raises ``Invalid`` for a bad cursor.
    """
    statement = select(AuditEntry).where(_ORDER.after(cursor), *wanted.conditions())
    with reading() as session:
        rows = session.scalars(statement.order_by(*_ORDER.by).limit(limit + 1)).all()
    return _ORDER.page(rows, limit=limit, position=lambda row: (row.id,), view=_facts)


def verify_chain(session: Session) -> ChainReport:
    """Read all entries in order and say whether each is as it was written."""
    previous, count = FIRST_PREVIOUS, 0
    statement = select(AuditEntry).order_by(AuditEntry.id)
    # As the database has them now, not as this session remembers them.
    fresh = statement.execution_options(yield_per=500, populate_existing=True)
    with session.scalars(fresh) as chain:
        for entry in chain:
            fault = _fault(entry, expected_id=count + 1, previous=previous)
            if fault is not None:
                return ChainReport(count, previous.hex(), count + 1, fault)
            previous, count = entry.hash, count + 1
    return ChainReport(count, previous.hex())


def _fault(entry: AuditEntry, *, expected_id: int, previous: bytes) -> str | None:
    if entry.id != expected_id:
        return "missing"
    if entry.previous_hash != previous:
        return "does not follow the entry before"
    if entry.hash != _hash(entry):
        return "changed after it was written"
    return None


def _hash(entry: AuditEntry) -> bytes:
    """Return the SHA-256 of all fields, in an encoding that has one reading."""
    fields = [
        "callhome audit entry 1",
        entry.id,
        (entry.happened_at - _EPOCH) // timedelta(microseconds=1),
        entry.actor,
        str(entry.role),
        entry.action,
        entry.subject,
        entry.reason,
        entry.before,
        entry.after,
        entry.previous_hash.hex(),
    ]
    canonical = json.dumps(fields, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode("ascii")).digest()


def _written(values: Mapping[str, object]) -> str:
    _refuse_secrets(values)
    return json.dumps(values, sort_keys=True, ensure_ascii=False, default=_spelled)


def _refuse_secrets(values: Mapping[str, object]) -> None:
    for name, value in values.items():
        if name.endswith(_SECRET_NAMES):
            raise ValueError(f"{name} is named like a secret: not for the audit log")
        if isinstance(value, Mapping):
            _refuse_secrets(value)


def _spelled(value: object) -> str:
    if isinstance(value, datetime):
        return rfc3339(value)
    if isinstance(value, date):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} cannot be written to the audit log")


def _facts(entry: AuditEntry) -> AuditFacts:
    return AuditFacts(
        id=entry.id,
        happened_at=entry.happened_at,
        actor=entry.actor,
        role=entry.role,
        action=entry.action,
        subject=entry.subject,
        reason=entry.reason,
        before=json.loads(entry.before),
        after=json.loads(entry.after),
        hash=entry.hash.hex(),
    )

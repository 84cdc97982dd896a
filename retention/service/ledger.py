# SPDX-License-Identifier: Apache-2.0
"""What retention did, run by run: a proof for those who must answer for it.

Entries are numbered without a gap and each holds the SHA-256 of the one before, as
in the audit log (``fleet.staff.audit``). They hold counts, instants and who began
the run (the job, the command line, a role), and nobody's name. A run has an entry
where it ``began`` and one where it ``ended`` or ``failed``; one with nothing to do
has none, or one a day, ``idle``.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta

from sqlalchemy import Connection, func, insert, select, text

from fleet.clock import rfc3339
from fleet.database import reading
from fleet.web.paging import Order, Page
from retention.models import RetentionEntry

FIRST_PREVIOUS = bytes(32)

BEGAN = "began"
ENDED = "ended"
FAILED = "failed"
IDLE = "idle"
BROKEN_OFF = "broken-off"

# "retain" in ASCII: nobody else in this database locks this number.
_LOCK = 0x72657461696E
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ORDER = Order("retention-runs", {RetentionEntry.run: int}, descending=True)
_TABLE = RetentionEntry.__table__


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


@dataclass(frozen=True)
class RunFacts:
    """One run, for readers. ``state`` is a report's, ``failed`` or ``broken-off``.

    A run that is under way is broken off, too, until it has ended.
    """

    number: int
    state: str
    began_at: datetime
    ended_at: datetime | None
    facts: Mapping[str, object] = field(default_factory=dict)


def append(
    connection: Connection,
    *,
    run: int,
    event: str,
    facts: Mapping[str, object],
    now: datetime,
) -> None:
    """Write an entry in the caller's transaction, as the last thing in it.

    On PostgreSQL all writers of the ledger queue from here to the commit. Raises
    ``TypeError`` for a fact that cannot be written down.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    last = connection.execute(
        select(RetentionEntry.id, RetentionEntry.hash)
        .order_by(RetentionEntry.id.desc())
        .limit(1)
    ).first()
    entry = {
        "id": last.id + 1 if last else 1,
        "happened_at": now,
        "run": run,
        "event": event,
        "facts": json.dumps(facts, sort_keys=True, default=_spelled),
        "previous_hash": last.hash if last else FIRST_PREVIOUS,
    }
    connection.execute(insert(RetentionEntry).values(**entry, hash=_hash(entry)))


def next_run(connection: Connection) -> int:
    """Return the number of a run that begins; only the lease's holder asks."""
    last = connection.execute(select(func.max(RetentionEntry.run))).scalar_one()
    return (last or 0) + 1


def last_written(connection: Connection) -> datetime | None:
    """Return when the last entry was written."""
    return connection.execute(
        select(RetentionEntry.happened_at).order_by(RetentionEntry.id.desc()).limit(1)
    ).scalar_one_or_none()


def verify_chain() -> ChainReport:
    """Read all entries in order and say whether each is as it was written."""
    previous, count = FIRST_PREVIOUS, 0
    statement = select(_TABLE).order_by(RetentionEntry.id)
    with reading() as session:
        by_parts = session.connection().execution_options(yield_per=500)
        with by_parts.execute(statement) as chain:
            for row in chain.mappings():
                fault = _fault(dict(row), expected_id=count + 1, previous=previous)
                if fault is not None:
                    return ChainReport(count, previous.hex(), count + 1, fault)
                previous, count = row["hash"], count + 1
    return ChainReport(count, previous.hex())


def runs(limit: int, cursor: str | None = None) -> Page[RunFacts]:
    """List the runs that had something to do, and the idle ones noted, newest first.

    Raises ``Invalid`` for a bad cursor.
    """
    numbers = (
        select(RetentionEntry.run)
        .where(_ORDER.after(cursor))
        .group_by(RetentionEntry.run)
        .order_by(*_ORDER.by)
        .limit(limit + 1)
    )
    with reading() as session:
        found = session.scalars(numbers).all()
        entries = session.scalars(
            select(RetentionEntry)
            .where(RetentionEntry.run.in_(found))
            .order_by(RetentionEntry.id)
        ).all()
    of_run: dict[int, list[RetentionEntry]] = {number: [] for number in found}
    for entry in entries:
        of_run[entry.run].append(entry)
    return _ORDER.page(
        found,
        limit=limit,
        position=lambda number: (number,),
        view=lambda number: _facts_of(of_run[number]),
    )


def _facts_of(entries: Sequence[RetentionEntry]) -> RunFacts:
    first, last = entries[0], entries[-1]
    facts: dict[str, object] = {}
    for entry in entries:
        facts |= json.loads(entry.facts)
    over = last.event in {ENDED, FAILED, IDLE}
    state = {ENDED: facts.get("state", ENDED), BEGAN: BROKEN_OFF}
    return RunFacts(
        number=first.run,
        state=str(state.get(last.event, last.event)),
        began_at=first.happened_at,
        ended_at=last.happened_at if over else None,
        facts=facts,
    )


def _fault(
    row: Mapping[str, object], *, expected_id: int, previous: bytes
) -> str | None:
    if row["id"] != expected_id:
        return "missing"
    if row["previous_hash"] != previous:
        return "does not follow the entry before"
    if row["hash"] != _hash(row):
        return "changed after it was written"
    return None


def _hash(entry: Mapping[str, object]) -> bytes:
    """Return the SHA-256 of all fields, in an encoding that has one reading."""
    happened_at, previous = entry["happened_at"], entry["previous_hash"]
    if not (isinstance(happened_at, datetime) and isinstance(previous, bytes)):
        raise TypeError("not an entry of the ledger")
    fields = [
        "callhome retention entry 1",
        entry["id"],
        (happened_at - _EPOCH) // timedelta(microseconds=1),
        entry["run"],
        entry["event"],
        entry["facts"],
        previous.hex(),
    ]
    canonical = json.dumps(fields, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode("ascii")).digest()


def _spelled(value: object) -> str:
    if isinstance(value, datetime):
        return rfc3339(value)
    if isinstance(value, date):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} cannot be written to the ledger")

# SPDX-License-Identifier: Apache-2.0
"""How things stand: how old the oldest of each category is, and what is overdue.

Judged by the data, not by what a job says of itself: a job that believes it works is
seen through here. Asked at every scrape of the metrics, so each statement is one step
into an index, or a count that ends soon; ``plan`` counts to the end.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Connection, Table, case, func, literal, select

from fleet.database import Base, UTCDateTime, reading
from retention import policies
from retention.models import DaySeal, RetentionState
from retention.policies import Category
from retention.service import conservation
from retention.service.deadlines import deadlines

# Between two runs something is always a little too old; nobody can read it. Beyond
# this no run is to be expected any more: of retention itself (every ten minutes), or of
# other jobs (every hour).
MARGIN = timedelta(minutes=30)
MARGIN_OF_OTHERS = timedelta(hours=2)

MOST_SILENCE = timedelta(hours=1)
"""Between two runs that did all there was to do; a run is begun every ten minutes."""

MOST_COUNTED = 100_000
"""Overdue records are counted up to here: more is no news, and takes its time."""

RECENT = timedelta(weeks=3)
"""How far back the counters are checked each time: beyond what can still be raw."""

_RECORDS = Base.metadata.tables["access_record"]


@dataclass(frozen=True)
class CategoryStatus:
    """One category of the registry, in one table: what is too old by ``cutoff``.

    ``overdue`` counts up to ``MOST_COUNTED``; ``late`` is whether no run is to be
    expected any more that would see to it.
    """

    name: str
    table: str
    oldest: datetime | None
    cutoff: datetime
    overdue: int
    late: bool


@dataclass(frozen=True)
class Totals:
    """Records that came after their day's seal, or were deleted before it, in all.

    ``unbalanced`` are weeks whose counters are not what was sealed; of the last weeks
    only: all of them are for ``verify``.
    """

    late: int
    lost: int
    unbalanced: int


@dataclass(frozen=True)
class Status:
    """How things stand at ``at``; ``clock`` says ``ok``, or what is wrong with it.

    ``misdated`` are records from later than now, which a clock that ran ahead has made.
    ``silent_since`` is set where no run has succeeded for too long.
    """

    at: datetime
    clock: str
    categories: tuple[CategoryStatus, ...]
    misdated: int
    last_success_at: datetime | None
    silent_since: datetime | None
    totals: Totals

    @property
    def overdue(self) -> bool:
        """Whether something is kept for longer than was promised."""
        return any(each.late for each in self.categories)

    @property
    def healthy(self) -> bool:
        """Whether nobody needs to see to anything."""
        return not self.overdue and self.silent_since is None

    @property
    def records(self) -> CategoryStatus | None:
        """The raw access records."""
        return next(
            (each for each in self.categories if each.table == _RECORDS.name), None
        )


def status(now: datetime) -> Status:
    """Return how things stand at ``now``, or at the latest instant that was served.

    The later of the two: a clock that was set back makes nothing younger.
    """
    with reading() as session:
        connection = session.connection()
        due = deadlines(connection, now)
        found = tuple(_categories(connection, due.now))
        last = connection.scalar(select(RetentionState.succeeded_at))
        return Status(
            at=due.now,
            clock=due.clock,
            categories=found,
            misdated=_count(connection, _RECORDS, _RECORDS.c.accessed_at > due.ceiling),
            last_success_at=last,
            silent_since=_silent_since(found, last, due.now),
            totals=_totals(connection, due.now),
        )


def watched() -> Iterator[tuple[Category, Table, ColumnElement[datetime]]]:
    """Yield each category that its age alone ends: its table, and where it begins."""
    tables = Base.metadata.tables
    for category in policies.load():
        for name in category.tables:
            columns = [tables[name].c[each] for each in category.start_of(name)]
            # Where a day begins it, more than that day decides (``ages.Support``).
            if columns and all(isinstance(c.type, UTCDateTime) for c in columns):
                begins = columns[0] if len(columns) == 1 else func.coalesce(*columns)
                yield category, tables[name], begins


def _categories(connection: Connection, at: datetime) -> Iterator[CategoryStatus]:
    for category, table, begins in watched():
        cutoff = category.age.cutoff(at)
        if cutoff is None:
            continue
        oldest = connection.scalar(
            select(begins)
            .select_from(table)
            .where(begins.is_not(None))
            .order_by(begins)
            .limit(1)
        )
        too_old = oldest is not None and oldest <= cutoff
        margin = MARGIN if table is _RECORDS else MARGIN_OF_OTHERS
        yield CategoryStatus(
            name=category.name,
            table=table.name,
            oldest=oldest,
            cutoff=cutoff,
            overdue=_count(connection, table, begins <= cutoff) if too_old else 0,
            late=oldest is not None and oldest <= cutoff - margin,
        )


def _of_records(found: Iterable[CategoryStatus]) -> CategoryStatus | None:
    return next((each for each in found if each.table == _RECORDS.name), None)


def _count(connection: Connection, table: Table, which: ColumnElement[bool]) -> int:
    some = select(literal(1)).select_from(table).where(which).limit(MOST_COUNTED)
    counted = connection.scalar(select(func.count()).select_from(some.subquery()))
    return counted or 0


def _silent_since(
    found: tuple[CategoryStatus, ...], last: datetime | None, at: datetime
) -> datetime | None:
    """Return since when no run has succeeded, where that is too long ago.

    Before there was any, since the first access record: where there is nothing to
    do yet, nobody has failed to do it.
    """
    since = last or next(
        (each.oldest for each in found if each.table == _RECORDS.name), None
    )
    return since if since is not None and at - since > MOST_SILENCE else None


def _totals(connection: Connection, at: datetime) -> Totals:
    beyond = DaySeal.deleted - DaySeal.records - DaySeal.lost
    late, lost = connection.execute(
        select(
            func.coalesce(func.sum(case((beyond > 0, beyond), else_=0)), 0),
            func.coalesce(func.sum(DaySeal.lost), 0),
        )
    ).one()
    weeks = conservation.imbalances(connection, since=(at - RECENT).date())
    return Totals(int(late), int(lost), sum(1 for _ in weeks))

# SPDX-License-Identifier: Apache-2.0
"""What is due: which days to seal, which weeks to close, which records are too old.

It is read from the records themselves each time, so that nothing is forgotten for a
run that did not happen, however long that is ago.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime

from sqlalchemy import ColumnElement, Connection, func, select

from fleet.database import db
from fleet.web.models import AccessRecord
from retention.service import closing
from retention.service.deadlines import (
    DAY,
    begin_of,
    day_of,
    deadlines,
)
from retention.service.sealing import sealed_days

_at = AccessRecord.accessed_at


@dataclass(frozen=True)
class DueDay:
    """A day to be sealed: how many records each service has."""

    day: date
    records: dict[str, int]


@dataclass(frozen=True)
class Plan:
    """What a run would do now."""

    cutoff: datetime
    clock: str
    to_seal: list[DueDay]
    to_close: list[date]
    too_old: dict[str, int]
    misdated: int

    @property
    def empty(self) -> bool:
        """Whether there is nothing to do."""
        return not (self.to_seal or self.to_close or self.too_old or self.misdated)


def plan(now: datetime) -> Plan:
    """Return what a run would do at ``now``; nothing is changed."""
    with db.engine.connect() as connection:
        due = deadlines(connection, now)
        return Plan(
            cutoff=due.cutoff,
            clock=due.clock,
            to_seal=[
                DueDay(day, _by_service(connection, _within(day)))
                for day in unsealed(connection, due.closed)
            ],
            to_close=closing.weeks_over(connection, due),
            too_old=_by_service(connection, _at <= due.cutoff),
            misdated=count(connection, _at > due.ceiling),
        )


def unsealed(connection: Connection, until: datetime) -> Iterator[date]:
    """Yield the days before ``until`` that have records and no seal, oldest first."""
    sealed: set[date] | None = None
    for day in _days(connection, until):
        if sealed is None:
            sealed = sealed_days(connection, day)
        if day not in sealed:
            yield day


def count(connection: Connection, which: ColumnElement[bool]) -> int:
    """Return how many access records are ``which``."""
    statement = select(func.count()).select_from(AccessRecord).where(which)
    return connection.execute(statement).scalar_one()


def _days(connection: Connection, until: datetime) -> Iterator[date]:
    """Yield the days before ``until`` that have records: one look in an index each."""
    first = select(func.min(_at)).where(_at < until)
    found = connection.execute(first).scalar()
    while found is not None:
        day = day_of(found)
        yield day
        found = connection.execute(first.where(_at >= begin_of(day) + DAY)).scalar()


def _within(day: date) -> ColumnElement[bool]:
    return (begin_of(day) <= _at) & (begin_of(day) + DAY > _at)


def _by_service(connection: Connection, which: ColumnElement[bool]) -> dict[str, int]:
    rows = connection.execute(
        select(AccessRecord.service, func.count())
        .where(which)
        .group_by(AccessRecord.service)
    )
    return dict(rows.all())

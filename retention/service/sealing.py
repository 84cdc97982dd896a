# SPDX-License-Identifier: Apache-2.0
"""Folds a day that is over into counters: once, whoever else tries.

A day is read first, without a lock, and written in one short transaction: its seals,
its counters. The primary key of the seals decides who was first; who comes second
does nothing. A day is sealed as a whole, with all services that have records; what
comes later is late, and counted nowhere but in the seal. A service with too few
sources that day is held back until its week is over (``closing``).
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime

from sqlalchemy import Connection, Engine, insert, select
from sqlalchemy.dialects import postgresql, sqlite

from fleet.database import writing
from retention.countries import Countries
from retention.folding import ELSEWHERE, OTHER, THRESHOLD, Cell, Group, fold
from retention.models import AccessCount, DaySeal
from retention.service import catalogue, periods
from retention.service.tallying import Tally, tally

Fence = Callable[[Connection], object]
"""Renews the lease in a transaction, or raises ``LeaseLost``."""


@dataclass(frozen=True)
class Sealed:
    """A day that is folded: how many records of it."""

    day: date
    records: int


class _AlreadySealed(Exception):  # noqa: N818 -- an outcome, caught here
    """Another process was first."""


class Sealer:
    """Seals days, with one state of the catalogue and of the countries."""

    def __init__(
        self, engine: Engine, countries: Countries, *, fence: Fence, now: datetime
    ) -> None:
        """Bring the catalogue up to date with what anybody vouches for."""
        self._engine = engine
        self._countries = countries
        self._fence = fence
        self._now = now
        with engine.connect() as connection:
            missing = catalogue.missing(connection)
        if missing:
            with writing(engine) as connection:
                fence(connection)
                catalogue.add(connection, missing, now=now)
        with engine.connect() as connection:
            self._catalogue = catalogue.read(connection)

    def seal(
        self, day: date, *, between: Callable[[], object] = lambda: None
    ) -> Sealed | None:
        """Fold ``day``; return None where somebody did, or nothing was recorded.

        ``between`` is called again and again while the day is read. Raises
        ``LeaseLost``, and SQLAlchemy's error where the database fails or refuses:
        then nothing has been sealed.
        """
        counted = Tally(self._catalogue, self._countries)
        cells = tally(self._engine, day, counted, between=between)
        if not cells:
            return None
        try:
            with writing(self._engine) as connection:
                self._fence(connection)
                for service in sorted(cells):
                    self._write(connection, day, service, cells[service])
        except _AlreadySealed:
            return None
        return Sealed(day, counted.records)

    def _write(
        self, connection: Connection, day: date, service: str, cells: list[Cell]
    ) -> None:
        records = sum(each.requests for each in cells)
        first = connection.execute(
            _insert(connection)(DaySeal)
            .values(
                day=day,
                service=service,
                records=records,
                threshold=THRESHOLD,
                sealed_at=self._now,
                deleted=0,
                lost=0,
            )
            .on_conflict_do_nothing()
            .returning(DaySeal.day)
        ).scalar()
        if first is None:
            raise _AlreadySealed
        folded = fold(cells)
        if folded:
            rows = [
                _row(periods.DAY, day, service, each.group, each.requests)
                for each in folded
            ]
        else:
            rows = [_row(periods.HELD, day, service, _whole(cells), records)]
        connection.execute(insert(AccessCount), rows)


def sealed_days(connection: Connection, since: date) -> set[date]:
    """Return the days from ``since`` on that have been sealed, or lost a record."""
    rows = connection.execute(
        select(DaySeal.day).where(DaySeal.day >= since).distinct()
    )
    return set(rows.scalars())


def _row(
    period: str, begins_on: date, service: str, group: Group, requests: int
) -> dict[str, object]:
    return {
        "period": period,
        "begins_on": begins_on,
        "service": service,
        **group._asdict(),
        "requests": requests,
    }


def _whole(cells: list[Cell]) -> Group:
    """Return what is told of a day as a whole: nothing but which service."""
    some = cells[0].group
    return Group(
        OTHER if some.device_type else "",
        OTHER if some.software_version else "",
        ELSEWHERE if some.country else "",
    )


def _insert(
    connection: Connection,
) -> Callable[[type[DaySeal]], postgresql.Insert | sqlite.Insert]:
    """Return the dialect's own insert, which knows ``ON CONFLICT``."""
    if connection.dialect.name == "postgresql":
        return postgresql.insert
    return sqlite.insert

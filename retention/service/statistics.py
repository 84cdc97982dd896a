# SPDX-License-Identifier: Apache-2.0
"""How many requests there were, for people: sealed counters and nothing else.

Raw records are never read here, so that nothing which is not anonymous can be told.
A day with few sources is held back until its week is over, and nothing is told of it;
then it is counted with its week, with another day of that, or without any time
(``retention.service.closing``). What has no time is told only where neither a first
nor a last day is wanted. Such a week is told where all seven days are wanted, and
under its own name where days or months are: which of its days the requests came on
is what must not be known. Where only a part of the week is wanted it is left out and
named in ``weeks_cut``, so that an answer is never more than it says, and nobody takes
a missing count for none.
"""

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, and_, func, or_, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from fleet.database import reading
from fleet.errors import Invalid
from fleet.web.tables import harmless
from retention.models import AccessCount
from retention.service import periods

MOST_ITEMS = 10_000
MOST_ROWS = 250_000  # added up in memory into weeks or months: about a second

WEEK = timedelta(days=7)
_DAY = timedelta(days=1)


class Group(StrEnum):
    """What requests can be counted by."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    SERVICE = "service"
    DEVICE_TYPE = "device_type"
    SOFTWARE_VERSION = "software_version"
    COUNTRY = "country"


UNDATED = "undated"
"""What a day, week or month is called where nobody may know which it was."""

PERIODS = frozenset({Group.DAY, Group.WEEK, Group.MONTH})
_COLUMNS: dict[Group, InstrumentedAttribute[str]] = {
    Group.SERVICE: AccessCount.service,
    Group.DEVICE_TYPE: AccessCount.device_type,
    Group.SOFTWARE_VERSION: AccessCount.software_version,
    Group.COUNTRY: AccessCount.country,
}


@dataclass(frozen=True)
class Wanted:
    """Which counters, and what they are added up by.

    From ``since`` to ``until``, both days counted. ``group_by`` names at most one
    period and nothing twice; empty is the sum of all.
    """

    group_by: tuple[Group, ...] = (Group.DAY,)
    service: str | None = None
    since: date | None = None
    until: date | None = None

    @property
    def period(self) -> Group | None:
        """The period that is asked for, if one is."""
        return next((each for each in self.group_by if each in PERIODS), None)

    @property
    def others(self) -> tuple[Group, ...]:
        """What else is asked for."""
        return tuple(each for each in self.group_by if each not in PERIODS)


@dataclass(frozen=True, order=True)
class Span:
    """A time that requests are counted in: some whole days, and what it is called."""

    begins_on: date
    days: int
    label: str


@dataclass(frozen=True)
class Item:
    """One group: its value for each of ``group_by``, when, and how many requests.

    ``span`` is None where no period was asked for, or the requests are undated.
    """

    named: tuple[str, ...]
    span: Span | None
    count: int


@dataclass(frozen=True)
class Statistics:
    """The groups in order of time, and the weeks that only partly are in it."""

    wanted: Wanted
    items: tuple[Item, ...]
    weeks_cut: tuple[str, ...]

    @property
    def told(self) -> list[dict[str, object]]:
        """The groups with the name of each value."""
        names = [str(each) for each in self.wanted.group_by]
        return [
            dict(zip(names, each.named, strict=True)) | {"count": each.count}
            for each in self.items
        ]


def statistics(wanted: Wanted) -> Statistics:
    """Add the sealed counters up; raise ``Invalid`` for more than can be told."""
    _check(wanted)
    with reading() as session:
        rows = _rows(session, wanted)
        cut = _weeks_cut(session, wanted)
    sums: dict[tuple[Span | None, tuple[str, ...]], int] = {}
    for when, others, count in rows:
        key = (_span(when, wanted.period) if when else None, others)
        sums[key] = sums.get(key, 0) + count
    _bound(len(sums), MOST_ITEMS)
    items = [
        Item(_named(wanted, span, others), span, count)
        for (span, others), count in sums.items()
    ]
    items.sort(key=lambda each: (each.span or _AFTER_ALL, each.named))
    return Statistics(wanted, tuple(items), cut)


def as_csv(found: Statistics) -> str:
    """Return the same as a table (RFC 4180), its first line the names of columns."""
    table = io.StringIO()
    writer = csv.writer(table)
    writer.writerow([*found.wanted.group_by, "count"])
    for each in found.items:
        writer.writerow([*map(harmless, each.named), each.count])
    return table.getvalue()


def week_of(day: date) -> str:
    """Return the name of the ISO week that ``day`` is in, as ``2026-W47``."""
    year, week, _ = day.isocalendar()
    return f"{year}-W{week:02}"


_AFTER_ALL = Span(date.max, 0, "")
_Row = tuple[tuple[str, date] | None, tuple[str, ...], int]


def _check(wanted: Wanted) -> None:
    named = wanted.group_by
    if len(set(named)) < len(named):
        raise Invalid(fields={"group_by": ["Names something twice."]})
    if len(PERIODS.intersection(named)) > 1:
        raise Invalid(fields={"group_by": ["One of day, week and month."]})
    if wanted.since and wanted.until and wanted.until < wanted.since:
        raise Invalid(fields={"to": ["Before the first day."]})


def _rows(session: Session, wanted: Wanted) -> list[_Row]:
    when: list[InstrumentedAttribute[Any]] = []
    if wanted.period is not None:
        when = [AccessCount.period, AccessCount.begins_on]
    columns = [*when, *(_COLUMNS[each] for each in wanted.others)]
    statement = (
        select(*columns, func.sum(AccessCount.requests))
        .where(*_of_service(wanted), or_(*_told(wanted)))
        .group_by(*columns)
        .limit(MOST_ROWS + 1)
    )
    found = session.execute(statement).all()
    _bound(len(found), MOST_ROWS)
    length = len(when)
    return [
        ((row[0], row[1]) if when else None, tuple(row[length:-1]), int(row[-1]))
        for row in found
        if row[-1] is not None  # the sum of nothing
    ]


def _bound(number: int, most: int) -> None:
    if number > most:
        fault = f"More than {most} counts: name fewer groups, or a shorter time."
        raise Invalid(fields={"group_by": [fault]})


def _of_service(wanted: Wanted) -> Iterable[ColumnElement[bool]]:
    return [] if wanted.service is None else [AccessCount.service == wanted.service]


def _told(wanted: Wanted) -> Iterable[ColumnElement[bool]]:
    """Return which counters are told: never those of days that are held back."""
    yield _days(wanted)
    yield _whole_weeks(wanted)
    if wanted.since is None and wanted.until is None:
        yield AccessCount.period == periods.EVER


def _days(wanted: Wanted) -> ColumnElement[bool]:
    conditions = [AccessCount.period == periods.DAY]
    if wanted.since is not None:
        conditions.append(AccessCount.begins_on >= wanted.since)
    if wanted.until is not None:
        conditions.append(AccessCount.begins_on <= wanted.until)
    return and_(*conditions)


def _whole_weeks(wanted: Wanted) -> ColumnElement[bool]:
    conditions = [AccessCount.period == periods.WEEK]
    if wanted.since is not None:
        conditions.append(AccessCount.begins_on >= wanted.since)
    if wanted.until is not None:
        conditions.append(AccessCount.begins_on <= wanted.until - WEEK + _DAY)
    return and_(*conditions)


def _weeks_cut(session: Session, wanted: Wanted) -> tuple[str, ...]:
    """Name the weeks with counts that begin before, or end after, what is wanted."""
    begins = AccessCount.begins_on
    edges = []
    if wanted.since is not None:
        edges.append(and_(begins > wanted.since - WEEK, begins < wanted.since))
    if wanted.until is not None:
        edges.append(and_(begins > wanted.until - WEEK + _DAY, begins <= wanted.until))
    if not edges:
        return ()
    of_week = AccessCount.period == periods.WEEK
    statement = (
        select(begins)
        .where(of_week, *_of_service(wanted), or_(*edges))
        .distinct()
        .order_by(begins)
    )
    return tuple(week_of(each) for each in session.scalars(statement))


def _span(when: tuple[str, date], period: Group | None) -> Span | None:
    """Return the span of ``period`` that a counter belongs to, or its whole week.

    None where it belongs to no time.
    """
    kind, begins_on = when
    if kind == periods.EVER:
        return None
    days = WEEK.days if kind == periods.WEEK else 1
    if period is Group.MONTH:
        last = begins_on + (days - 1) * _DAY
        if last.month == begins_on.month:
            first = begins_on.replace(day=1)
            following = (first + 31 * _DAY).replace(day=1)
            return Span(first, (following - first).days, f"{first:%Y-%m}")
    elif period is Group.DAY and days == 1:
        return Span(begins_on, 1, begins_on.isoformat())
    monday = begins_on - begins_on.weekday() * _DAY
    return Span(monday, WEEK.days, week_of(monday))


def _named(
    wanted: Wanted, span: Span | None, others: tuple[str, ...]
) -> tuple[str, ...]:
    values = dict(zip(wanted.others, others, strict=True))
    if wanted.period is not None:
        values[wanted.period] = UNDATED if span is None else span.label
    return tuple(values[each] for each in wanted.group_by)

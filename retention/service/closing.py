# SPDX-License-Identifier: Apache-2.0
"""Closes an ISO week that is over: where its quiet days are counted for ever.

A day with too few sources is held back as it is sealed. Once its week is over, the
quiet days of a service are told as one where together they have enough sources; else
they join the largest group of the smallest day of that week that has been told, which
has enough by itself; else they are counted without any time.

Sources are counted anew, from the records that are still there. A day that has more
records than were sealed counts none: whose came late is not known, and what is told
must have enough sources without those.
"""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from datetime import date, timedelta

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    bindparam,
    delete,
    func,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from fleet.database import writing
from fleet.web.models import AccessRecord
from retention.addresses import source_of
from retention.folding import THRESHOLD, Group
from retention.models import AccessCount, DaySeal
from retention.service import periods
from retention.service.deadlines import DAY, Deadlines, begin_of, day_of
from retention.service.periods import monday_of

Fence = Callable[[Connection], object]

_SLICE = timedelta(hours=1)
_ROWS_AT_ONCE = 1000

_held = AccessCount.period == periods.HELD
_at = AccessRecord.accessed_at

_BY_ADDRESS = (
    select(AccessRecord.service, AccessRecord.address, func.count())
    .where(
        _at >= bindparam("begin"),
        _at < bindparam("end"),
        AccessRecord.service.in_(bindparam("services", expanding=True)),
    )
    .group_by(AccessRecord.service, AccessRecord.address)
)


@dataclass(frozen=True)
class _Held:
    """A quiet day of a service, as it was taken away."""

    day: date
    group: Group
    requests: int


def weeks_over(connection: Connection, due: Deadlines) -> list[date]:
    """Return the Mondays of the weeks that are over and hold quiet days, in order."""
    this_week = monday_of(day_of(due.closed))
    days = select(AccessCount.begins_on).where(_held, AccessCount.begins_on < this_week)
    return sorted({monday_of(day) for day in connection.scalars(days.distinct())})


def may_close(monday: date, due: Deadlines, unsealed: Iterable[date]) -> bool:
    """Tell whether no day of a week is still to be sealed, or none can be any more."""
    if begin_of(monday + periods.WEEK_LONG) <= due.cutoff:
        return True
    return all(monday_of(day) != monday for day in unsealed)


def close(
    engine: Engine,
    monday: date,
    *,
    fence: Fence,
    between: Callable[[], object] = lambda: None,
) -> None:
    """Count the quiet days of a week where they stay for ever, unless somebody did.

    Who takes them away, counts them, in one transaction. ``between`` is called again
    and again while records are read. Raises ``LeaseLost``, and SQLAlchemy's error
    where the database fails or refuses: then nothing has been changed.
    """
    sources = _sources(engine, monday, between)
    with writing(engine) as connection:
        fence(connection)
        taken = _taken(connection, monday)
        for service in sorted(taken):
            of_service = taken[service]
            together: set[str] = set()
            for each in of_service:
                together |= sources.get((each.day, service), frozenset())
            _place(connection, monday, service, of_service, enough=_enough(together))


def _enough(sources: Collection[str]) -> bool:
    return len(sources) >= THRESHOLD


# Sources


def _sources(
    engine: Engine, monday: date, between: Callable[[], object]
) -> dict[tuple[date, str], frozenset[str]]:
    """Return sources of each quiet day and service: all, or as many as are enough."""
    # What was sealed and is not deleted yet: there can be no more without late ones.
    expected: dict[date, dict[str, int]] = {}
    same = (DaySeal.day == AccessCount.begins_on) & (
        DaySeal.service == AccessCount.service
    )
    held = (
        select(DaySeal.day, DaySeal.service, DaySeal.records - DaySeal.deleted)
        .join(AccessCount, same)
        .where(_held, _of_week(monday))
        .distinct()
    )
    with engine.connect() as connection:
        for day, service, records in connection.execute(held):
            expected.setdefault(day, {})[service] = records
    found = {}
    for day, of_day in sorted(expected.items()):
        seen, counted = _sources_of_day(engine, day, sorted(of_day), between)
        for service, records in of_day.items():
            if counted[service] <= records:
                found[day, service] = frozenset(seen[service])
    return found


def _sources_of_day(
    engine: Engine, day: date, services: list[str], between: Callable[[], object]
) -> tuple[dict[str, set[str]], dict[str, int]]:
    seen: dict[str, set[str]] = {each: set() for each in services}
    counted = dict.fromkeys(services, 0)
    begin, end = begin_of(day), begin_of(day) + DAY
    while begin < end:
        until = begin + _SLICE
        wanted = {"begin": begin, "end": until, "services": services}
        with engine.connect() as plain:
            connection = plain.execution_options(yield_per=_ROWS_AT_ONCE)
            for service, address, count in connection.execute(_BY_ADDRESS, wanted):
                counted[service] += count
                if not _enough(seen[service]):
                    seen[service].add(source_of(address))
        begin = until
        between()
    return seen, counted


# Counters


def _of_week(monday: date) -> ColumnElement[bool]:
    begins = AccessCount.begins_on
    return (begins >= monday) & (begins < monday + periods.WEEK_LONG)


def _taken(connection: Connection, monday: date) -> dict[str, list[_Held]]:
    """Take the quiet days of a week away; return them by service."""
    rows = connection.execute(
        delete(AccessCount)
        .where(_held, _of_week(monday))
        .returning(
            AccessCount.service,
            AccessCount.begins_on,
            AccessCount.requests,
            *_GROUP,
        )
    )
    taken: dict[str, list[_Held]] = {}
    for service, day, requests, *group in rows:
        taken.setdefault(service, []).append(_Held(day, Group(*group), requests))
    return taken


_GROUP = (
    AccessCount.device_type,
    AccessCount.software_version,
    AccessCount.country,
)


def _place(
    connection: Connection,
    monday: date,
    service: str,
    held: list[_Held],
    *,
    enough: bool,
) -> None:
    requests = sum(each.requests for each in held)
    # As coarse as any of them: a country may be looked up since some day.
    group = Group(*map(max, zip(*(each.group for each in held), strict=True)))
    if enough:
        _add(connection, periods.WEEK, monday, service, group, requests)
        return
    told = _largest_of_smallest_day(connection, monday, service)
    if told is None:
        _add(connection, periods.EVER, periods.EVER_BEGINS, service, group, requests)
        return
    day, group = told
    connection.execute(
        update(AccessCount)
        .where(
            AccessCount.period == periods.DAY,
            AccessCount.begins_on == day,
            AccessCount.service == service,
            *(kept == value for kept, value in zip(_GROUP, group, strict=True)),
        )
        .values(requests=AccessCount.requests + requests)
    )


def _largest_of_smallest_day(
    connection: Connection, monday: date, service: str
) -> tuple[date, Group] | None:
    days: dict[date, list[tuple[int, Group]]] = {}
    rows = connection.execute(
        select(AccessCount.begins_on, AccessCount.requests, *_GROUP).where(
            AccessCount.period == periods.DAY,
            AccessCount.service == service,
            _of_week(monday),
        )
    )
    for day, requests, *group in rows:
        days.setdefault(day, []).append((requests, Group(*group)))
    if not days:
        return None
    smallest = min(days, key=lambda day: (sum(each[0] for each in days[day]), day))
    cells = days[smallest]
    return smallest, min(cells, key=lambda each: (-each[0], each[1]))[1]


def _add(
    connection: Connection,
    period: str,
    begins_on: date,
    service: str,
    group: Group,
    requests: int,
) -> None:
    """Add to a counter, or begin one."""
    make = (
        postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    )
    statement = make(AccessCount).values(
        period=period,
        begins_on=begins_on,
        service=service,
        **group._asdict(),
        requests=requests,
    )
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=list(AccessCount.__table__.primary_key),
            set_={"requests": AccessCount.requests + statement.excluded.requests},
        )
    )

# SPDX-License-Identifier: Apache-2.0
"""Access records of any instant, put straight into the database; and what is there."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple

import sqlalchemy as sa
from freezegun import freeze_time

from fleet.database import db, writing
from fleet.web.access_log import Access
from fleet.web.access_rooms import GREATEST_AGE, Rooms
from fleet.web.models import AccessRecord
from retention.models import AccessCount, CataloguedVersion, DaySeal, RetentionEntry
from retention.service import runs
from retention.service.runs import RunReport

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
MICROSECOND = timedelta(microseconds=1)
# A Monday, so that the days around it are told apart by their week.
NOON = datetime(2027, 3, 1, 12, tzinfo=UTC)
TYPE, VERSION = "COMtrexx VM", "2.0.1"
NO_WAIT = timedelta(0)


def record(
    at: datetime,
    address: str = "192.0.2.7",
    *,
    service: str = "cic",
    device_type: str | None = TYPE,
    version: str | None = VERSION,
) -> Access:
    """One request, as it is remembered."""
    if service == "voucher":
        return Access(service, at, address)
    return Access(service, at, address, device_type, version)


def from_many(count: int, at: datetime, **kept: str) -> list[Access]:
    """Requests from as many sources, a second apart."""
    return [
        record(at + each * timedelta(seconds=1), f"192.0.2.{each}", **kept)
        for each in range(count)
    ]


def put(records: Iterable[Access]) -> list[Access]:
    """Write records, whatever their instant; the hours get their rooms."""
    rows = list(records)
    Rooms(db.engine).prepare(each.accessed_at for each in rows)
    with writing(db.engine) as connection:
        for begin in range(0, len(rows), 5000):
            batch = [each._asdict() for each in rows[begin : begin + 5000]]
            connection.execute(sa.insert(AccessRecord), batch)
    return rows


def catalogue(*pairs: tuple[str, str]) -> None:
    """Let statistics use these types and versions."""
    with writing(db.engine) as connection:
        connection.execute(
            sa.insert(CataloguedVersion),
            [
                {
                    "device_type": kind,
                    "software_version": version,
                    "catalogued_at": NOON,
                }
                for kind, version in pairs
            ],
        )


@contextmanager
def at(instant: datetime) -> Iterator[None]:
    """Let it be ``instant``."""
    with freeze_time(instant):
        yield


def run_at(instant: datetime, by: str = "job") -> RunReport:
    """Run retention at an instant."""
    with at(instant):
        return runs.run(by=by, wait=NO_WAIT)


def left() -> list[datetime]:
    """The instants of all records that are there."""
    with db.engine.connect() as connection:
        instants = sa.select(AccessRecord.accessed_at)
        return sorted(connection.execute(instants).scalars())


class Count(NamedTuple):
    """A counter, as it is kept for ever."""

    period: str
    begins_on: date
    service: str
    device_type: str
    software_version: str
    country: str
    requests: int


def counts() -> list[Count]:
    """All counters, in order."""
    with db.engine.connect() as connection:
        rows = connection.execute(sa.select(AccessCount.__table__)).mappings()
        return sorted(Count(**row) for row in rows)


class Seal(NamedTuple):
    """What a seal says."""

    day: date
    service: str
    records: int
    deleted: int
    lost: int


def seals() -> list[Seal]:
    """All seals, in order."""
    columns = [getattr(DaySeal, name) for name in Seal._fields]
    with db.engine.connect() as connection:
        return sorted(Seal(*row) for row in connection.execute(sa.select(*columns)))


def entries() -> list[tuple[int, str]]:
    """The ledger: run and event of each entry."""
    statement = sa.select(RetentionEntry.run, RetentionEntry.event)
    with db.engine.connect() as connection:
        rows = connection.execute(statement.order_by(RetentionEntry.id))
        return [tuple(row) for row in rows]


def told(
    records: Iterable[Access],
    known: set[tuple[str, str]],
    *,
    now: datetime | None = None,
) -> list[Count]:
    """What must be counted of ``records`` at ``now``, found out naively: the oracle.

    For days where no country is looked up, and each device type has ten sources, or
    the whole day has not: so that nothing is folded beyond its type. Every week is
    over where no ``now`` is said.
    """
    days: dict[tuple[date, str], list[Access]] = defaultdict(list)
    for each in records:
        days[each.accessed_at.astimezone(UTC).date(), each.service].append(each)
    found: Counter[tuple[object, ...]] = Counter()
    for (day, service), of_day in days.items():
        for each in _told_of_day(day, service, of_day, known):
            found[each[:-1]] += each.requests
    kept = [Count(*group, requests) for group, requests in found.items()]  # type: ignore[arg-type] # the fields of a Count
    weeks = {(_monday(each.begins_on), each.service) for each in kept}
    for monday, service in weeks:
        over = datetime(monday.year, monday.month, monday.day, 1, tzinfo=UTC) + 7 * DAY
        if now is None or over <= now:
            kept = _closed(kept, monday, service, days)
    sums: Counter[tuple[object, ...]] = Counter()
    for each in kept:  # several weeks may end up in one row
        sums[each[:-1]] += each.requests
    return sorted(Count(*group, requests) for group, requests in sums.items())  # type: ignore[arg-type] # the fields of a Count


def _closed(
    counted: list[Count],
    monday: date,
    service: str,
    days: Mapping[tuple[date, str], list[Access]],
) -> list[Count]:
    """Put the quiet days of a week where they belong; the rest is as it was."""
    of_week = [
        each
        for each in counted
        if each.service == service and _monday(each.begins_on) == monday
    ]
    quiet = [each for each in of_week if each.period == "held"]
    named = [each for each in of_week if each.period == "day"]
    rest = [each for each in counted if each not in quiet]
    if not quiet:
        return counted
    requests = sum(each.requests for each in quiet)
    together = [one for each in quiet for one in days[each.begins_on, service]]
    words = quiet[0][3:6]
    if _enough(together):
        return [*rest, Count("week", monday, service, *words, requests)]
    if not named:
        return [*rest, Count("ever", date(1970, 1, 1), service, *words, requests)]
    size: Counter[date] = Counter()
    for each in named:
        size[each.begins_on] += each.requests
    smallest = min(sorted(size), key=lambda day: size[day])
    cells = sorted(each for each in named if each.begins_on == smallest)
    largest = max(cells, key=lambda each: each.requests)
    rest.remove(largest)
    return [*rest, largest._replace(requests=largest.requests + requests)]


def _monday(day: date) -> date:
    while day.weekday():
        day -= DAY
    return day


Groups = dict[tuple[str, str], list[Access]]


def _told_of_day(
    day: date, service: str, records: list[Access], known: set[tuple[str, str]]
) -> list[Count]:
    if not _enough(records):
        words = ("", "") if service == "voucher" else ("other", "other")
        return [Count("held", day, service, *words, "", len(records))]
    groups: Groups = defaultdict(list)
    for each in records:
        groups[_words(each, known)].append(each)
    if service != "voucher":
        _fold(groups)
    assert all(_enough(inside) for inside in groups.values()), "not for this oracle"
    return [
        Count("day", day, service, *group, "", len(inside))
        for group, inside in groups.items()
    ]


def _words(record: Access, known: set[tuple[str, str]]) -> tuple[str, str]:
    said = (record.device_type or "", record.software_version or "")
    if record.service == "voucher" or said in known:
        return said
    types = {device_type for device_type, _ in known}
    return (said[0], "other") if said[0] in types else ("other", "other")


def _fold(groups: Groups) -> None:
    for kind, version in list(groups):
        if version != "other" and not _enough(groups[kind, version]):
            small = groups.pop((kind, version))
            groups[kind, "other"] += small
    for kind in {kind for kind, version in groups if version == "other"}:
        named = [each for each in groups if each[0] == kind and each[1] != "other"]
        if named and not _enough(groups[kind, "other"]):
            smallest = min(named, key=lambda each: (len(groups[each]), each))
            groups[kind, "other"] += groups.pop(smallest)


def _enough(records: list[Access]) -> bool:
    return len({each.address for each in records}) >= 10


def over_age(instant: datetime) -> datetime:
    """The last instant that is too old at ``instant``."""
    return instant - GREATEST_AGE

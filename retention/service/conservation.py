# SPDX-License-Identifier: Apache-2.0
"""Whether every record that was sealed is in the counters, once.

A day with too few sources is counted in its week, so weeks are what must add up. What
could not be told even there is counted without any time: it must be as much as its
service lacks in all weeks together.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    func,
    literal,
    select,
    true,
    union_all,
)
from sqlalchemy.orm import InstrumentedAttribute

from retention.models import AccessCount, DaySeal
from retention.service import periods
from retention.service.periods import monday_of

_SEALED, _COUNTED, _UNDATED = range(3)


@dataclass(frozen=True)
class Imbalance:
    """A week of one service, from its Monday, that was not counted as it was sealed.

    Where ``week`` is ``EVER_BEGINS``, more has no time than all weeks together lack.
    """

    week: date
    service: str
    sealed: int
    counted: int


def imbalances(
    connection: Connection, *, since: date | None = None
) -> Iterator[Imbalance]:
    """Yield what does not add up, of the weeks from that of ``since`` on.

    One statement sees one moment: a day that is sealed meanwhile is in both or neither.
    With ``since``, what is counted without a time may be of these weeks or of others,
    so that only more than all of that is found to be missing.
    """
    statement = union_all(
        _by_day(DaySeal.day, DaySeal.service, DaySeal.records, _SEALED, since),
        _counted(_COUNTED, since).where(AccessCount.period != periods.EVER),
        _counted(_UNDATED, None).where(AccessCount.period == periods.EVER),
    )
    # By day in the database: it knows no weeks that both of ours would share.
    weeks: dict[tuple[date, str], list[int]] = {}
    undated: dict[str, int] = {}
    for day, service, kind, total in connection.execute(statement):
        if kind == _UNDATED:
            undated[service] = undated.get(service, 0) + int(total)
            continue
        sums = weeks.setdefault((monday_of(day), service), [0, 0])
        sums[kind] += int(total)
    short: dict[str, list[Imbalance]] = {}
    for (week, service), (sealed, counted) in sorted(weeks.items()):
        found = Imbalance(week, service, sealed, counted)
        if counted > sealed:
            yield found
        elif counted < sealed:
            short.setdefault(service, []).append(found)
    for service in sorted(short.keys() | undated.keys()):
        of_service = short.get(service, [])
        total = undated.get(service, 0)
        yield from _unexplained(service, of_service, total, whole=since is None)


def _unexplained(
    service: str, short: list[Imbalance], undated: int, *, whole: bool
) -> Iterator[Imbalance]:
    """Yield the weeks that lack more than was counted without a time.

    A week of which nothing is counted is one that has gone there as a whole, if that
    makes the sum right.
    """
    missing = _missing(short)
    if missing > undated:
        partly = [each for each in short if each.counted]
        gone = missing - _missing(partly)
        yield from partly if partly and gone == undated else short
    elif missing < undated and whole:
        yield Imbalance(periods.EVER_BEGINS, service, missing, undated)


def _missing(short: list[Imbalance]) -> int:
    return sum(each.sealed - each.counted for each in short)


def _counted(kind: int, since: date | None) -> Select[date, str, int, int]:
    begins_on, service = AccessCount.begins_on, AccessCount.service
    return _by_day(begins_on, service, AccessCount.requests, kind, since)


def _by_day(
    day: InstrumentedAttribute[date],
    service: InstrumentedAttribute[str],
    amount: InstrumentedAttribute[int],
    kind: int,
    since: date | None,
) -> Select[date, str, int, int]:
    recent: ColumnElement[bool] = true()
    if since is not None:
        recent = day >= monday_of(since)
    return (
        select(day, service, literal(kind), func.sum(amount))
        .where(recent)
        .group_by(day, service)
    )

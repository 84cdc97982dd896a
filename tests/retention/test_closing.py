# SPDX-License-Identifier: Apache-2.0
"""Quiet days wait for their week, and are then counted where nobody is seen."""

import random
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from threading import Barrier

import pytest
import sqlalchemy as sa
from flask import Flask
from making_records import (
    DAY,
    HOUR,
    MICROSECOND,
    NOON,
    TYPE,
    VERSION,
    Count,
    at,
    catalogue,
    counts,
    from_many,
    put,
    record,
    run_at,
    told,
)
from test_sealing import refuse, relent

from fleet.database import db, writing
from fleet.web.models import AccessRecord
from retention import charts
from retention.models import AccessCount
from retention.service import closing, plans, verifying
from retention.service.statistics import Group, Wanted, as_csv, statistics

MONDAY = date(2027, 3, 1)
EVER = date(1970, 1, 1)
SUNDAY = NOON + 6 * DAY
OVER = datetime(2027, 3, 8, 1, tzinfo=UTC)  # the week of MONDAY is, from now on
KNOWN = {(TYPE, VERSION)}
COARSE = ("cic", "other", "other", "")


def numbers(*, since: date | None = None, until: date | None = None) -> set[int]:
    """Every number that anybody is told, by whatever period, or as a total."""
    periods = ((), (Group.DAY,), (Group.WEEK,), (Group.MONTH,))
    found = [statistics(Wanted(each, since=since, until=until)) for each in periods]
    return {item.count for each in found for item in each.items}


def balanced(now: datetime) -> bool:
    with at(now):
        return not [each for each in verifying.verify(now) if each.about == "counters"]


def test_one_source_on_a_sunday_is_told_to_nobody(app: Flask) -> None:
    assert app.testing
    catalogue(*KNOWN)
    busy = [one for day in range(6) for one in from_many(12 + day, NOON + day * DAY)]
    records = put([*busy, *[record(SUNDAY)] * 3])
    run_at(OVER - HOUR)
    assert run_at(OVER - MICROSECOND).state == "idle"
    assert counts() == told(busy, KNOWN)
    report = run_at(OVER)
    assert (report.state, report.sealed_days) == ("ok", 1)
    # The smallest of the days is Monday, with twelve requests.
    assert counts()[0] == Count("day", MONDAY, "cic", TYPE, VERSION, "", 15)
    assert counts() == told(records, KNOWN)
    assert min(numbers()) >= 10
    assert 3 not in numbers(since=MONDAY)
    assert run_at(OVER).state == "idle"
    assert balanced(OVER)


def test_a_quiet_day_is_held_until_its_week_is_over(app: Flask) -> None:
    assert app.testing
    records = put([record(NOON)] * 3)
    run_at(OVER - MICROSECOND)
    assert counts() == [Count("held", MONDAY, *COARSE, 3)]
    assert counts() == told(records, set(), now=OVER - MICROSECOND)
    found = statistics(Wanted())
    assert (found.items, found.weeks_cut) == ((), ())
    assert statistics(Wanted(since=MONDAY + DAY)).weeks_cut == ()
    assert numbers() == set()
    assert as_csv(found).splitlines() == ["day,count"]
    assert "No requests" in charts.picture(found)
    assert balanced(OVER)


def test_a_quiet_week_of_one_source_is_told_without_any_time(app: Flask) -> None:
    assert app.testing
    records = put([*[record(NOON)] * 2, record(NOON + DAY), record(SUNDAY)])
    run_at(OVER - MICROSECOND)
    assert not plans.plan(OVER).empty
    report = run_at(OVER)
    assert (report.state, report.sealed_days) == ("ok", 1)
    assert counts() == told(records, set()) == [Count("ever", EVER, *COARSE, 4)]
    for period in (Group.DAY, Group.WEEK, Group.MONTH):
        found = statistics(Wanted((period,)))
        assert found.told == [{str(period): "undated", "count": 4}]
        assert charts.picture(found)
    assert statistics(Wanted(())).told == [{"count": 4}]
    assert numbers(since=EVER) == numbers(until=date(2030, 1, 1)) == set()
    assert balanced(OVER)


def test_undated_requests_come_last_and_are_not_drawn(app: Flask) -> None:
    assert app.testing
    put([record(NOON), *from_many(12, NOON + 7 * DAY)])
    run_at(OVER + 7 * DAY)
    found = statistics(Wanted())
    assert [each.named[0] for each in found.items] == ["2027-03-08", "undated"]
    assert "1 of them undated, and not drawn" in charts.picture(found)


def test_twelve_sources_of_quiet_days_are_told_as_a_week(app: Flask) -> None:
    assert app.testing
    six = from_many(6, NOON)
    others = [record(SUNDAY, f"198.51.100.{n}") for n in range(6)]
    records = put([*six, *others])
    run_at(OVER)
    assert counts() == told(records, set()) == [Count("week", MONDAY, *COARSE, 12)]
    assert statistics(Wanted()).told == [{"day": "2027-W09", "count": 12}]


def test_a_run_has_something_to_do_where_only_a_week_is_to_be_closed(
    app: Flask,
) -> None:
    assert app.testing
    records = put(from_many(5, NOON))
    run_at(OVER - DAY)
    assert plans.plan(OVER - MICROSECOND).empty
    assert plans.plan(OVER).to_close == [MONDAY]
    assert run_at(OVER).state == "ok"
    assert counts() == told(records, set())
    assert plans.plan(OVER).empty


def test_sources_that_came_late_hide_nobody(app: Flask) -> None:
    assert app.testing
    put([record(NOON)] * 3)
    run_at(NOON + 2 * DAY)
    put(record(NOON, f"198.51.100.{n}") for n in range(20))
    run_at(OVER)
    assert counts() == [Count("ever", EVER, *COARSE, 3)]


def test_records_that_are_gone_count_no_sources(app: Flask) -> None:
    assert app.testing
    put([*from_many(6, NOON), *(record(SUNDAY, f"198.51.100.{n}") for n in range(6))])
    run_at(OVER - MICROSECOND)
    with writing(db.engine) as connection:
        connection.execute(
            sa.delete(AccessRecord).where(AccessRecord.accessed_at < NOON + DAY)
        )
    run_at(OVER)
    assert counts() == [Count("ever", EVER, *COARSE, 12)]


@pytest.mark.parametrize("seed", range(4))
def test_weeks_are_those_of_a_naive_count(app: Flask, seed: int) -> None:
    assert app.testing
    chance = random.Random(seed)
    records = put(
        each._replace(address=f"198.51.{day}.{n}") if chance.random() < 0.3 else each
        for day in range(28)
        for service in ("cic", "voucher", "updates")
        for n, each in enumerate(
            from_many(
                chance.choice([0, 1, 3, 5, 12 if day % 14 < 7 else 4]),
                NOON + day * DAY,
                service=service,
            )
        )
    )
    if seed % 2:
        now = NOON + chance.randrange(2, 28) * DAY
        run_at(now)
        midnight = now.replace(hour=0)
        closed = [each for each in records if each.accessed_at < midnight]
        assert counts() == told(closed, set(), now=now)
    run_at(NOON + 40 * DAY)
    assert counts() == told(records, set())
    assert {each.period for each in counts()} >= {"day", "ever"}
    assert balanced(NOON + 40 * DAY)


# Once


def test_of_many_that_close_a_week_at_once_one_does(app: Flask) -> None:
    assert app.testing
    records = put([*from_many(3, NOON), *from_many(4, NOON + DAY, service="voucher")])
    run_at(OVER - MICROSECOND)
    begin = Barrier(4)
    engine = db.engine

    def close(_: int) -> None:
        # All have counted the sources before any of them writes.
        closing.close(engine, MONDAY, fence=lambda _: None, between=begin.wait)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(close, range(4)))
    assert counts() == told(records, set())


@pytest.mark.parametrize("period", ["ever", "week"])
def test_a_week_is_closed_as_a_whole_or_not_at_all(app: Flask, period: str) -> None:
    assert app.testing
    records = put([*from_many(3, NOON), *from_many(4, NOON, service="voucher")])
    records += put(from_many(6, NOON, service="backup"))
    records += put(
        record(SUNDAY - DAY, f"198.51.100.{n}", service="backup") for n in range(6)
    )
    run_at(OVER - MICROSECOND)
    held = counts()
    refuse("access_count", f"NEW.period = '{period}'")
    report = run_at(OVER)
    assert (report.state, counts()) == ("partial", held)
    relent("access_count")
    assert run_at(OVER + HOUR).state == "ok"
    assert counts() == told(records, set())
    assert balanced(OVER)


def test_a_week_waits_for_a_day_that_is_not_sealed_as_long_as_it_can_be(
    app: Flask,
) -> None:
    assert app.testing
    put([*from_many(3, NOON), *from_many(4, NOON + DAY)])
    refuse("day_seal", "NEW.day = '2027-03-02' AND NEW.records > 0")
    waiting = [Count("held", MONDAY, *COARSE, 3)]
    assert run_at(OVER).state == "partial"
    assert counts() == waiting
    # All of the week is over its age: what is lost is lost.
    run_at(OVER + 14 * DAY)
    assert counts() == [Count("ever", EVER, *COARSE, 3)]


def test_what_has_no_time_is_balanced_with_all_weeks(app: Flask) -> None:
    assert app.testing
    put([record(NOON)] * 3)
    run_at(OVER)
    assert balanced(OVER)
    for more in (1, -2):
        with writing(db.engine) as connection:
            requests = AccessCount.requests + more
            connection.execute(sa.update(AccessCount).values(requests=requests))
        assert not balanced(OVER)

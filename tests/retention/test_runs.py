# SPDX-License-Identifier: Apache-2.0
"""A run seals what is over and deletes what is too old, whenever it comes."""

import os
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

import pytest
import sqlalchemy as sa
from flask import Flask
from making_records import (
    DAY,
    HOUR,
    MICROSECOND,
    NO_WAIT,
    NOON,
    TYPE,
    VERSION,
    Seal,
    at,
    catalogue,
    counts,
    entries,
    from_many,
    left,
    over_age,
    put,
    record,
    run_at,
    seals,
    told,
)

from fleet.database import db, writing
from fleet.server import pulse
from fleet.server.lease import LEASE_LIFE, Lease
from fleet.web.access_log import Access
from fleet.web.access_rooms import GREATEST_AGE
from retention.errors import RunUnderWay
from retention.service import ledger, plans, runs
from retention.service.runs import Progress

MONDAY = date(2027, 3, 1)
KNOWN = {(TYPE, VERSION)}
SERVICES = ("cic", "voucher", "updates", "backup")


def days_of_traffic(days: int, since: datetime = NOON) -> list[Access]:
    """As many days, each with some versions, and every third with hardly anybody."""
    records: list[Access] = []
    for day in range(days):
        begin = since + day * DAY
        if day % 3 == 2:
            records += from_many(4, begin, service="updates")
            continue
        for service in SERVICES:
            records += from_many(11 + day % 5, begin, service=service)
        records += from_many(12, begin + HOUR, version=f"by hand {day}")
    return records


# What a run does


def test_a_day_is_sealed_an_hour_after_its_end_and_not_before(app: Flask) -> None:
    assert app.testing
    catalogue((TYPE, VERSION))
    put(from_many(12, NOON))
    ends = datetime(2027, 3, 2, 1, tzinfo=UTC)
    early = run_at(ends - MICROSECOND)
    assert (early.state, early.sealed_days, seals()) == ("idle", 0, [])
    on_time = run_at(ends)
    assert (on_time.state, on_time.sealed_days, on_time.sealed_records) == ("ok", 1, 12)
    assert seals() == [Seal(MONDAY, "cic", 12, 0, 0)]
    assert len(left()) == 12


def test_a_record_of_midnight_is_of_the_day_that_begins(app: Flask) -> None:
    assert app.testing
    midnight = datetime(2027, 3, 2, tzinfo=UTC)
    put([record(midnight - MICROSECOND), record(midnight)])
    run_at(midnight + 2 * DAY)
    assert seals() == [
        Seal(MONDAY, "cic", 1, 0, 0),
        Seal(MONDAY + DAY, "cic", 1, 0, 0),
    ]


def test_weeks_of_downtime_are_made_good_by_one_run(app: Flask) -> None:
    assert app.testing
    catalogue((TYPE, VERSION))
    records = put(days_of_traffic(40))
    now = NOON + 40 * DAY
    report = run_at(now)
    old = [each for each in records if each.accessed_at <= over_age(now)]
    assert (report.state, report.sealed_days, report.overdue) == ("ok", 40, 0)
    assert (report.sealed_records, report.deleted) == (len(records), len(old))
    assert (report.late, report.lost, report.misdated) == (0, 0, 0)
    assert report.oldest == min(left()) > report.cutoff == over_age(now)
    assert counts() == told(records, KNOWN, now=now)
    assert len(left()) == len(records) - len(old)
    # The rest goes day by day, and nothing is counted again.
    for later in range(1, 16):
        run_at(now + later * DAY)
    assert left() == []
    assert counts() == told(records, KNOWN)
    assert all(each.deleted == each.records and not each.lost for each in seals())


def test_a_run_with_nothing_to_do_changes_nothing(app: Flask) -> None:
    assert app.testing
    put(from_many(12, NOON))
    run_at(NOON + 20 * DAY)
    before = (seals(), counts(), entries())
    again = run_at(NOON + 20 * DAY)
    assert (again.state, again.number, again.deleted) == ("idle", None, 0)
    assert (seals(), counts(), entries()) == before


def test_what_is_planned_is_what_is_done(app: Flask) -> None:
    assert app.testing
    put(days_of_traffic(20))
    now = NOON + 20 * DAY
    put([record(now + 3 * GREATEST_AGE * 10_000 // 10_000)])
    planned = plans.plan(now)
    assert entries() == []
    report = run_at(now)
    assert len(planned.to_seal) == report.sealed_days == 20
    assert sum(sum(each.records.values()) for each in planned.to_seal) == (
        report.sealed_records
    )
    assert sum(planned.too_old.values()) == report.deleted
    assert planned.cutoff == report.cutoff
    assert plans.plan(now).empty


# Exactly fourteen days of 24 hours

BERLIN_SPRING = datetime(2027, 3, 28, 1, tzinfo=UTC)
BERLIN_AUTUMN = datetime(2027, 10, 31, 1, tzinfo=UTC)
AUCKLAND_SPRING = datetime(2027, 9, 25, 14, tzinfo=UTC)
AUCKLAND_AUTUMN = datetime(2027, 4, 3, 14, tzinfo=UTC)


@pytest.fixture(params=["UTC", "Europe/Berlin", "Pacific/Auckland"])
def zone(request: pytest.FixtureRequest, app: Flask) -> Iterator[str]:
    """The time zone of this process and of its sessions with the database."""
    assert app.testing
    name: str = request.param

    @sa.event.listens_for(db.engine, "connect")
    def _move(connection: sa.engine.interfaces.DBAPIConnection, _: object) -> None:
        if db.engine.dialect.name == "postgresql":
            connection.cursor().execute(f"SET TIME ZONE '{name}'")
            connection.commit()

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", name)
        time.tzset()
        db.engine.dispose()
        yield name
    time.tzset()


@pytest.mark.parametrize(
    "change", [BERLIN_SPRING, BERLIN_AUTUMN, AUCKLAND_SPRING, AUCKLAND_AUTUMN]
)
def test_at_336_hours_a_record_goes_and_a_microsecond_before_it_stays(
    zone: str, change: datetime
) -> None:
    assert os.environ["TZ"] == zone
    for now in (change + 7 * DAY, change + GREATEST_AGE, change + GREATEST_AGE + HOUR):
        edge = now - timedelta(hours=336)
        put(record(edge + n * MICROSECOND) for n in (-1, 0, 1))
        report = run_at(now)
        assert [each for each in left() if each <= edge + HOUR] == [edge + MICROSECOND]
        assert report.cutoff == edge
        assert run_at(now + MICROSECOND).deleted == 1
    assert left() == []


def test_days_are_those_of_utc_in_every_time_zone(zone: str) -> None:
    assert os.environ["TZ"] == zone
    catalogue((TYPE, VERSION))
    # Begins half an hour before a midnight that is over in Berlin and Auckland.
    begin = datetime(2027, 3, 26, 23, 30, tzinfo=UTC)
    records = put(
        each
        for hour in range(0, 72, 3)
        for each in from_many(12 + hour, begin + hour * HOUR)
    )
    run_at(begin + 10 * DAY)
    assert counts() == told(records, KNOWN)
    assert len(seals()) == 4


# Late, misdated, and by a wrong clock


def test_a_late_record_is_deleted_in_time_and_never_counted(app: Flask) -> None:
    assert app.testing
    catalogue((TYPE, VERSION))
    in_time = put(from_many(12, NOON))
    run_at(NOON + 2 * DAY)
    put([*from_many(3, NOON + HOUR), record(NOON, service="backup")])
    assert run_at(NOON + 3 * DAY).state == "idle"
    report = run_at(NOON + 20 * DAY)
    assert (report.deleted, report.late, report.lost) == (16, 4, 0)
    assert seals() == [
        Seal(MONDAY, "backup", 0, 1, 0),
        Seal(MONDAY, "cic", 12, 15, 0),
    ]
    assert counts() == told(in_time, KNOWN)


def test_records_of_a_time_to_come_go_and_are_of_no_day(app: Flask) -> None:
    settings = app.extensions["ground"].settings
    tolerance = timedelta(seconds=settings.clock_tolerance_seconds)
    ceiling = NOON + tolerance
    put([record(NOON), record(ceiling), *(record(ceiling + MICROSECOND),) * 3])
    put([record(ceiling + 40 * DAY, service="voucher")])
    report = run_at(NOON)
    assert (report.misdated, report.deleted, report.state) == (4, 0, "ok")
    assert left() == [NOON, ceiling]
    assert seals() == []


def _served_at(instant: datetime) -> None:
    with writing(db.engine) as connection:
        connection.execute(sa.delete(pulse.Pulse))
        connection.execute(
            sa.insert(pulse.Pulse).values(
                id=1, beat_at=instant, policy_version=1, acceptances=0
            )
        )


def test_a_clock_behind_what_was_served_keeps_nothing_longer(app: Flask) -> None:
    app.extensions["ground"] = _less_tolerant(app)
    put([record(over_age(NOON)), record(NOON - DAY)])
    _served_at(NOON)
    report = run_at(NOON - 100 * DAY)
    assert report.clock == "behind what was served before"
    assert report.cutoff == over_age(NOON)
    assert left() == [NOON - DAY]


def test_the_clock_set_back_between_two_runs_keeps_nothing_longer(app: Flask) -> None:
    app.extensions["ground"] = _less_tolerant(app)
    put([record(over_age(NOON))])
    assert run_at(NOON).deleted == 1
    put([record(over_age(NOON))])
    report = run_at(NOON - 5 * DAY)
    assert (report.deleted, report.cutoff) == (1, over_age(NOON))
    assert report.clock == "behind what was served before"


def test_an_accepted_clock_is_gone_by_again(app: Flask) -> None:
    app.extensions["ground"] = _less_tolerant(app)
    _served_at(NOON + 400 * DAY)
    put([record(NOON)])
    assert run_at(NOON + 400 * DAY).deleted == 1
    put([record(NOON)])
    with writing(db.engine) as connection:
        pulse.accept_clock(connection, NOON + HOUR)
    report = run_at(NOON + HOUR)
    assert (report.deleted, report.clock) == (0, "ok")
    assert report.cutoff == over_age(NOON + HOUR)
    assert left() == [NOON]


def _less_tolerant(app: Flask) -> object:
    """The ground of ``app`` with the usual tolerance of clocks, on SQLite.

    PostgreSQL's own clock goes on while tests stand still, so there it stays.
    """
    from dataclasses import replace  # noqa: PLC0415 -- used by this alone

    found = app.extensions["ground"]
    if db.engine.dialect.name == "postgresql":
        pytest.skip("the database's clock is off the test's")
    settings = replace(found.settings, clock_tolerance_seconds=300)
    return type(found)(settings)


# One at a time


def test_a_run_that_is_under_way_is_waited_for_or_not(app: Flask) -> None:
    assert app.testing
    put([record(over_age(NOON))])
    other = Lease(db.engine, runs.LEASE_NAME)
    with at(NOON):
        other.claim(NOON)
        with pytest.raises(RunUnderWay) as refused:
            runs.run(by="staff:operator", wait=NO_WAIT)
        assert refused.value.retry_after == 10
        seen: list[Progress] = []

        def watch(step: Progress) -> None:
            seen.append(step)
            if len(seen) == 2:
                other.give_up()

        report = runs.run(by="cli", wait=None, progress=watch)
    assert [each.stage for each in seen[:2]] == ["waiting", "waiting"]
    assert report.deleted == 1


@pytest.mark.parametrize("stage", ["sealing", "deleting"])
def test_who_was_paused_while_another_took_over_changes_nothing_more(
    app: Flask, stage: str
) -> None:
    assert app.testing
    put(days_of_traffic(20))
    now = NOON + 40 * DAY
    state: list[object] = []

    def steal(step: Progress) -> None:
        if step.stage == stage and step.done >= (2 if stage == "sealing" else 1):
            if not state:
                thief = Lease(db.engine, runs.LEASE_NAME)
                assert thief.claim(now + LEASE_LIFE)
            state.append((seals(), counts(), left(), entries()))

    with at(now), pytest.raises(RunUnderWay):
        runs.run(by="job", wait=NO_WAIT, progress=steal)
    assert len(state) == 1
    assert (seals(), counts(), left(), entries()) == state[0]
    # The thief, or the next after it, goes on where the other was.
    with at(now + 2 * LEASE_LIFE):
        assert runs.run(by="job", wait=NO_WAIT).state == "ok"
    assert left() == []
    assert [each.state for each in ledger.runs(10).items] == ["ok", "broken-off"]


def test_progress_is_told_in_days_and_records(app: Flask) -> None:
    assert app.testing
    put(days_of_traffic(16))
    seen: list[Progress] = []
    with at(NOON + 40 * DAY):
        report = runs.run(by="cli", wait=NO_WAIT, progress=seen.append)
    sealing = [each for each in seen if each.stage == "sealing"]
    assert [each.done for each in sealing] == list(range(16))
    assert {each.total for each in sealing} == {16}
    deleting = [each for each in seen if each.stage == "deleting"]
    assert deleting[0].done == 0
    assert deleting[-1].done == deleting[-1].total == report.deleted

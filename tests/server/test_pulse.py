# SPDX-License-Identifier: Apache-2.0
"""When the service served, and whether its clock can be trusted."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from threading import Barrier

import pytest
from flask import Flask
from freezegun import freeze_time
from sqlalchemy import insert, select, update
from sqlalchemy.exc import SQLAlchemyError

from fleet.database import db, reading, transaction
from fleet.server import pulse
from fleet.server.models import Outage, Pulse
from fleet.server.pulse import ClockNotTrusted, Timekeeper, accept_clock, last_beat

NOON = datetime(2027, 3, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
TOLERANCE = 5 * MINUTE
# freezegun stops the monotonic clock, too; on PostgreSQL its own clock goes on.
ON_SQLITE = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)

Keep = Callable[[], Timekeeper]


@pytest.fixture
def keep(app: Flask, database_kind: str) -> Keep:
    """A process that keeps time by the same database."""
    assert app.testing
    # The clock of PostgreSQL is not frozen: it is compared in one test only.
    wide = timedelta(days=36500)
    tolerance = TOLERANCE if database_kind == "sqlite" else wide
    return lambda: Timekeeper(db.engine, tolerance=tolerance)


def at(instant: datetime) -> AbstractContextManager[object]:
    return freeze_time(instant, ignore=["psycopg", "sqlalchemy"])


def outages() -> list[tuple[datetime, datetime]]:
    with reading() as session:
        rows = session.execute(
            select(Outage.began_at, Outage.ended_at).order_by(Outage.began_at)
        )
        return [(began_at, ended_at) for began_at, ended_at in rows]


def version() -> int:
    with reading() as session:
        return session.scalars(select(Pulse.policy_version)).one()


def mark() -> datetime | None:
    with db.engine.connect() as connection:
        return last_beat(connection)


@pytest.mark.parametrize(
    ("gap", "is_outage"),
    [
        pytest.param(15 * SECOND, False, id="the next beat"),
        pytest.param(60 * SECOND, False, id="a restart"),
        pytest.param(61 * SECOND, True, id="a bit more than a minute"),
        pytest.param(timedelta(days=3), True, id="a long weekend"),
    ],
)
def test_a_gap_is_an_outage_if_it_is_longer_than_a_minute(
    keep: Keep, gap: timedelta, is_outage: bool
) -> None:
    with at(NOON):
        keep().beat()
        before = version()
    with at(NOON + gap):
        keep().beat()
    assert outages() == ([(NOON, NOON + gap)] if is_outage else [])
    # Who judges reads anew, and only then.
    assert version() == before + is_outage
    assert mark() == NOON + gap


def test_the_first_beat_ever_is_no_outage_whoever_comes_first(keep: Keep) -> None:
    with at(NOON):
        all_at_once(keep, 4)
    assert outages() == []
    assert (mark(), version()) == (NOON, 1)


def test_an_outage_is_recorded_by_exactly_one_of_many(keep: Keep) -> None:
    with at(NOON):
        keep().beat()
    with at(NOON + 10 * MINUTE):
        all_at_once(keep, 8)
    assert outages() == [(NOON, NOON + 10 * MINUTE)]


def all_at_once(keep: Keep, count: int) -> None:
    begin = Barrier(count)

    def one(keeper: Timekeeper) -> None:
        begin.wait()
        keeper.beat()

    with ThreadPoolExecutor(count) as pool:
        list(pool.map(one, [keep() for _ in range(count)]))


def test_as_long_as_one_process_beats_there_is_no_outage(keep: Keep) -> None:
    idle, busy = keep(), keep()
    with at(NOON):
        idle.beat()
    for each in range(1, 9):
        with at(NOON + each * 30 * SECOND):
            busy.beat()
    with at(NOON + 4 * MINUTE + SECOND):
        idle.beat()
    assert outages() == []


@ON_SQLITE
def test_a_leap_forward_is_credited_before_anybody_is_judged(keep: Keep) -> None:
    keeper = keep()
    # The monotonic clock, which the pulse compares with, goes on as it is.
    with freeze_time(NOON, ignore=["fleet.server.pulse"]) as clock:
        assert keeper.now() == NOON
        clock.move_to(NOON + timedelta(minutes=4))
        assert keeper.now() == NOON + timedelta(minutes=4)
        assert mark() == NOON  # so little waits for the next beat
        clock.move_to(NOON + timedelta(days=40))
        assert keeper.now() == NOON + timedelta(days=40)
    assert outages() == [(NOON, NOON + timedelta(days=40))]


@ON_SQLITE
def test_a_leap_back_is_noticed_at_once(keep: Keep) -> None:
    keeper = keep()
    with freeze_time(NOON, ignore=["fleet.server.pulse"]) as clock:
        keeper.now()
        clock.move_to(NOON - timedelta(hours=1))
        with pytest.raises(ClockNotTrusted):
            keeper.now()
        clock.move_to(NOON + MINUTE)
        assert keeper.now() == NOON + MINUTE


@ON_SQLITE
@pytest.mark.parametrize(
    ("behind", "trusted"),
    [
        pytest.param(MINUTE, True, id="a little behind"),
        pytest.param(5 * MINUTE, True, id="as far as is tolerated"),
        pytest.param(5 * MINUTE + SECOND, False, id="a bit more"),
        pytest.param(timedelta(days=9000), False, id="a dead battery"),
    ],
)
def test_a_clock_behind_what_was_served_is_not_trusted(
    keep: Keep, behind: timedelta, trusted: bool
) -> None:
    with at(NOON):
        keep().beat()
    late = keep()
    with at(NOON - behind):
        if trusted:
            assert late.now() == NOON - behind
            assert late.fault is None
        else:
            with pytest.raises(ClockNotTrusted):
                late.now()
            assert late.fault is not None
            assert "behind" in late.fault
    # The mark is never lowered.
    assert mark() == NOON
    with at(NOON + SECOND):
        late.beat()
        assert late.now() == NOON + SECOND
        assert late.fault is None
    assert outages() == []


@pytest.mark.usefixtures("app")
def test_a_clock_off_the_databases_is_not_trusted(database_kind: str) -> None:
    keeper = Timekeeper(db.engine, tolerance=TOLERANCE)
    with at(NOON):
        if database_kind == "sqlite":  # it has no clock but ours
            assert keeper.now() == NOON
            return
        with pytest.raises(ClockNotTrusted):
            keeper.now()
    assert keeper.fault == "this server's clock is off the database's"
    assert mark() is None
    keeper.beat()
    assert abs(keeper.now() - datetime.now(UTC)) < MINUTE


def test_an_operator_accepts_a_mended_clock(keep: Keep) -> None:
    year = timedelta(days=365)
    down = [
        (NOON - 9 * MINUTE, NOON - 7 * MINUTE),  # a real one
        (NOON - MINUTE, NOON + year),  # the leap forward
        (NOON + year + MINUTE, NOON + year + 9 * MINUTE),  # while it ran ahead
    ]
    with transaction() as session:
        for began_at, ended_at in down:
            row = {"began_at": began_at, "ended_at": ended_at}
            session.execute(insert(Outage).values(row))
    with at(NOON + year):
        keep().beat()
    before = version()
    with transaction() as session:
        accept_clock(session.connection(), NOON)
    assert outages() == [down[0], (NOON - MINUTE, NOON)]
    assert mark() == NOON
    assert version() > before
    keeper = keep()
    with at(NOON + SECOND):
        assert keeper.now() == NOON + SECOND
    assert len(outages()) == 2


def test_a_database_that_does_not_answer_gives_no_time(app: Flask) -> None:
    with transaction() as session:
        session.execute(update(Pulse).values(beat_at=NOON))
        session.connection().exec_driver_sql("ALTER TABLE pulse RENAME TO gone")
    keeper = Timekeeper(db.engine, tolerance=TOLERANCE)
    with pytest.raises(SQLAlchemyError):
        keeper.now()
    assert app.testing


def test_the_pulse_of_a_process_goes_on_by_itself_and_survives_a_failure(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pulse, "BEAT_EVERY", timedelta(milliseconds=20))
    with transaction() as session:
        session.connection().exec_driver_sql("ALTER TABLE pulse RENAME TO away")
    pulse.start(app)
    time.sleep(0.1)
    with transaction() as session:
        session.connection().exec_driver_sql("ALTER TABLE away RENAME TO pulse")
    wait_until(lambda: mark() is not None)
    first = mark()
    wait_until(lambda: mark() != first)
    # Let it rest for the remainder of the run.
    monkeypatch.setattr(pulse, "BEAT_EVERY", timedelta(days=9))
    time.sleep(0.1)


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)

# SPDX-License-Identifier: Apache-2.0
"""How retention stands: judged by the data, told by exit code, warning and number."""

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

import pytest
from flask import Flask
from flask.testing import FlaskClient, FlaskCliRunner
from freezegun import freeze_time
from recording import keep_records
from sqlalchemy import insert, update

from fleet.database import db, transaction
from fleet.server.models import Pulse
from fleet.web.access_rooms import GREATEST_AGE
from fleet.web.models import GuessCount
from retention.models import AccessCount, DaySeal, RetentionState
from retention.service import status as module
from retention.service.status import MARGIN, MOST_SILENCE, Status, status, watched

NOON = datetime(2027, 3, 1, 12, tzinfo=UTC)
MOMENT = timedelta(microseconds=1)
HOUR = timedelta(hours=1)


@pytest.fixture(autouse=True)
def _at_noon(app: Flask) -> Iterator[None]:
    assert app.testing
    with freeze_time(NOON):
        yield


def succeeded(at: datetime) -> None:
    with transaction() as session:
        session.execute(insert(RetentionState).values(id=1, succeeded_at=at))


def records(found: Status) -> module.CategoryStatus:
    assert found.records is not None
    return found.records


def test_a_new_service_has_nothing_to_answer_for() -> None:
    found = status(NOON)
    assert found.healthy
    assert (found.at, found.clock, found.misdated) == (NOON, "ok", 0)
    assert (found.last_success_at, found.silent_since) == (None, None)
    assert records(found).name == "access-records"
    assert records(found).cutoff == NOON - GREATEST_AGE
    assert (records(found).oldest, records(found).overdue) == (None, 0)


@pytest.mark.parametrize(
    ("age", "overdue", "late"),
    [
        (GREATEST_AGE - MOMENT, 0, False),
        (GREATEST_AGE, 1, False),
        (GREATEST_AGE + MARGIN - MOMENT, 1, False),
        (GREATEST_AGE + MARGIN, 1, True),
        (GREATEST_AGE + timedelta(days=40), 1, True),
    ],
)
def test_the_oldest_record_decides(age: timedelta, overdue: int, *, late: bool) -> None:
    """Too old by a moment is counted; overdue if no run came."""
    succeeded(NOON)
    keep_records([NOON - HOUR, NOON - age, NOON - 2 * HOUR])
    found = status(NOON)
    assert records(found).oldest == NOON - age
    assert (records(found).overdue, records(found).late) == (overdue, late)
    assert (found.overdue, found.healthy) == (late, not late)


@pytest.mark.parametrize("most", [2, 3, 4])
def test_a_flood_is_not_counted_to_its_end(
    monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr(module, "MOST_COUNTED", most)
    keep_records([NOON - GREATEST_AGE - HOUR] * 3)
    assert records(status(NOON)).overdue == min(most, 3)


@pytest.mark.parametrize(
    ("last", "first_record", "silent"),
    [
        pytest.param(None, None, False, id="nothing yet"),
        pytest.param(None, MOST_SILENCE, False, id="the first hour of a service"),
        pytest.param(None, MOST_SILENCE + MOMENT, True, id="no run ever"),
        pytest.param(MOST_SILENCE, None, False, id="an hour ago"),
        pytest.param(MOST_SILENCE + MOMENT, None, True, id="longer ago"),
        pytest.param(HOUR / 6, GREATEST_AGE / 2, False, id="as usual"),
    ],
)
def test_silence_is_told(
    last: timedelta | None, first_record: timedelta | None, *, silent: bool
) -> None:
    if last is not None:
        succeeded(NOON - last)
    if first_record is not None:
        keep_records([NOON - first_record])
    found = status(NOON)
    assert (found.silent_since is not None, found.healthy) == (silent, not silent)


# These never have more rows than a scrape can read.
FEW = {"data_share", "rights_request", "staff_token"}


def test_every_beginning_that_is_looked_up_is_the_first_of_an_index() -> None:
    for category, table, begins in watched():
        if table.name in FEW:
            continue
        firsts = {next(iter(each.columns)).name for each in table.indexes}
        key = next(iter(table.primary_key.columns)).name
        assert getattr(begins, "name", "") in {*firsts, key}, category.name


def test_other_categories_are_watched_as_well() -> None:
    assert {"access_record", "guess_count", "redemption_refusal"} <= {
        table.name for _, table, _ in watched()
    }
    with transaction() as session:
        row = {"place": b"x" * 32, "window_began_at": NOON - timedelta(days=1)}
        session.execute(insert(GuessCount).values(row | {"wrong": 1}))
    late = [each for each in status(NOON).categories if each.late]
    assert [(each.table, each.overdue) for each in late] == [("guess_count", 1)]


def test_a_clock_that_was_set_back_makes_nothing_younger(app: Flask) -> None:
    tolerance = timedelta(
        seconds=app.extensions["ground"].settings.clock_tolerance_seconds
    )
    keep_records([NOON - GREATEST_AGE + HOUR])
    with transaction() as session:
        beat = {"id": 1, "beat_at": NOON + 2 * HOUR, "policy_version": 1}
        session.execute(insert(Pulse).values(beat))
    found = status(NOON)
    assert found.at == NOON + 2 * HOUR
    assert (found.clock, found.overdue) == ("ok", True)
    with transaction() as session:
        session.execute(update(Pulse).values(beat_at=NOON + tolerance + MOMENT))
    assert status(NOON).clock == "behind what was served before"


def test_records_from_later_than_now_are_counted(app: Flask) -> None:
    ground = app.extensions["ground"]
    object.__setattr__(ground.settings, "clock_tolerance_seconds", 300)
    keep_records([NOON + timedelta(seconds=300), NOON + timedelta(seconds=301)])
    assert status(NOON).misdated == 1


def seal(day: date, *, records: int, deleted: int = 0, lost: int = 0) -> None:
    row = {"day": day, "service": "cic", "records": records, "threshold": 10}
    more = {"sealed_at": NOON, "deleted": deleted, "lost": lost}
    with transaction() as session:
        session.execute(insert(DaySeal).values(row | more))


def count(period: str, begins_on: date, requests: int) -> None:
    names = ("device_type", "software_version", "country")
    row = {"period": period, "begins_on": begins_on, "service": "cic"}
    with transaction() as session:
        values = row | dict.fromkeys(names, "") | {"requests": requests}
        session.execute(insert(AccessCount).values(values))


def test_what_came_late_or_was_lost_is_told() -> None:
    seal(date(2027, 2, 1), records=10, deleted=13)
    seal(date(2027, 2, 2), records=10, deleted=12, lost=2)
    seal(date(2027, 2, 27), records=10, deleted=4)
    found = status(NOON).totals
    assert (found.late, found.lost) == (3, 2)


@pytest.mark.parametrize(
    ("of_day", "of_week", "unbalanced"), [(10, 3, 0), (13, 0, 0), (9, 3, 1), (10, 4, 1)]
)
def test_counters_that_are_not_what_was_sealed_are_told(
    of_day: int, of_week: int, unbalanced: int
) -> None:
    """A day with few sources is in its week: 24 February 2027 is a Wednesday."""
    seal(date(2027, 2, 24), records=10)
    seal(date(2027, 2, 28), records=3)
    count("day", date(2027, 2, 24), of_day)
    if of_week:
        count("week", date(2027, 2, 22), of_week)
    assert status(NOON).totals.unbalanced == unbalanced


def test_weeks_long_ago_are_left_to_verify() -> None:
    seal(date(2026, 2, 24), records=10)
    assert status(NOON).totals.unbalanced == 0


def test_the_command_says_so_by_its_exit_code(runner: FlaskCliRunner) -> None:
    succeeded(NOON)
    assert runner.invoke(args=["retention", "status"]).exit_code in {0, 2}


def test_no_connection_is_held_afterwards() -> None:
    status(NOON)
    assert "Current Checked out connections: 0" in db.engine.pool.status()


def told(client: FlaskClient) -> dict[str, object]:
    answer = client.get("/health/ready")
    found: dict[str, object] = json.loads(answer.data)
    return found | {"code": answer.status_code}

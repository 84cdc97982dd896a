# SPDX-License-Identifier: Apache-2.0
"""Ten times the records are ten times the work, and no step reads what it leaves."""

import sqlite3

import pytest
import sqlalchemy as sa
from flask import Flask
from making_records import DAY, NOON, left, put, record, run_at

from fleet.database import db
from retention.service import deleting_rows


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
@pytest.mark.parametrize("days", [1, 6])
def test_each_step_reads_only_what_it_deletes(
    app: Flask, monkeypatch: pytest.MonkeyPatch, days: int
) -> None:
    """One day is many steps, and each of six has others behind it."""
    assert app.testing
    for size in ("FIRST_STEP", "LEAST_STEP", "LARGEST_STEP"):
        monkeypatch.setattr(deleting_rows, size, 100)
    monkeypatch.setattr(deleting_rows, "PAUSE_SECONDS", 0.0)
    work = _count_instructions()
    few = _work_of(1_200, days, work)
    many = _work_of(6_000, days, work)
    assert many / few < 7, "five times the records"


@pytest.mark.parametrize(
    ("took", "looks_every"),
    [(0.0, 25), (0.09, 25), (0.12, 50), (0.19, 50), (0.21, 100), (5.0, 100)],
)
def test_who_waited_through_a_step_looks_again_in_the_pause_after_it(
    took: float, looks_every: int
) -> None:
    assert looks_every < deleting_rows.pause_after(took) * 1000 < looks_every * 1.1


def _work_of(count: int, days: int, work: list[int]) -> int:
    second = DAY / 86_400
    put(
        record(NOON - (n % days) * DAY + n * second, f"192.0.2.{n % 250}")
        for n in range(count)
    )
    before = len(work)
    run_at(NOON + 17 * DAY)
    assert left() == []
    # The seals of these days would be late records' the next time.
    with db.engine.begin() as connection:
        connection.execute(sa.text("DELETE FROM day_seal"))
        connection.execute(sa.text("DELETE FROM access_count"))
    return len(work) - before


def _count_instructions() -> list[int]:
    """Return a list that gets an entry for each thousand instructions of SQLite's."""
    done: list[int] = []

    def attach(connection: sqlite3.Connection, _record: object) -> None:
        connection.set_progress_handler(lambda: done.append(1), 1000)

    db.engine.dispose()
    sa.event.listen(db.engine, "connect", attach)
    return done

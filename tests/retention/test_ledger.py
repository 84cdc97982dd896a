# SPDX-License-Identifier: Apache-2.0
"""What retention did is told run by run, and cannot be told otherwise later."""

import json

import pytest
import sqlalchemy as sa
from flask import Flask
from making_records import (
    DAY,
    HOUR,
    NO_WAIT,
    NOON,
    at,
    entries,
    from_many,
    over_age,
    put,
    record,
    run_at,
)
from sqlalchemy.exc import DBAPIError

from fleet.database import db, writing
from retention.models import RetentionEntry
from retention.service import ledger, runs


def test_a_run_is_told_by_two_entries_and_an_idle_one_once_a_day(app: Flask) -> None:
    assert app.testing
    put([record(over_age(NOON))])
    run_at(NOON)
    assert entries() == [(1, "began"), (1, "ended")]
    assert run_at(NOON + HOUR).number is None
    assert run_at(NOON + DAY).number == 2
    assert run_at(NOON + DAY + HOUR).number is None
    assert entries() == [(1, "began"), (1, "ended"), (2, "idle")]
    idle, first = ledger.runs(10).items
    assert (idle.number, idle.state, idle.facts["by"]) == (2, "idle", "job")
    assert (first.number, first.state, first.began_at, first.ended_at) == (
        1,
        "ok",
        NOON,
        NOON,
    )
    assert (first.facts["deleted"], first.facts["lost"]) == (1, 0)
    assert first.facts["cutoff"] == "2027-02-15T12:00:00Z"


def test_nobody_is_named_in_it(app: Flask) -> None:
    assert app.testing
    put(from_many(12, over_age(NOON), version="of Anna Agent"))
    run_at(NOON, by="staff:operator")
    with db.engine.connect() as connection:
        facts = connection.execute(sa.select(RetentionEntry.facts)).scalars().all()
    assert not [each for each in facts if "192.0.2" in each or "Anna" in each]
    assert {json.loads(each).get("by") for each in facts} == {"staff:operator", None}


def test_a_run_that_failed_says_by_what_kind_of_fault(app: Flask) -> None:
    assert app.testing
    put([record(over_age(NOON))])

    def fail(_: object) -> None:
        raise ZeroDivisionError("192.0.2.7 is none of the ledger's business")

    with at(NOON), pytest.raises(ZeroDivisionError):
        runs.run(by="job", wait=NO_WAIT, progress=fail)
    [failed] = ledger.runs(10).items
    assert (failed.state, failed.facts["fault"]) == ("failed", "ZeroDivisionError")
    assert "192" not in json.dumps(failed.facts)
    # It has given up the lease: the next one goes on at once.
    assert run_at(NOON).state == "ok"


def test_runs_are_listed_newest_first_and_page_by_page(app: Flask) -> None:
    assert app.testing
    for day in range(5):
        run_at(NOON + day * DAY)
    first = ledger.runs(2)
    second = ledger.runs(2, first.next_cursor)
    third = ledger.runs(2, second.next_cursor)
    pages = [[each.number for each in page.items] for page in (first, second, third)]
    assert pages == [[5, 4], [3, 2], [1]]
    assert third.next_cursor is None


def test_the_chain_is_whole_and_begins_with_nothing(app: Flask) -> None:
    assert app.testing
    assert ledger.verify_chain() == ledger.ChainReport(0, "00" * 32)
    put([record(over_age(NOON))])
    run_at(NOON)
    report = ledger.verify_chain()
    assert (report.entries, report.whole) == (2, True)
    with db.engine.connect() as connection:
        last = connection.execute(
            sa.select(RetentionEntry.hash).order_by(RetentionEntry.id.desc()).limit(1)
        ).scalar_one()
    assert report.last_hash == last.hex()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE retention_entry SET facts = '{}' WHERE id = 1",
        "DELETE FROM retention_entry WHERE id = 2",
    ],
)
def test_the_database_changes_no_entry(app: Flask, statement: str) -> None:
    assert app.testing
    put([record(over_age(NOON))])
    run_at(NOON)
    with pytest.raises(DBAPIError), writing(db.engine) as connection:
        connection.exec_driver_sql(statement)


@pytest.mark.parametrize(
    ("statement", "broken_at", "fault"),
    [
        (
            "UPDATE retention_entry SET facts = '{}' WHERE id = 2",
            2,
            "changed after it was written",
        ),
        (
            "UPDATE retention_entry SET happened_at = '2020-01-01' WHERE id = 1",
            1,
            "changed after it was written",
        ),
        ("DELETE FROM retention_entry WHERE id = 2", 2, "missing"),
        ("UPDATE retention_entry SET run = 9 WHERE id = 3", 3, "changed"),
        (
            "UPDATE retention_entry SET previous_hash = hash WHERE id = 2",
            2,
            "does not follow",
        ),
    ],
)
def test_who_gets_past_the_triggers_is_found_out(
    app: Flask, statement: str, broken_at: int, fault: str
) -> None:
    assert app.testing
    put([record(over_age(NOON))])
    run_at(NOON)
    run_at(NOON + DAY)
    with writing(db.engine) as connection:
        if connection.dialect.name == "sqlite":
            for change in ("update", "delete"):
                connection.exec_driver_sql(
                    f"DROP TRIGGER retention_entry_refuse_{change}"
                )
        else:
            connection.exec_driver_sql(
                "DROP TRIGGER retention_entry_refuse_change ON retention_entry"
            )
        connection.exec_driver_sql(statement)
    report = ledger.verify_chain()
    assert report.broken_at == broken_at
    assert fault in (report.fault or "")
    assert report.entries == broken_at - 1


def test_a_fact_that_cannot_be_written_down_is_refused(app: Flask) -> None:
    assert app.testing
    with pytest.raises(TypeError), writing(db.engine) as connection:
        ledger.append(connection, run=1, event="began", facts={"x": b""}, now=NOON)

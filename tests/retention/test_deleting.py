# SPDX-License-Identifier: Apache-2.0
"""What is deleted is gone from the files, and nobody waits long for it."""

import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from flask import Flask
from making_records import (
    DAY,
    HOUR,
    NO_WAIT,
    NOON,
    at,
    from_many,
    left,
    over_age,
    put,
    record,
    run_at,
    seals,
)
from postgres import Postgres

from fleet.database import db, writing
from fleet.web.access_rooms import Rooms
from retention.service import deleting_rooms, deleting_rows, runs

CANARY = "203.0.113.213"
OTHER_CANARY = "2001:db8:cafe:babe::d00d"
SECOND = timedelta(seconds=1)

only_sqlite = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
only_postgres = pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)


def put_canaries() -> None:
    """Some among many others, old and young, in one hour with what stays."""
    put(
        record(over_age(NOON) + n * SECOND, f"198.51.100.{n % 250}", version="x" * 40)
        for n in range(-5000, 600)
    )
    put(
        record(over_age(NOON) - n * SECOND, each)
        for n in (0, 1, 700, 4000, 400_000)
        for each in (CANARY, OTHER_CANARY)
    )


def found_in(folder: Path) -> list[str]:
    """The files below ``folder`` that hold a canary."""
    canaries = [each.encode() for each in (CANARY, OTHER_CANARY)]
    found = []
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            content = path.read_bytes()
            if any(each in content for each in canaries):
                found.append(path.relative_to(folder).as_posix())
    return found


@only_sqlite
def test_on_sqlite_the_bytes_are_gone_from_file_and_log(
    app: Flask, tmp_path: Path
) -> None:
    assert app.testing
    put_canaries()
    assert found_in(tmp_path)
    report = run_at(NOON)
    assert (report.state, report.deleted) == ("ok", 5011)
    assert len(left()) == 599
    assert found_in(tmp_path) == []


@only_sqlite
def test_a_reader_keeps_the_log_and_the_run_says_so_until_it_is_empty(
    app: Flask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert app.testing
    monkeypatch.setattr(deleting_rows.sweep, "__kwdefaults__", {"tries": 2})
    put_canaries()
    reader = sqlite3.connect(tmp_path / "callhome.sqlite3", isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM access_record").fetchall()
    assert run_at(NOON).state == "partial"
    assert run_at(NOON).state == "partial"
    assert found_in(tmp_path)
    reader.execute("ROLLBACK")
    assert run_at(NOON).state == "idle"
    assert found_in(tmp_path) == []
    reader.close()


@only_postgres
def test_on_postgresql_the_bytes_are_gone_from_the_data_files(
    app: Flask, postgres: Postgres
) -> None:
    assert app.testing
    put_canaries()
    _checkpoint()
    assert found_in(postgres.folder / "base")
    report = run_at(NOON)
    assert (report.state, report.deleted) == ("ok", 5011)
    assert len(left()) == 599
    _checkpoint()
    assert found_in(postgres.folder / "base") == []


@only_postgres
def test_no_address_gets_into_the_statistics_of_the_database(app: Flask) -> None:
    assert app.testing
    put(record(NOON - n * SECOND, CANARY) for n in range(2000))
    run_at(NOON)
    with db.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as line:
        line.execute(sa.text("ANALYZE"))
        told = line.execute(
            sa.text("SELECT * FROM pg_stats WHERE tablename LIKE 'access_record%'")
        ).all()
    assert told
    assert CANARY not in str(told)


def _checkpoint() -> None:
    with db.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as line:
        line.execute(sa.text("CHECKPOINT"))


# Nobody waits long


@only_sqlite
def test_others_write_while_much_is_deleted(app: Flask, tmp_path: Path) -> None:
    """What the bench measures, coarsely: nobody waits for the end of the deletion."""
    assert app.testing
    put(record(over_age(NOON) - n * timedelta(milliseconds=1)) for n in range(120_000))
    waits: list[float] = []
    done = threading.Event()

    def write() -> None:
        line = sqlite3.connect(
            tmp_path / "callhome.sqlite3", isolation_level=None, timeout=20
        )
        while not done.is_set():
            began = time.perf_counter()
            line.execute("BEGIN IMMEDIATE")
            line.execute("UPDATE pulse SET policy_version = policy_version + 1")
            line.execute("COMMIT")
            waits.append(time.perf_counter() - began)
            time.sleep(0.005)
        line.close()

    with ThreadPoolExecutor(1) as pool, at(NOON + DAY):
        writer = pool.submit(write)
        report = runs.run(by="job", wait=NO_WAIT)
        done.set()
        writer.result()
    assert report.deleted == 120_000
    assert report.batches > 3
    assert len(waits) > 3 * report.batches / 4
    assert max(waits) < 5


@only_sqlite
def test_after_each_step_nothing_is_written_for_as_long_as_a_writer_may_sleep(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert app.testing
    slept: list[float] = []
    sleep = time.sleep

    def note_and_sleep(seconds: float) -> None:
        slept.append(seconds)
        sleep(seconds)

    monkeypatch.setattr(deleting_rows.time, "sleep", note_and_sleep)
    put(record(over_age(NOON) - n * SECOND) for n in range(9000))
    # The clock stands still, so that what a checkpoint takes counts as nothing.
    report = run_at(NOON)
    assert report.batches >= 3
    assert slept.count(deleting_rows.PAUSE_SECONDS) == report.batches
    assert deleting_rows.PAUSE_SECONDS > 0.025


def test_steps_are_as_large_as_they_may_be_and_no_larger() -> None:
    sizes = [2000]
    for took in (0.0, 0.0, 0.06, 0.5, 10.0, 10.0, 10.0):
        sizes.append(deleting_rows.next_size(sizes[-1], took))
    assert sizes == [2000, 4000, 8000, 8000, 2000, 500, 250, 250]
    assert deleting_rows.next_size(40_000, 0.001) == 50_000


@only_postgres
def test_a_reader_in_the_way_is_waited_for_and_then_left_for_the_next_run(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert app.testing
    monkeypatch.setattr(deleting_rooms, "MOST_TRIES", 2)
    put([record(over_age(NOON)), record(over_age(NOON) - DAY), record(NOON)])
    with db.engine.connect() as reader:
        reader.execute(sa.text("SELECT count(*) FROM access_record"))
        report = run_at(NOON)
        # Who writes meanwhile is not kept waiting by a deletion that waits.
        put([record(NOON)])
    assert (report.state, report.deleted, report.overdue) == ("partial", 0, 2)
    report = run_at(NOON)
    assert (report.state, report.deleted, report.overdue) == ("ok", 2, 0)


@only_postgres
def test_rooms_go_with_their_hour_although_they_are_empty(app: Flask) -> None:
    assert app.testing
    hours = [over_age(NOON) + n * HOUR for n in (-30, -2, -1, 0, 1, 300)]
    Rooms(db.engine).prepare(hours)
    with db.engine.connect() as connection:
        before = deleting_rooms.rooms(connection)
    assert run_at(NOON).state == "idle"
    with db.engine.connect() as connection:
        assert deleting_rooms.rooms(connection) == [
            each for each in before if each >= over_age(NOON)
        ]


# What the seals say


def test_what_is_deleted_is_added_to_the_seal_in_the_same_transaction(
    app: Flask,
) -> None:
    assert app.testing
    put([*from_many(12, NOON), *from_many(12, NOON + 3 * HOUR, service="voucher")])
    run_at(NOON + 2 * DAY)
    run_at(NOON + 14 * DAY + 2 * HOUR)
    assert [(each.service, each.records, each.deleted) for each in seals()] == [
        ("cic", 12, 12),
        ("voucher", 12, 0),
    ]
    run_at(NOON + 15 * DAY)
    assert [(each.records, each.deleted) for each in seals()] == [(12, 12), (12, 12)]


def test_a_step_that_is_not_committed_has_not_happened(app: Flask) -> None:
    assert app.testing
    put([*from_many(12, NOON), *from_many(12, NOON + DAY)])
    run_at(NOON + 3 * DAY)
    with db.engine.connect() as connection:
        due = _due(connection)
    expire = (
        deleting_rooms.expire
        if db.engine.dialect.name == "postgresql"
        else deleting_rows.expire
    )
    fences = 0

    def fence(_: sa.Connection) -> None:
        nonlocal fences
        fences += 1
        if fences == 2:
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        list(expire(db.engine, due, fence=fence))
    assert len(left()) == 12
    assert [each.deleted for each in seals()] == [12, 0]


def _due(connection: sa.Connection) -> "deleting_rooms.Deadlines":
    from retention.service.deadlines import deadlines  # noqa: PLC0415 -- of this alone

    return deadlines(connection, NOON + 20 * DAY)


def test_writing_goes_on_in_the_hour_that_is_half_over_its_age(app: Flask) -> None:
    assert app.testing
    edge = over_age(NOON + 30 * timedelta(minutes=1))
    put(record(edge + n * SECOND) for n in (-2, -1, 0, 1, 2))
    assert run_at(NOON + 30 * timedelta(minutes=1)).deleted == 3
    put([record(edge + 3 * SECOND)])
    with writing(db.engine) as connection:
        assert (
            connection.execute(sa.text("SELECT count(*) FROM access_record")).scalar()
            == 3
        )

# SPDX-License-Identifier: Apache-2.0
"""Exactly once: whoever else runs, whoever is killed, and after a restore."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from threading import Barrier

import pytest
import sqlalchemy as sa
from conftest import running
from flask import Flask
from making_records import (
    DAY,
    NO_WAIT,
    NOON,
    TYPE,
    VERSION,
    at,
    catalogue,
    counts,
    from_many,
    left,
    over_age,
    put,
    run_at,
    seals,
    told,
)
from postgres import Postgres

from fleet.database import db
from fleet.settings import Settings
from fleet.web.access_log import Access
from retention.errors import RunUnderWay
from retention.service import ledger, runs

KNOWN = {(TYPE, VERSION), (TYPE, "2.0.2")}
SERVICES = ("cic", "voucher", "updates", "backup")
ROOT = Path(__file__).parent.parent.parent


def traffic(days: int) -> list[Access]:
    """Some days of all services, versions, and days with hardly anybody."""
    chance = random.Random(days)
    records: list[Access] = []
    for day in range(days):
        begin = NOON + day * DAY
        for service in SERVICES:
            records += from_many(chance.randrange(10, 40), begin, service=service)
        records += from_many(chance.randrange(30), begin, version="2.0.2")
        records += from_many(chance.randrange(30), begin, version=f"by hand {day}")
    return records


def test_of_many_that_run_at_once_each_day_is_counted_by_one(app: Flask) -> None:
    catalogue(*KNOWN)
    records = put(traffic(20))
    begin = Barrier(4)

    def run(_: int) -> runs.RunReport:
        with app.app_context():
            begin.wait()
            return runs.run(by="job", wait=timedelta(seconds=60))

    with at(NOON + 40 * DAY), ThreadPoolExecutor(4) as pool:
        reports = list(pool.map(run, range(4)))
    assert counts() == told(records, KNOWN)
    assert left() == []
    assert sum(each.sealed_days for each in reports) == 20
    assert sum(each.sealed_records for each in reports) == len(records)
    assert sum(each.deleted for each in reports) == len(records)
    assert sorted(each.state for each in reports) == ["idle", "idle", "idle", "ok"]
    assert all(each.deleted == each.records for each in seals())


def test_who_does_not_wait_does_nothing(app: Flask) -> None:
    put(traffic(3))
    begin = Barrier(4)

    def run(_: int) -> str:
        with app.app_context():
            begin.wait()
            try:
                return runs.run(by="job", wait=NO_WAIT).state
            except RunUnderWay:
                return "under way"

    with at(NOON + 10 * DAY), ThreadPoolExecutor(4) as pool:
        states = list(pool.map(run, range(4)))
    assert states.count("ok") == 1
    assert set(states) <= {"ok", "idle", "under way"}
    assert sum(each.records for each in seals()) == len(left())


@pytest.mark.parametrize("seed", range(2))
def test_a_run_that_is_killed_again_and_again_comes_to_the_same_end(
    app: Flask, settings: Settings, seed: int
) -> None:
    assert app.testing
    catalogue(*KNOWN)
    records = put(traffic(24))
    now = NOON + 30 * DAY
    environment = os.environ | {
        "PBX_DATA_DIR": str(settings.data_dir),
        "PBX_DATABASE_URL": settings.database_url,
        "PBX_CLOCK_TOLERANCE_SECONDS": "86400",
        "PYTHONPATH": str(ROOT),
    }
    script = str(Path(__file__).with_name("killed.py"))
    done = subprocess.run(
        [sys.executable, script, now.isoformat(), "12", str(seed)],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    # Many were killed before they had finished, or this would prove nothing.
    assert json.loads(done.stdout).count(-signal.SIGKILL) >= 5, done.stdout
    assert counts() == told(records, KNOWN)
    assert left() == sorted(
        each.accessed_at
        for each in records
        if each.accessed_at > over_age(now + timedelta(minutes=12))
    )
    gone = len(records) - len(left())
    assert sum(each.records for each in seals()) == len(records)
    assert sum(each.deleted for each in seals()) == gone
    assert all(not each.lost for each in seals())
    assert ledger.verify_chain().whole
    assert "broken-off" in {each.state for each in ledger.runs(50).items}


# A restore

Copy = Callable[[], Settings]


@pytest.fixture
def copy(
    settings: Settings, database_kind: str, request: pytest.FixtureRequest
) -> Iterator[Copy]:
    """Copies the database as it is, as a dump does; returns settings to run on it."""
    names: list[str] = []

    def make() -> Settings:
        db.engine.dispose()
        name = f"copy_{uuid.uuid4().hex}"
        if database_kind == "sqlite":
            path = Path(settings.database_url.removeprefix("sqlite:///"))
            for suffix in ("", "-wal"):
                if Path(f"{path}{suffix}").exists():
                    shutil.copy(f"{path}{suffix}", path.with_name(name + suffix))
            return replace(settings, database_url=f"sqlite:///{path.with_name(name)}")
        server: Postgres = request.getfixturevalue("postgres")
        server.create_database(name, template=str(db.engine.url.database))
        names.append(name)
        return replace(settings, database_url=server.url(name))

    yield make
    for name in names:
        request.getfixturevalue("postgres").drop_database(name)


@pytest.mark.parametrize("dumped_after", [0, 3, 12, 20])
def test_after_an_old_dump_is_restored_all_is_counted_once(
    app: Flask, copy: Copy, dumped_after: int
) -> None:
    assert app.testing
    catalogue(*KNOWN)
    records = put(traffic(10))
    for day in range(dumped_after + 1):
        run_at(NOON + day * DAY)
    dump = copy()
    for day in range(dumped_after + 1, 30):
        run_at(NOON + day * DAY)
    assert counts() == told(records, KNOWN)
    with running(dump):
        before = len(seals())
        report = run_at(NOON + 30 * DAY)
        assert counts() == told(records, KNOWN)
        assert left() == []
        assert all(each.deleted == each.records for each in seals())
        assert (report.lost, report.late) == (0, 0)
        assert len(seals()) == 40 >= before
        assert ledger.verify_chain().whole


def test_records_that_only_come_back_as_records_are_not_counted_again(
    app: Flask,
) -> None:
    assert app.testing
    catalogue(*KNOWN)
    records = put(traffic(5))
    run_at(NOON + 30 * DAY)
    put(records)
    report = run_at(NOON + 30 * DAY)
    assert (report.sealed_days, report.deleted, report.late) == (
        0,
        len(records),
        len(records),
    )
    assert counts() == told(records, KNOWN)
    assert left() == []


def test_nothing_depends_on_who_reads_the_clock_of_the_database(app: Flask) -> None:
    """An instant is this service's; a statement that asks the database is not used."""
    assert app.testing
    asked: list[str] = []

    @sa.event.listens_for(db.engine, "before_cursor_execute")
    def _note(*arguments: object) -> None:
        asked.append(str(arguments[2]).lower())

    put(traffic(3))
    run_at(NOON + 30 * DAY)
    by_its_clock = ("current_", "now()", "'now'", "interval", "date_trunc", "timezone(")
    assert [each for each in asked if any(word in each for word in by_its_clock)] == []

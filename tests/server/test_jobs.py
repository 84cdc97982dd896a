# SPDX-License-Identifier: Apache-2.0
"""The jobs process: it works at once, goes on whatever the clock does, and lets go."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from faults.moved_clock import MovedClock
from flask import Flask
from sqlalchemy import delete, insert, select, update

from fleet.clock import utcnow
from fleet.database import db, reading, transaction
from fleet.server import job_runs, jobs
from fleet.server.lease import LEASE_LIFE, RENEW_EVERY
from fleet.server.models import JobLease, JobRun

# A jobs process; what its jobs do is named by the command line: NAME=SECONDS.
PROGRAM = """
import ctypes, os, sys, threading, time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from flask import Flask
from fleet import database
from fleet.feature import Job
from fleet.server import jobs
from fleet.settings import Settings

folder = Path(sys.argv[2])
parent = int(sys.argv[3]) or None

def fail(now):
    (folder / "failed").touch()
    raise RuntimeError("CX1000000001")

def work(now):
    (folder / f"worked-{os.getpid()}").touch()

def linger(now):
    (folder / "began").touch()
    time.sleep(1)
    (folder / "ended").touch()

def tick(now):
    with (folder / "ticks").open("a") as file:
        file.write(f"{now.isoformat()}\\n")

def hang(now):
    with (folder / "hanging").open("a") as file:
        file.write("x")
    time.sleep(60)

def host(now):
    with (folder / f"host-{os.getpid()}").open("a") as file:
        file.write("x")

EVERYWHERE = ("host", "slay")

def kill(now):
    scheduler = next(t for t in threading.enumerate() if t.name == "APScheduler")
    number, what = ctypes.c_ulong(scheduler.ident), ctypes.py_object(SystemExit)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(number, what)

slay = kill

chosen = [
    Job(name, timedelta(seconds=float(every)), globals()[name], name in EVERYWHERE)
    for name, every in (each.split("=") for each in sys.argv[4:])
]
app = Flask("jobs", instance_path=str(folder))
database.register(app, Settings(database_url=sys.argv[1]))
jobs.run(app, chosen, until_gone=parent)
"""

DAILY = ("fail=86400", "work=86400", "linger=86400")
ONLY_SQLITE = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(app: Flask, tmp_path: Path) -> Iterator[Start]:
    """Start a jobs process that leaves its marks in ``tmp_path``."""
    url = app.config["SQLALCHEMY_DATABASE_URI"]
    started = []

    def begin(
        *jobs: str, parent: int = 0, environment: Mapping[str, str] | None = None
    ) -> "subprocess.Popen[str]":
        words = [url, str(tmp_path), str(parent), *(jobs or DAILY)]
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *words],
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | (environment or {}),
        )
        started.append(process)
        return process

    yield begin
    for each in started:
        each.kill()
        each.communicate()


def wait_until(true: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def free() -> bool:
    """Whether nobody holds the lease."""
    with reading() as session:
        expires_at = session.scalar(select(JobLease.expires_at))
    return expires_at is None or expires_at <= utcnow()


def test_every_job_runs_at_the_start_and_one_that_fails_stops_no_other(
    start: Start, tmp_path: Path
) -> None:
    process = start()
    mark = tmp_path / f"worked-{process.pid}"
    wait_until(lambda: mark.exists() and (tmp_path / "began").exists())
    wait_until((tmp_path / "failed").exists)
    assert not free()
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=20)
    assert process.returncode == 0
    # What was under way is finished, and the next process may work at once.
    assert (tmp_path / "ended").exists()
    assert free()
    # A job's fault may hold what must not be logged.
    assert "job fail failed: RuntimeError" in said
    assert "CX1000000001" not in said


@ONLY_SQLITE
def test_a_process_without_the_lease_waits(start: Start, tmp_path: Path) -> None:
    with transaction() as session:
        row = {"name": "jobs", "holder": "another", "token": 1}
        ends = {"expires_at": utcnow() + LEASE_LIFE}
        session.execute(insert(JobLease).values(row | ends))
    process = start()
    time.sleep(1.5)
    assert process.poll() is None
    assert list(tmp_path.glob("worked-*")) == []
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=20) == 0
    assert not free()


def test_a_job_for_every_host_needs_no_lease(start: Start, tmp_path: Path) -> None:
    """Two processes do it, again and again; only one does the rest."""
    both = [start("host=0.2", "work=86400") for _ in range(2)]
    for each in both:
        mark = tmp_path / f"host-{each.pid}"
        wait_until(lambda mark=mark: mark.exists() and len(mark.read_text()) > 2)
    wait_until(lambda: len(list(tmp_path.glob("worked-*"))) == 1)
    for each in both:
        each.send_signal(signal.SIGTERM)
        _, said = each.communicate(timeout=20)
        assert each.returncode == 0
        assert "failed" not in said
    assert len(list(tmp_path.glob("worked-*"))) == 1
    assert set(noted()) == {"host", "work"}


@ONLY_SQLITE
def test_a_job_for_every_host_goes_on_although_the_lease_is_another_s(
    start: Start, tmp_path: Path
) -> None:
    with transaction() as session:
        row = {"name": "jobs", "holder": "another", "token": 1}
        ends = {"expires_at": utcnow() + timedelta(hours=1)}
        session.execute(insert(JobLease).values(row | ends))
    process = start("host=0.2", "tick=0.2")
    mark = tmp_path / f"host-{process.pid}"
    wait_until(lambda: mark.exists() and len(mark.read_text()) > 2)
    assert not (tmp_path / "ticks").exists()
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=20) == 0


@ONLY_SQLITE
def test_a_dead_scheduler_of_such_jobs_takes_its_process_with_it_too(
    start: Start,
) -> None:
    with transaction() as session:
        row = {"name": "jobs", "holder": "another", "token": 1}
        ends = {"expires_at": utcnow() + timedelta(hours=1)}
        session.execute(insert(JobLease).values(row | ends))
    process = start("host=0.2", "slay=0.5")
    _, said = process.communicate(timeout=20)
    assert process.returncode == 1
    assert "the scheduler has died" in said


@ONLY_SQLITE
def test_it_ends_with_its_parent(start: Start) -> None:
    process = start(parent=os.getpid() + 1_000_000)  # which is not its parent
    assert process.wait(timeout=20) == 0
    assert free()


def noted() -> dict[str, JobRun]:
    """How each job last went, by what was written down."""
    with reading() as session:
        return {each.name: each for each in session.scalars(select(JobRun))}


def test_how_each_job_went_is_written_down_and_never_in_its_own_words(
    start: Start,
) -> None:
    with transaction() as session:
        began = utcnow() - timedelta(days=9)
        row = {"name": "of-an-earlier-version", "began_at": began, "fault": "Oops"}
        session.execute(insert(JobRun).values(row))
    before = utcnow()
    start()
    wait_until(lambda: len(noted()) == 3 and noted()["linger"].succeeded_at is not None)
    wait_until(lambda: noted()["fail"].fault != "")
    found = noted()
    assert set(found) == {"fail", "work", "linger"}
    assert found["fail"].fault == "RuntimeError"
    assert found["fail"].succeeded_at is None
    assert found["work"].fault == ""
    ended = found["linger"].succeeded_at
    assert before < found["linger"].began_at < ended < utcnow()
    assert ended - found["linger"].began_at > timedelta(seconds=1)


def test_a_job_that_works_again_is_no_longer_failing(app: Flask) -> None:
    assert app.testing
    now = utcnow()
    for turn, fault in enumerate(("", "OperationalError", "F" * 99, "")):
        at = now + timedelta(minutes=turn)
        job_runs.began(db.engine, "work", at)
        job_runs.ended(db.engine, "work", at, fault=fault)
        row = noted()["work"]
        assert (row.began_at, row.fault) == (at, fault[:64])
        assert row.succeeded_at == (at if not fault else now)


@ONLY_SQLITE
def test_a_job_that_failed_is_soon_tried_again(start: Start, tmp_path: Path) -> None:
    start("fail=0.5", "tick=86400")
    for _ in range(2):
        wait_until((tmp_path / "failed").exists)
        (tmp_path / "failed").unlink()
    assert len((tmp_path / "ticks").read_text().splitlines()) == 1


@ONLY_SQLITE
def test_a_lost_lease_stops_work_and_a_regained_one_begins_it(
    start: Start, tmp_path: Path
) -> None:
    """Also while a job hangs: it is not waited for, and not begun a second time."""
    start("tick=0.2", "hang=0.2")
    ticks = tmp_path / "ticks"
    wait_until(lambda: ticks.exists() and (tmp_path / "hanging").exists())
    with transaction() as session:
        theirs = {"holder": "another", "token": 99}
        ends = utcnow() + timedelta(hours=1)
        session.execute(update(JobLease).values(theirs | {"expires_at": ends}))
    time.sleep(RENEW_EVERY.total_seconds() + 3)
    stopped = ticks.read_text()
    time.sleep(1)
    assert ticks.read_text() == stopped
    with transaction() as session:
        session.execute(delete(JobLease))
    wait_until(lambda: ticks.read_text() != stopped)
    assert (tmp_path / "hanging").read_text() == "x"


@ONLY_SQLITE
def test_a_scheduler_that_dies_takes_its_process_with_it(start: Start) -> None:
    process = start("kill=86400", "tick=0.2")
    _, said = process.communicate(timeout=20)
    assert process.returncode == 1
    assert "the scheduler has died" in said
    assert free()


@pytest.mark.foreign("gcc")
@ONLY_SQLITE
@pytest.mark.parametrize(
    "days", [15, -15, 365 * 40, -365 * 20], ids=lambda days: f"{days} days"
)
def test_jobs_go_on_although_the_clock_is_set(
    start: Start, tmp_path: Path, days: int
) -> None:
    """At once, by the new clock, and once for all that came due meanwhile."""
    clock = MovedClock(tmp_path)
    process = start("tick=3600", environment=clock.environment)
    ticks = tmp_path / "ticks"
    wait_until(ticks.exists)
    clock.move(timedelta(days=days))
    wait_until(lambda: len(ticks.read_text().splitlines()) == 2, seconds=10)
    time.sleep(2)
    last = ticks.read_text().splitlines()
    assert len(last) == 2
    assert abs(clock.now() - datetime.fromisoformat(last[1])) < timedelta(seconds=15)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=20) == 0


@pytest.mark.foreign("gcc")
@ONLY_SQLITE
@pytest.mark.parametrize("days", [15, -15], ids=lambda days: f"{days} days")
def test_a_job_with_a_short_interval_keeps_it_although_the_clock_is_set(
    start: Start, tmp_path: Path, days: int
) -> None:
    clock = MovedClock(tmp_path)
    start("tick=1", environment=clock.environment)
    ticks = tmp_path / "ticks"
    wait_until(ticks.exists)
    clock.move(timedelta(days=days))
    time.sleep(2)
    before = len(ticks.read_text().splitlines())
    time.sleep(4)
    assert 3 <= len(ticks.read_text().splitlines()) - before <= 6


def test_what_came_due_during_a_leap_is_one_run_however_far_it_was() -> None:
    """The library would count every interval, for hours."""
    trigger = jobs._Every(seconds=10, timezone="UTC")  # noqa: SLF001 -- in an hour, a job would show it
    began = datetime(2027, 3, 1, tzinfo=UTC)
    ten = timedelta(seconds=10)
    assert trigger.get_next_fire_time(None, began) == began
    assert trigger.get_next_fire_time(began, began) == began + ten
    later = began + timedelta(days=40 * 365)
    assert trigger.get_next_fire_time(began, later) == later + ten

# SPDX-License-Identifier: Apache-2.0
"""The jobs process: it works at once, goes on, and lets go as it ends."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from flask import Flask
from sqlalchemy import insert, select

from fleet.clock import utcnow
from fleet.database import reading, transaction
from fleet.server.lease import LEASE_LIFE
from fleet.server.models import JobLease

# A jobs process with one job that fails and one that leaves its mark.
PROGRAM = """
import os, sys, time
from datetime import timedelta
from pathlib import Path
from dataclasses import replace
from flask import Flask
from fleet import database
from fleet.feature import Job
from fleet.server import jobs
from fleet.settings import Settings

folder = Path(sys.argv[2])

def fail(now):
    (folder / "failed").touch()
    raise RuntimeError("CX1000000001")

def work(now):
    (folder / f"worked-{os.getpid()}").touch()

def linger(now):
    (folder / "began").touch()
    time.sleep(1)
    (folder / "ended").touch()

app = Flask("jobs", instance_path=str(folder))
database.register(app, Settings(database_url=sys.argv[1]))
day = timedelta(days=1)
chosen = [Job("fail", day, fail), Job("work", day, work), Job("linger", day, linger)]
parent = int(sys.argv[3]) if len(sys.argv) > 3 else None
jobs.run(app, chosen, until_gone=parent)
"""

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(app: Flask, tmp_path: Path) -> Iterator[Start]:
    """Start a jobs process that leaves its marks in ``tmp_path``."""
    url = app.config["SQLALCHEMY_DATABASE_URI"]
    started = []

    def begin(*more: str) -> "subprocess.Popen[str]":
        words = [sys.executable, "-c", PROGRAM, url, str(tmp_path), *more]
        process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
        started.append(process)
        return process

    yield begin
    for each in started:
        each.kill()
        each.communicate()


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
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


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
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


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
def test_it_ends_with_its_parent(start: Start) -> None:
    process = start(str(os.getpid() + 1_000_000))  # which is not its parent
    assert process.wait(timeout=20) == 0
    assert free()

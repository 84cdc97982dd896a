# SPDX-License-Identifier: Apache-2.0
"""A clock that leaps fifteen days ahead under the jobs, and back again."""

from datetime import timedelta

import pytest
from faults.retention.house import House, begin_of_day, check_all_is_right, until
from faults.retention.rows import DAY, HOUR, KNOWN, Row, canaries, of_days, staying

pytestmark = pytest.mark.foreign("gcc")

SOON = 30.0  # seconds of real time, on a loaded machine


def _recent(house: House) -> list[Row]:
    today = begin_of_day(house.clock.now())
    addresses = canaries(100, seed=10)
    house.catalogue(*KNOWN)
    return house.put(list(of_days(today - 3 * DAY, 3, 300, addresses, seed=11)))


def test_a_clock_that_leaps_keeps_nothing_for_longer_and_stops_no_job(
    house: House,
) -> None:
    house.service.settings["PBX_CLOCK_TOLERANCE_SECONDS"] = "300"
    rows = _recent(house)
    with house.jobs():
        until(lambda: [e for _, e, _ in house.ledger()] == ["began", "ended"], SOON)
        check_all_is_right(house, rows)
        assert sorted(house.rows()) == sorted(rows)

        house.clock.move(15 * DAY)
        until(lambda: not house.expired(), SOON)
        until(lambda: house.ledger()[-1][1] == "ended", SOON)
        assert house.rows() == []
        check_all_is_right(house, rows)
        if not house.sqlite:  # whose clock did not leap
            assert house.ledger()[-1][2]["clock"] != "ok"
        house.put(staying(house.clock.now(), 3, every=timedelta(seconds=1)))

        house.clock.move(-15 * DAY)
        now = house.clock.now()
        until(lambda: house.job_began("retention") < now + HOUR, SOON)
        if house.sqlite:  # where nothing but an operator knows which was right
            told = house.service.run("retention", "status", check=False)
            assert "behind" in told, told
            house.service.run("clock", "--accept")
        house.clock.move(timedelta(seconds=30))  # a leap: all jobs are due
        until(lambda: house.rows() == [], SOON)
    assert '"faults": []' in house.service.run("retention", "verify", "--json")

# SPDX-License-Identifier: Apache-2.0
"""Forty days of downtime, and then everybody comes back at once."""

import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from faults.retention.calling import CallingPbx, initialised
from faults.retention.house import (
    House,
    begin_of_day,
    check_all_is_right,
    effective_runs,
    until,
)
from faults.retention.rows import DAY, KNOWN, canaries, of_days
from faults.retention.searching import Reader

pytestmark = pytest.mark.foreign("gcc")

ADDRESSES = canaries(200, seed=4)
RECORDS_PER_DAY = 2500
SLOWEST_CHECK = 5.0  # seconds, on a machine that has other things to do
USUAL_CHECK = 1.0


class Checker:
    """A PBX that checks as often as it can; ``seconds`` is how long each took."""

    def __init__(self, pbx: CallingPbx) -> None:
        """Check with ``pbx``."""
        self._pbx = pbx
        self.seconds: list[float] = []

    def work(self) -> None:
        """Check twenty times on one connection."""
        with self._pbx.line() as line:
            for _ in range(20):
                began = time.monotonic()
                self._pbx.check_from("203.0.113.77", line)
                self.seconds.append(time.monotonic() - began)
                time.sleep(0.005)


@contextmanager
def _at_work(work: Sequence[Callable[[], None]]) -> Iterator[None]:
    """Let each do its work again and again; the first failure of any is raised."""
    over = threading.Event()
    failures: list[BaseException] = []

    def labour(do: Callable[[], None]) -> None:
        try:
            while not over.is_set():
                do()
        except BaseException as failure:  # noqa: BLE001 -- raised below
            failures.append(failure)

    threads = [threading.Thread(target=labour, args=(each,)) for each in work]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()
    for failure in failures:
        raise failure


def _closed_for_forty_days(house: House, folder: Path) -> list[CallingPbx]:
    """Let a fleet live for a week, and the service then be down."""
    service = house.service
    service.settings["PBX_WEB_WORKERS"] = "1" if house.sqlite else "4"
    service.start()
    pbxs = initialised(service, folder, 2)
    service.stop()
    first = begin_of_day(house.clock.now()) - 7 * DAY
    house.put(list(of_days(first, 7, RECORDS_PER_DAY, ADDRESSES, seed=5)))
    house.catalogue(*KNOWN)
    house.clock.move(40 * DAY)
    return pbxs


def test_after_forty_days_of_downtime_one_run_does_it_all_and_nobody_sees_too_much(
    house: House, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    pbxs = _closed_for_forty_days(house, tmp_path)
    rows, before = house.rows(), len(effective_runs(house))
    # Everything is still there when the doors open: runs have to wait at first.
    house.take_lease(timedelta(seconds=50))
    reader = Reader(house, ADDRESSES, house.service.staff("operator"))
    checkers = [Checker(pbx) for pbx in pbxs]
    labour = [reader.work, *(each.work for each in checkers)]
    with house.jobs(), house.service, _at_work(labour):
        until(lambda: reader.searches >= 10)
        assert house.rows()[: len(rows)] == rows
        for each in checkers:
            each.seconds.clear()
        house.clock.move(timedelta(seconds=61))
        until(lambda: not house.expired())
        until(lambda: house.ledger()[-1][1] == "ended")
        busy = [seconds for each in checkers for seconds in each.seconds]
        searched = reader.searches
        until(lambda: reader.searches >= searched + 10)
    assert reader.seen_too_old == []
    assert len(effective_runs(house)) == before + 1
    check_all_is_right(house, rows)
    assert house.ledger()[-1][2]["deleted"] == len(rows)
    record_property("checks", (len(busy), statistics.median(busy), max(busy)))
    assert statistics.median(busy) < USUAL_CHECK
    assert max(busy) < SLOWEST_CHECK

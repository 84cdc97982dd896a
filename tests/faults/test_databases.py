# SPDX-License-Identifier: Apache-2.0
"""A database that goes away, or is in somebody else's hands, in mid-load."""

import sqlite3
import time
from pathlib import Path

import pytest
from faults.conftest import Start
from faults.fleet_at_work import (
    FLEET,
    Shift,
    WorkingStaff,
    check_all_is_there,
    make_fleet,
)
from postgres import Postgres
from service import Service

AT_WORK = 7


def _staff(service: Service) -> WorkingStaff:
    return WorkingStaff(service, service.staff(), FLEET[-1])


@pytest.mark.parametrize("database_kind", ["postgresql"])
@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_a_database_restart_in_mid_load_is_a_503_and_passes_by_itself(
    start: Start, own_postgres: Postgres, tmp_path: Path, mode: str
) -> None:
    service = start()
    pbxs, staff = make_fleet(service, tmp_path, AT_WORK), _staff(service)
    with Shift([*pbxs, staff]) as shift:
        time.sleep(1)
        own_postgres.stop(mode)
        time.sleep(1)
        ready = service.request("GET", "/health/ready")
        assert service.request("GET", "/health/live").status == 200
        own_postgres.start()
        back_at = time.monotonic()
        service.wait_until_ready()
        while pbxs[0].service.request("GET", "/cic/v1/keyset").status != 200:
            time.sleep(0.1)
        recovered_after = time.monotonic() - back_at
        time.sleep(1)
    assert ready.status == 503
    assert not ready.json["checks"]["database"]["ok"]
    assert recovered_after < 10
    assert shift.statuses() <= {200, 201, 503}
    refused = [each for each in shift.replies if each.status == 503]
    assert refused
    for each in refused:
        assert each.code in {"database-unavailable", "service-busy"}
        assert int(each.headers["retry-after"]) > 0
    assert not shift.lost
    check_all_is_there(pbxs, staff, service)


@pytest.mark.parametrize("database_kind", ["sqlite"])
def test_a_database_that_another_process_has_locked_is_waited_for(
    start: Start, tmp_path: Path
) -> None:
    service = start()
    pbxs, staff = make_fleet(service, tmp_path, AT_WORK), _staff(service)
    other = sqlite3.connect(
        service.data_dir / "callhome.sqlite3", timeout=10, isolation_level=None
    )
    with Shift([*pbxs, staff]) as shift:
        for _ in range(3):
            time.sleep(0.3)
            other.execute("BEGIN IMMEDIATE")
            time.sleep(1.2)
            other.execute("ROLLBACK")
    other.close()
    assert shift.statuses() <= {200, 201}
    assert not shift.lost
    assert "locked" not in service.logged()
    check_all_is_there(pbxs, staff, service)

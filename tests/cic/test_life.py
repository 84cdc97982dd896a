# SPDX-License-Identifier: Apache-2.0
"""The life of a PBX over HTTP, told as it happens."""

from datetime import UTC, datetime, timedelta

import pytest
from flask import Flask
from freezegun import freeze_time
from make import TestPbx, make_device, make_token, verified

BIRTH = datetime(2027, 3, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture
def pbx(proxied_app: Flask) -> TestPbx:
    with freeze_time(BIRTH):
        make_device()
    return TestPbx(proxied_app.test_client())


def test_a_pbx_is_initialised_and_checks(pbx: TestPbx) -> None:
    with freeze_time(BIRTH):
        answer = pbx.initialise()
    assert answer.status_code == 201, answer.get_json()
    first = verified(answer.get_json()["lease"])
    assert first["verdict"] == "active"
    assert first["generation"] == 1
    with freeze_time(BIRTH + DAY):
        lease = pbx.lease()
    assert lease["verdict"] == "active"
    assert lease["lock_at"] == "2027-04-02T12:00:00Z"


def test_forty_days_of_silence_lock_it_and_reinitialisation_unlocks(
    pbx: TestPbx,
) -> None:
    with freeze_time(BIRTH):
        pbx.initialise()
    with freeze_time(BIRTH + 40 * DAY):
        assert pbx.lease()["verdict"] == "locked"
        pbx.new_key()
        again = pbx.initialise()
        assert again.status_code == 201
        assert verified(again.get_json()["lease"])["generation"] == 2
        assert pbx.lease()["verdict"] == "active"


def test_a_blocked_pbx_gets_its_verdict_and_no_more(pbx: TestPbx) -> None:
    with freeze_time(BIRTH):
        pbx.initialise()
        staff = make_token()
        url = f"/cic/v1/devices/{pbx.serial_number}"
        said = pbx.client.post(f"{url}/block", json={"reason": "stolen"}, headers=staff)
        assert said.status_code == 200, said.get_json()
        assert said.get_json()["state"] == "blocked"
        assert pbx.lease()["verdict"] == "blocked"
        assert pbx.initialise().get_json()["type"] == "/problems/device-not-permitted"

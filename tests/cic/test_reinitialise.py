# SPDX-License-Identifier: Apache-2.0
"""A PBX makes itself known again after a loss, and not more often than it may."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from freezegun import freeze_time
from make import SERIAL, TestPbx, make_device, verified
from sqlalchemy import func, select
from werkzeug.test import TestResponse

from cic.models import Activation
from fleet.database import reading
from fleet.identity.models import DeviceCertificate

BIRTH = datetime(2027, 3, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
OTHER = "CX1000000002"

Held = Callable[..., Activation]
History = Callable[..., list[str]]


def code(answer: TestResponse) -> tuple[int, str]:
    return answer.status_code, answer.get_json()["type"].removeprefix("/problems/")


def certificates() -> int:
    with reading() as session:
        return session.scalar(select(func.count()).select_from(DeviceCertificate)) or 0


def test_another_key_is_a_reinitialisation(
    pbx: TestPbx, held: Held, history: History
) -> None:
    with freeze_time(BIRTH):
        before = pbx.initialise().get_json()
        former = TestPbx(pbx.client, key=pbx.key, chain=pbx.chain)
        assert former.check().status_code == 200
        pbx.new_key()
        after = pbx.initialise().get_json()
        assert code(former.check()) == (403, "device-not-recognised")
        assert pbx.lease()["generation"] == 2
    assert verified(after["lease"])["generation"] == 2
    assert after["release_key"] == before["release_key"]
    assert after["certificate_chain"] != before["certificate_chain"]
    assert history() == ["initialised", "reinitialised"]
    assert held().initialised_at == BIRTH
    assert held().clone_suspected_at is None


# A key that was certified before.


@pytest.mark.parametrize(
    ("days", "what_happened"),
    [
        pytest.param(0, "reinitialised", id="its certificate is revoked"),
        pytest.param(40, "silent", id="the PBX is locked"),
        pytest.param(366, "heard", id="its certificate has ended"),
        pytest.param(0, "another", id="it is another PBX's key"),
    ],
)
def test_a_new_key_is_required_where(
    pbx: TestPbx, held: Held, days: int, what_happened: str
) -> None:
    former, generation = pbx.key, 1
    with freeze_time(BIRTH):
        if what_happened == "reinitialised":
            pbx.new_key()
            pbx.initialise()
            pbx.key, generation = former, 2
        if what_happened == "another":
            make_device(OTHER)
            pbx.serial_number = OTHER
            pbx.new_key()
            pbx.initialise()
            pbx.key = former
    for day in range(30, 361, 30) if what_happened == "heard" else ():
        with freeze_time(BIRTH + day * DAY):
            assert pbx.lease()["verdict"] == "active"
    with freeze_time(BIRTH + days * DAY):
        assert code(pbx.initialise()) == (409, "new-key-required")
        assert held(pbx.serial_number).generation == generation
        pbx.new_key()
        again = pbx.initialise()
        assert verified(again.get_json()["lease"])["generation"] == generation + 1


def test_a_locked_pbx_is_unlocked_by_a_new_key(pbx: TestPbx, held: Held) -> None:
    with freeze_time(BIRTH + 40 * DAY):
        assert pbx.lease()["verdict"] == "locked"
        pbx.new_key()
        assert verified(pbx.initialise().get_json()["lease"])["verdict"] == "active"
        assert pbx.lease()["verdict"] == "active"
    assert held().silent_since == BIRTH + 40 * DAY


def test_three_reinitialisations_in_30_days_and_then_staff_must_open(
    pbx: TestPbx, staff: dict[str, str], history: History
) -> None:
    def again() -> TestResponse:
        pbx.new_key()
        return pbx.initialise()

    url = f"/cic/v1/devices/{SERIAL}"
    for day in (1, 2, 3):
        with freeze_time(BIRTH + day * DAY):
            shown = pbx.client.get(url, headers=staff).get_json()
            assert shown["reinitialisations_left"] == 4 - day
            assert again().status_code == 201
    with freeze_time(BIRTH + 4 * DAY):
        assert code(again()) == (409, "initialisation-limit-reached")
        # What was refused takes nothing away.
        assert pbx.lease()["generation"] == 4
        opened = pbx.client.post(
            f"{url}/reinitialisation", json={"reason": "disk"}, headers=staff
        )
        assert opened.get_json()["reinitialisations_left"] == 3
    with freeze_time(BIRTH + 5 * DAY):
        assert [again().status_code for _ in range(4)] == [201, 201, 201, 409]
    with freeze_time(BIRTH + 35 * DAY - timedelta(seconds=1)):
        assert code(again()) == (409, "initialisation-limit-reached")
    with freeze_time(BIRTH + 35 * DAY):
        assert again().status_code == 201
    assert history().count("reinitialised") == 7


@pytest.mark.parametrize("decision", ["block", "replacement"])
def test_a_blocked_or_replaced_pbx_cannot_initialise(
    pbx: TestPbx, staff: dict[str, str], held: Held, decision: str
) -> None:
    with freeze_time(BIRTH):
        make_device(OTHER)
        body = {"reason": "stolen"} | ({"by": OTHER} if decision != "block" else {})
        url = f"/cic/v1/devices/{SERIAL}/{decision}"
        assert pbx.client.post(url, json=body, headers=staff).status_code == 200
        assert code(pbx.initialise()) == (403, "device-not-permitted")
        pbx.new_key()
        assert code(pbx.initialise()) == (403, "device-not-permitted")
    assert held().generation == 1
    assert certificates() == 1

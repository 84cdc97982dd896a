# SPDX-License-Identifier: Apache-2.0
"""The licence check over HTTP: verdicts, and what is remembered."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta

import pytest
from flask import Flask
from freezegun import freeze_time
from make import NOBODY, SERIAL, TestPbx, make_device, make_nonce, verified
from sqlalchemy import delete, insert, select

from cic.models import Activation
from cic.service import amnesties, holds
from fleet.clock import rfc3339
from fleet.database import reading, transaction
from fleet.ground import ground
from fleet.server.models import Outage
from fleet.server.pulse import policy_changed
from fleet.web import access_log
from fleet.web.models import AccessRecord

BIRTH = datetime(2027, 3, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
OTHER = "CX1000000002"

MakeApp = Callable[..., Flask]
Held = Callable[..., Activation]
History = Callable[..., list[str]]


def at(after: timedelta) -> AbstractContextManager[object]:
    return freeze_time(BIRTH + after)


def decide(decision: Callable[..., None], after: timedelta, **more: str) -> None:
    decision(SERIAL, reason="why", by=NOBODY, now=BIRTH + after, **more)


def state(row: Activation) -> dict[str, object]:
    return {name: getattr(row, name) for name in Activation.__table__.columns.keys()}  # noqa: SIM118 -- a collection of columns, not a dict


# Verdicts.


def test_each_check_answered_active_ends_the_silence(
    pbx: TestPbx, held: Held, history: History
) -> None:
    nonce = make_nonce()
    with at(31 * DAY):
        lease = pbx.lease(nonce=nonce)
    assert (lease["typ"], lease["purpose"]) == ("cic-lease+jwt", "cic-lease")
    assert (lease["sub"], lease["nonce"]) == (SERIAL, nonce)
    assert (lease["iss"], len(lease["jti"])) == (ground().settings.public_url, 22)
    assert (lease["verdict"], lease["reason"]) == ("active", "within-grace")
    assert lease["lock_at"] == rfc3339(BIRTH + 62 * DAY)
    assert lease["exp"] == int((BIRTH + 62 * DAY).timestamp())
    assert 82080 <= lease["next_check_in"] <= 90720
    row = held()
    assert row.silent_since == row.last_success_at == BIRTH + 31 * DAY
    assert (row.last_verdict, row.last_check_at) == ("active", BIRTH + 31 * DAY)
    assert history() == ["initialised"]


def test_a_check_answered_locked_is_no_success(
    pbx: TestPbx, held: Held, history: History
) -> None:
    for after in (31 * DAY + HOUR, 31 * DAY + 2 * HOUR):
        with at(after):
            lease = pbx.lease(failed_attempts=9)
        assert (lease["verdict"], lease["reason"]) == ("locked", "silent-too-long")
        assert lease["lock_at"] == rfc3339(BIRTH + 31 * DAY)
        assert lease["exp"] == int((BIRTH + after + 2 * DAY).timestamp())
    row = held()
    assert row.silent_since == row.last_success_at == BIRTH
    assert (row.last_verdict, row.last_check_at) == ("locked", BIRTH + after)
    assert row.failed_attempts == 9
    # That is told once, not with each hourly check.
    assert history() == ["initialised", "locked"]


def test_the_next_check_is_drawn_anew_each_time(pbx: TestPbx) -> None:
    with at(HOUR):
        drawn = {pbx.lease()["next_check_in"] for _ in range(8)}
    assert len(drawn) > 1


def test_a_block_is_told_and_its_time_is_no_silence(
    pbx: TestPbx, held: Held, history: History
) -> None:
    decide(holds.block, HOUR)
    with at(60 * DAY):
        lease = pbx.lease()
    assert (lease["verdict"], lease["reason"]) == ("blocked", "blocked-by-vendor")
    assert (lease["lock_at"], lease["warn_at"]) == (None, [])
    assert held().silent_since == BIRTH
    decide(holds.unblock, 61 * DAY)
    assert held().silent_since == BIRTH + 61 * DAY - HOUR
    with at(61 * DAY - HOUR + 31 * DAY):
        assert pbx.lease()["verdict"] == "active"
    assert history() == ["initialised", "blocked", "unblocked"]


def test_a_pbx_that_was_locked_before_a_block_is_locked_after_it(
    pbx: TestPbx,
) -> None:
    decide(holds.block, 40 * DAY)
    decide(holds.unblock, 50 * DAY)
    with at(50 * DAY + HOUR):
        assert pbx.lease()["verdict"] == "locked"


def test_a_replaced_pbx_gets_its_verdict_for_good(pbx: TestPbx) -> None:
    with at(0 * DAY):
        make_device(OTHER)
    decide(holds.replace, HOUR, replaced_by=OTHER)
    for after in (2 * HOUR, 300 * DAY):
        with at(after):
            lease = pbx.lease()
        assert lease["verdict"] == "replaced"
        assert lease["reason"] == "replaced-by-other-device"


def test_an_amnesty_unlocks_and_its_withdrawal_locks_again(
    pbx: TestPbx, held: Held, history: History
) -> None:
    now = BIRTH + 40 * DAY
    with at(40 * DAY):
        assert pbx.lease()["verdict"] == "locked"
        assert "amnesty_until" not in pbx.lease()
    granted = amnesties.grant(until=now + 9 * DAY, reason="DNS", by=NOBODY, now=now)
    blocked = TestPbx(pbx.client, OTHER)
    with at(40 * DAY):
        make_device(OTHER)
        blocked.initialise()
        holds.block(OTHER, reason="", by=NOBODY, now=now)
        # Every lease carries it, whatever else it says.
        assert blocked.lease()["amnesty_until"] == rfc3339(now + 9 * DAY)
        lease = pbx.lease()
        assert (lease["verdict"], lease["reason"]) == ("active", "amnesty")
        assert lease["amnesty_until"] == rfc3339(now + 9 * DAY)
        assert lease["lock_at"] == rfc3339(now + 31 * DAY)
    assert held().silent_since == now
    assert history() == ["initialised", "locked", "unlocked"]
    amnesties.withdraw(granted.id, reason="", by=NOBODY, now=now)
    with at(40 * DAY):
        assert "amnesty_until" not in pbx.lease()


def test_of_two_amnesties_the_longer_counts_until_it_is_withdrawn(
    pbx: TestPbx,
) -> None:
    ids = [
        amnesties.grant(until=BIRTH + days * DAY, reason="why", by=NOBODY, now=BIRTH).id
        for days in (50, 40)
    ]
    with at(45 * DAY):
        assert pbx.lease()["verdict"] == "active"
    amnesties.withdraw(ids[0], reason="", by=NOBODY, now=BIRTH)
    with at(45 * DAY + 31 * DAY + HOUR):
        assert pbx.lease()["verdict"] == "locked"


@pytest.mark.parametrize(
    ("credit", "verdict"),
    [
        pytest.param(True, "active", id="credited"),
        pytest.param(False, "locked", id="switched off"),
    ],
)
def test_our_own_outage_is(
    make_app: MakeApp, held: Held, credit: bool, verdict: str
) -> None:
    pbx = TestPbx(make_app(outage_credit=credit).test_client())
    with at(0 * DAY):
        make_device()
        pbx.initialise()
    with at(33 * DAY):
        assert pbx.lease()["verdict"] == "locked"
    with transaction() as session:
        down = {"began_at": BIRTH + DAY, "ended_at": BIRTH + 4 * DAY}
        session.execute(insert(Outage).values(down))
        policy_changed(session.connection())
    with at(33 * DAY + HOUR):
        assert pbx.lease()["verdict"] == verdict
    unlocked = verdict == "active"
    assert held().silent_since == (BIRTH + 33 * DAY + HOUR if unlocked else BIRTH)


def test_a_grace_counts_from_the_next_check_on(pbx: TestPbx, held: Held) -> None:
    def set_grace(days: int | None) -> None:
        amnesties.set_grace(
            "COMtrexx VM", grace_days=days, reason="why", by=NOBODY, now=BIRTH
        )

    with at(10 * DAY):
        assert pbx.lease()["minimum_attempts"] == 360
        set_grace(5)
        lease = pbx.lease()
        assert lease["lock_at"] == rfc3339(BIRTH + 16 * DAY)
        assert lease["minimum_attempts"] == 60
        decide(lambda serial, **who: holds.change(serial, grace_days=90, **who), DAY)
        assert pbx.lease()["lock_at"] == rfc3339(BIRTH + 101 * DAY)
        decide(lambda serial, **who: holds.change(serial, grace_days=None, **who), DAY)
        set_grace(None)
        assert pbx.lease()["lock_at"] == rfc3339(BIRTH + 41 * DAY)
    assert held().grace_days == 0


# Continuation.


def test_a_lost_answer_is_no_clone_and_the_same_request_gets_the_same_token(
    pbx: TestPbx, held: Held
) -> None:
    with at(DAY):
        first = pbx.check().get_json()["continuation"]
        nonce = make_nonce()
        lost = pbx.check(nonce=nonce, continuation=first).get_json()["continuation"]
        again = pbx.check(nonce=nonce, continuation=first).get_json()["continuation"]
        later = pbx.check(continuation=first).get_json()["continuation"]
        assert lost == again == later != first
        assert pbx.check(continuation=later).get_json()["continuation"] != later
    assert held().clone_suspected_at is None


@pytest.mark.parametrize("presented", ["an older one", None, ""])
def test_a_clone_is_marked_for_staff_and_nothing_else_changes(
    pbx: TestPbx, held: Held, history: History, presented: str | None
) -> None:
    with at(DAY):
        oldest = pbx.check().get_json()["continuation"]
        pbx.check()
        current = pbx.check().get_json()["continuation"]
        before = state(held())
        shown = oldest if presented == "an older one" else presented
        answer = pbx.check(continuation=shown)
        assert verified(answer.get_json()["lease"])["verdict"] == "active"
        assert answer.get_json()["continuation"] == current
        assert state(held()) == before | {"clone_suspected_at": BIRTH + DAY}
    with at(2 * DAY):
        pbx.check(continuation="never issued")
        assert pbx.check(continuation=current).get_json()["continuation"] != current
    assert held().clone_suspected_at == BIRTH + DAY
    assert history() == ["initialised", "clone-suspected"]
    with at(3 * DAY):
        pbx.new_key()
        pbx.initialise()
        assert pbx.lease()["verdict"] == "active"
    assert held().clone_suspected_at is None


# What is remembered.


SKEWS = {
    "right": ("2027-03-02T12:00:00Z", 0),
    "right, in another zone": ("2027-03-02T14:00:00+02:00", 0),
    "45 seconds behind": ("2027-03-02T11:59:15Z", -45),
    "a dead battery": ("1970-01-01T00:00:00Z", -1803988800),
    "as early as can be": ("0001-01-01T00:00:00Z", -1892160000),
    "as late as can be": ("9999-12-31T23:59:59Z", 1892160000),
    "it does not say": (None, None),
}


def test_the_clock_of_the_pbx_is_recorded_and_judges_nothing(
    pbx: TestPbx, held: Held
) -> None:
    for said, (device_time, skew) in SKEWS.items():
        with at(DAY):
            assert pbx.lease(device_time=device_time)["verdict"] == "active", said
        assert held().clock_skew_seconds == skew, said


def test_what_the_pbx_says_of_itself_is_recorded(pbx: TestPbx, held: Held) -> None:
    with at(DAY):
        pbx.lease(software_version="2.4.0", failed_attempts=3)
        row = held()
        assert (row.software_version, row.failed_attempts) == ("2.4.0", 3)
        pbx.lease(software_version="2.3.9", from_newer_firmware={"deep": [1]})
    row = held()
    assert (row.software_version, row.failed_attempts) == ("2.3.9", 0)
    # The type is the registry's; what a PBX says of it is for statistics only.
    assert row.device_type == "COMtrexx VM"


def test_the_access_record_holds_what_was_promised_and_no_more(
    pbx: TestPbx,
) -> None:
    access_log.flush()
    with transaction() as session:
        session.execute(delete(AccessRecord))
    pbx.client.environ_base["HTTP_X_FORWARDED_FOR"] = "192.0.2.17"
    with at(DAY):
        pbx.lease(software_version="2.4.0", device_type="COMtrexx Flex")
        refused = TestPbx(pbx.client, OTHER, chain=pbx.chain)
        assert refused.check().status_code == 403
    access_log.flush()
    with reading() as session:
        row = session.execute(select(AccessRecord.__table__)).mappings().one()
    assert dict(row) == {
        "id": row["id"],
        "service": "cic",
        "accessed_at": BIRTH + DAY,
        "address": "192.0.2.17",
        "device_type": "COMtrexx Flex",
        "software_version": "2.4.0",
    }


def test_a_clock_behind_another_nodes_takes_no_success_back(
    pbx: TestPbx, held: Held
) -> None:
    with at(2 * DAY):
        pbx.lease()
    with at(2 * DAY - timedelta(minutes=4)):
        assert pbx.lease()["lock_at"] == rfc3339(BIRTH + 33 * DAY)
    assert held().last_success_at == held().last_check_at == BIRTH + 2 * DAY

# SPDX-License-Identifier: Apache-2.0
"""Staff give a PBX something without a voucher."""

from datetime import timedelta

import pytest
from calling import entitled, functions, problem, redeem, start_trial, sync
from desk import Desk, Person, audited, said
from flask import Flask
from freezegun import freeze_time
from fuzz.journeys import dump
from make import NOBODY, SERIAL, TestPbx
from making import BIRTH, ledger_rows, make_product, make_voucher, release_rows
from moving import genuine, use_up

from cic.service import holds
from fleet.clock import utcnow
from fleet.staff.roles import Role
from voucher.service.trade import products

DAY = timedelta(days=1)
TRIAL = 30


pytestmark = pytest.mark.usefixtures("at_birth")


def refused(who: Person, **wanted: object) -> tuple[int, str]:
    """Try to grant; return why not, and find that nothing has changed."""
    before = dump()
    wish = {"serial_number": SERIAL, "product_number": 17} | wanted
    answer = who.post("/grants", **wish)
    assert dump() == before
    return problem(answer)


def test_a_grant_is_a_release_with_a_code(pbx: TestPbx, anna: Person) -> None:
    make_product(17, duration_days=30)
    answer = anna.post("/grants", serial_number="cx-1000 000001", product_number=17)
    assert answer.status_code == 201
    made = said(answer)
    assert (made["source"], made["standing"]) == ("grant", "in-force")
    assert (made["quantity"], made["expires_on"]) == (10, "2027-03-31")
    assert genuine(made["release_code"], SERIAL).product_number == 17
    (function,) = functions(sync(pbx))
    assert (function["source"], function["quantity"]) == ("grant", 10)


def test_it_is_of_the_present_version(pbx: TestPbx, anna: Person) -> None:
    make_product(17)
    make_product(17, quantity=20)
    assert (
        said(anna.post("/grants", serial_number=SERIAL, product_number=17))[
            "product_version"
        ]
        == 2
    )
    assert entitled(pbx) == [("users", 20, None)]


def test_it_is_written_down_by_whom_and_why(anna: Person) -> None:
    make_product(17, duration_days=30)
    said(anna.post("/grants", serial_number=SERIAL, product_number=17))
    (row,) = ledger_rows()
    assert (row.kind, row.actor, row.reason) == ("granted", "Anna Agent", "as agreed")
    (entry,) = audited("release.grant")
    assert (entry.subject, entry.actor) == (f"device:{SERIAL}", "Anna Agent")
    assert entry.after == {
        "release_id": row.release_id,
        "product_number": 17,
        "product_version": 1,
        "quantity": 10,
        "last_day": "2027-03-31",
    }


def test_a_granted_trial_is_the_pbxs_one_trial(pbx: TestPbx, anna: Person) -> None:
    make_product(TRIAL, quantity=3, duration_days=14, trial=True)
    first = anna.post("/grants", serial_number=SERIAL, product_number=TRIAL)
    again = anna.post("/grants", serial_number=SERIAL, product_number=TRIAL)
    assert (first.status_code, again.status_code) == (201, 200)
    assert said(first) == said(again)
    assert said(first)["source"] == "trial"
    own = start_trial(pbx, TRIAL)
    assert own.status_code == 200
    assert said(own)["release_code"] == said(first)["release_code"]
    with freeze_time(BIRTH + 20 * DAY):
        assert refused(anna, product_number=TRIAL) == (409, "trial-already-used")


def test_a_request_that_is_sent_again_grants_once(pbx: TestPbx, anna: Person) -> None:
    make_product(17)
    anna.headers["Idempotency-Key"] = "once"
    both = [
        anna.post("/grants", serial_number=SERIAL, product_number=17) for _ in range(2)
    ]
    assert both[0].data == both[1].data
    assert entitled(pbx) == [("users", 10, None)]


def test_to_a_locked_pbx_it_is_given_and_to_a_held_one_not(
    pbx: TestPbx, anna: Person
) -> None:
    make_product(17)
    with freeze_time(BIRTH + 60 * DAY):
        assert pbx.lease()["verdict"] == "locked"
        said(anna.post("/grants", serial_number=SERIAL, product_number=17))
    holds.block(SERIAL, reason="stolen", by=NOBODY, now=utcnow())
    assert refused(anna) == (403, "device-not-permitted")


def test_what_cannot_be_granted_is_refused(
    proxied_app: Flask, pbx: TestPbx, anna: Person
) -> None:
    assert refused(anna) == (404, "unknown-product")
    make_product(17, device_types=["COMtrexx Next"])
    assert refused(anna) == (409, "voucher-not-for-this-device")
    make_product(17, prerequisites=["recording"])
    assert refused(anna) == (409, "prerequisite-missing")
    make_product(17, stacking="renew")
    assert refused(anna, serial_number="CX9999999999") == (404, "unknown-device")
    said(redeem(pbx, make_voucher(make_product(17, stacking="renew"))[0]))
    assert refused(anna) == (409, "voucher-without-effect")
    use_up(SERIAL, 1023)
    make_product(17)
    assert refused(anna) == (409, "release-codes-exhausted")
    boss = Desk(proxied_app).person("Paula", Role.PRODUCT_MANAGER)
    assert boss is not anna
    products.retire(17, reason="over", by=NOBODY, now=utcnow())
    assert refused(boss) == (409, "product-retired")
    assert len(release_rows()) == 2

# SPDX-License-Identifier: Apache-2.0
"""Support is asked about a voucher or a PBX, and has the answer in one view."""

from datetime import timedelta
from typing import Any

import pytest
from calling import problem, redeem
from desk import Desk, Person, said
from flask import Flask
from freezegun import freeze_time
from make import SERIAL, TestPbx
from making import (
    BIRTH,
    activate,
    days,
    make_batch,
    make_pbx,
    make_product,
    make_voucher,
    release_rows,
)
from redeeming import redeem as redeem_for
from redeeming import refused

from fleet.staff.roles import Role, StaffMember
from voucher import codes
from voucher.service.redemptions import Way
from voucher.service.trade import selections
from voucher.service.trade.selections import Selection

OTHER = "CX1000000002"
HOUR = timedelta(hours=1)
PAULA = StaffMember(None, "cli:paula", Role.OPERATOR)


pytestmark = pytest.mark.usefixtures("at_birth")


# One voucher: what, when, by whom, on which PBX, and why.


def test_a_redeemed_voucher_says_everything(pbx: TestPbx, anna: Person) -> None:
    product = make_product(17, duration_days=365)
    batch = make_batch(product, dealer="Funk", order_reference="4711")
    code, voucher_id = make_voucher(batch=batch)
    with freeze_time(BIRTH + HOUR):
        made = said(redeem(pbx, code))
    found = anna.voucher(voucher_id)
    assert found["why"] == (
        f"It was redeemed on 2027-03-01 13:00 UTC for PBX {SERIAL}, by the PBX itself."
    )
    wanted = {
        "id": voucher_id,
        "batch_id": batch.id,
        "number": 1,
        "last_four": code[-4:],
        "state": "redeemed",
        "product_number": 17,
        "product_version": 1,
        "function": "users",
        "unit": "users",
        "quantity": 10,
        "duration_days": 365,
        "dealer": "Funk",
        "order_reference": "4711",
        "redeemed_at": "2027-03-01T13:00:00Z",
        "activated_at": "2027-03-01T12:00:00Z",
        "serial_number": SERIAL,
        "serial_last_four": "0001",
        "expires_on": "2028-02-29",
        "revoked_at": None,
        "valid_until": None,
        "refusals": [],
    }
    assert {name: found[name] for name in wanted} == wanted
    assert found["names"]["de"] == "10 Teilnehmer"
    (release,) = found["releases"]
    assert release["release_code"] == made["release_code"]
    assert release["standing"] == "in-force"
    told = [(e["kind"], e["actor"], e["serial_number"]) for e in found["history"]]
    assert told == [
        ("redeemed", "pbx", SERIAL),
        ("activated", "Paula Products", None),
        ("exported", "Paula Products", None),
        ("allocated", "Paula Products", None),
        ("created", "Paula Products", None),
    ]
    assert code not in str(found)


def test_in_the_browser_is_said_where_it_was(anna: Person) -> None:
    code, voucher_id = make_voucher()
    redeem_for(code, way=Way.BROWSER)
    assert anna.voucher(voucher_id)["why"] == (
        f"It was redeemed on 2027-03-01 12:00 UTC for PBX {SERIAL}, in the browser."
    )


@pytest.mark.parametrize(
    ("made", "state", "why"),
    [
        pytest.param(
            {"activated": False},
            "exported",
            "It is in stock and was not activated at a sale yet, so it cannot be "
            "redeemed; its code was exported on 2027-03-01 12:00 UTC.",
            id="exported",
        ),
        pytest.param(
            {"activated": False, "dealer": "Funk"},
            "allocated",
            "It is with the dealer Funk and was not activated at a sale yet, so it "
            "cannot be redeemed; its code was exported on 2027-03-01 12:00 UTC.",
            id="allocated",
        ),
        pytest.param(
            {},
            "activated",
            "It was activated at its sale on 2027-03-01 12:00 UTC and can be redeemed.",
            id="activated",
        ),
        pytest.param(
            {"valid_until": BIRTH + days(30)},
            "activated",
            "It was activated at its sale on 2027-03-01 12:00 UTC and can be redeemed "
            "until 2027-03-31 12:00 UTC.",
            id="activated, for a time",
        ),
        pytest.param(
            {"valid_until": BIRTH},
            "expired",
            "It was not redeemed before 2027-03-01 12:00 UTC, and has expired.",
            id="expired",
        ),
    ],
)
def test_the_state_is_explained_in_one_sentence(
    anna: Person, made: dict[str, Any], state: str, why: str
) -> None:
    _, voucher_id = make_voucher(make_product(), **made)
    found = anna.voucher(voucher_id)
    assert (found["state"], found["why"]) == (state, why)
    (listed,) = said(anna.get("/vouchers", batch_id=found["batch_id"]))["items"]
    assert (listed["state"], listed["why"]) == (state, why)


def test_a_voucher_without_a_code_is_explained_too(anna: Person) -> None:
    batch = make_batch(make_product())
    (found,) = said(anna.get("/vouchers", batch_id=batch.id))["items"]
    assert (found["state"], found["last_four"]) == ("created", "")
    assert found["why"] == (
        "It is in stock without a code: it was not exported yet, so nobody has it."
    )


def test_a_stolen_range_says_who_revoked_it_and_why(anna: Person) -> None:
    batch = make_batch(make_product(), 5)
    voucher_id = make_voucher(batch=batch)[1]
    wanted = Selection(batch_id=batch.id, first=1, last=3)
    selections.revoke(wanted, reason="Van broken into.", by=PAULA, now=BIRTH)
    found = anna.voucher(voucher_id)
    assert found["why"] == (
        "It was revoked on 2027-03-01 12:00 UTC by cli:paula: Van broken into."
    )
    other = said(anna.get("/vouchers", batch_id=batch.id, state="created"))["items"]
    assert [each["number"] for each in other] == [4, 5]
    assert "revoked" not in str(anna.voucher(other[0]["id"])["history"])


# Why was it refused?


def test_refusals_are_told_with_their_reasons(proxied_app: Flask, anna: Person) -> None:
    make_pbx(proxied_app, OTHER)
    code, voucher_id = make_voucher(activated=False)
    assert refused(code, OTHER) == "voucher-not-activated"
    activate(voucher_id)
    redeem_for(code)
    assert refused(code, OTHER, after=HOUR, way=Way.BROWSER) == (
        "voucher-already-redeemed"
    )
    found = anna.voucher(voucher_id)["refusals"]
    assert [
        (each["problem"], each["why"], each["way"], each["serial_number"])
        for each in found
    ] == [
        (
            "voucher-already-redeemed",
            "This voucher was redeemed for another PBX.",
            "browser",
            OTHER,
        ),
        (
            "voucher-not-activated",
            "This voucher was not activated at its sale yet.",
            "pbx",
            OTHER,
        ),
    ]
    of_pbx = anna.device(OTHER)["refusals"]
    assert [(each["voucher_id"], each["last_four"]) for each in of_pbx] == [
        (voucher_id, code[-4:])
    ] * 2


# One PBX.


def test_a_pbx_says_what_it_may_and_how_it_came_to_it(
    pbx: TestPbx, anna: Person
) -> None:
    users, channels = (
        make_product(),
        make_product(18, function="channels", duration_days=30),
    )
    for product in (users, channels, users):
        said(redeem(pbx, make_voucher(product)[0]))
    found = anna.device("cx 1000 000001")
    assert (found["serial_number"], found["device_type"]) == (SERIAL, "COMtrexx VM")
    assert found["functions"] == [
        {
            "function": "channels",
            "quantity": 10,
            "expires_on": "2027-03-31",
            "source": "voucher",
        },
        {"function": "users", "quantity": 20, "expires_on": None, "source": "voucher"},
    ]
    assert found["next_expiry"] == "2027-03-31"
    assert found["release_codes_left"] == 1020
    kept = [codes.shown(each.code) for each in reversed(release_rows())]
    assert [each["release_code"] for each in found["releases"]] == kept
    assert [each["kind"] for each in found["history"]] == ["redeemed"] * 3


def test_a_pbx_that_has_nothing_says_so(anna: Person) -> None:
    found = anna.device(SERIAL)
    assert {name: found[name] for name in ("functions", "next_expiry", "releases")} == {
        "functions": [],
        "next_expiry": None,
        "releases": [],
    }
    assert problem(anna.get("/devices/CX9999999999")) == (404, "unknown-device")
    assert anna.get("/devices/x").status_code == 400


# Who may ask.


@pytest.mark.parametrize(
    ("role", "reads", "decides"),
    [
        (Role.SUPPORT, True, True),
        (Role.PRODUCT_MANAGER, True, True),
        (Role.AUDITOR, True, False),
        (Role.OPERATOR, False, False),
        (Role.RELEASE_MANAGER, False, False),
    ],
)
def test_who_may_ask_and_who_decide(
    proxied_app: Flask, pbx: TestPbx, role: Role, reads: bool, decides: bool
) -> None:
    code, voucher_id = make_voucher()
    said(redeem(pbx, code))
    who = Desk(proxied_app).person("Somebody", role)
    asked = [
        who.get("/vouchers"),
        who.get(f"/vouchers/{voucher_id}"),
        who.get(f"/devices/{SERIAL}"),
        who.look_up(code),
    ]
    assert {each.status_code for each in asked} == {200 if reads else 403}
    decided = [
        who.post("/grants", serial_number=SERIAL, product_number=17),
        who.post("/releases/1/move", to_serial_number="CX9999999999"),
        who.post("/releases/1/reversal"),
        who.post("/releases/1/reversal/confirmation"),
        who.post(f"/vouchers/{make_voucher()[1]}/replacement"),
    ]
    statuses = [each.status_code for each in decided]
    assert statuses == ([201, 404, 200, 403, 201] if decides else [403] * 5)
    if decides:
        assert problem(decided[3]) == (403, "second-person-needed")

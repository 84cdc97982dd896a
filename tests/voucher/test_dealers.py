# SPDX-License-Identifier: Apache-2.0
"""A dealer sees its own batches and vouchers: all else is as if it did not exist."""

from datetime import timedelta
from typing import Any

import pytest
from calling import problem, redeem
from desk import Desk, Person, said
from flask import Flask
from freezegun import freeze_time
from make import SERIAL, TestPbx
from making import BIRTH, make_batch, make_pbx, make_product, make_voucher
from redeeming import refused
from werkzeug.test import TestResponse

from fleet.staff.roles import Role, StaffMember
from fleet.web.callers import Kind, callers_of
from voucher import codes
from voucher.service.trade import selections
from voucher.service.trade.selections import Selection

PAULA = StaffMember(None, "cli:paula", Role.OPERATOR)
HOUR = timedelta(hours=1)

# All that a dealer's token may call. A new line here is a decision, to be seen in
# review: whatever stands here filters by the dealer, and is tried below.
A_DEALERS = {
    ("GET", "/voucher/v1/batches"),
    ("GET", "/voucher/v1/batches/<int(max=9223372036854775807):batch_id>"),
    ("GET", "/voucher/v1/totals"),
    ("GET", "/voucher/v1/vouchers"),
    ("GET", "/voucher/v1/vouchers/<int(max=9223372036854775807):voucher_id>"),
    ("POST", "/voucher/v1/lookups"),
}


pytestmark = pytest.mark.usefixtures("at_birth")


@pytest.fixture
def funk(proxied_app: Flask, pbx: TestPbx) -> Person:  # noqa: ARG001 -- there first
    with freeze_time(BIRTH):
        return Desk(proxied_app).dealer("Funk")


@pytest.fixture
def weber(proxied_app: Flask, pbx: TestPbx) -> Person:  # noqa: ARG001 -- there first
    with freeze_time(BIRTH):
        return Desk(proxied_app).dealer("Weber")


def ids(answer: Any) -> list[int]:
    return [each["id"] for each in said(answer)["items"]]


def give(
    dealer: str, *, reason: str = "order of the customer Bäcker", **which: Any
) -> None:
    selections.allocate(
        Selection(**which), dealer=dealer, reason=reason, by=PAULA, now=BIRTH + HOUR
    )


# Every route that there is.


def test_a_dealer_may_call_these_routes_and_no_others(app: Flask) -> None:
    found = set()
    for rule in app.url_map.iter_rules():
        callers = callers_of(app.view_functions[rule.endpoint])
        assert callers is not None
        if callers.kind is Kind.STAFF and Role.DEALER in callers.roles:
            found |= {
                (method, rule.rule)
                for method in rule.methods or ()
                if method in METHODS
            }
    assert found == A_DEALERS


METHODS = {"GET", "POST", "PUT", "PATCH", "DELETE"}


def test_every_other_route_refuses_a_dealer(app: Flask) -> None:
    dealer = Desk(app).dealer("Funk")
    tried = 0
    for rule in app.url_map.iter_rules():
        callers = callers_of(app.view_functions[rule.endpoint])
        assert callers is not None
        for method in METHODS & set(rule.methods or ()):
            if (method, rule.rule) in A_DEALERS or callers.kind is Kind.ANYONE:
                continue
            path = rule.build(dict.fromkeys(rule.arguments, 1))
            assert path is not None
            answer = dealer.client.open(path[1], method=method, headers=dealer.headers)
            if callers.kind is Kind.STAFF:
                assert problem(answer) == (403, "not-permitted"), rule
            elif callers.kind is Kind.DEVICE:
                assert problem(answer) == (401, "device-certificate-required"), rule
            tried += 1
    assert tried > 30


# What those few routes say to one.


def test_a_dealer_sees_its_own_and_nothing_of_others(
    funk: Person, weber: Person
) -> None:
    product = make_product()
    batch = make_batch(product, 2, dealer="Funk")
    mine = [make_voucher(batch=batch) for _ in range(2)]
    their_batch = make_batch(product, 1, dealer="Weber")
    theirs, their_id = make_voucher(batch=their_batch)
    nobodys, nobodys_id = make_voucher(product)

    assert ids(funk.get("/vouchers")) == [voucher_id for _, voucher_id in mine]
    assert ids(funk.get("/batches")) == [batch.id]
    assert ids(weber.get("/vouchers")) == [their_id]
    for code, voucher_id in mine:
        assert said(funk.look_up(code))["voucher"] == funk.voucher(voucher_id)
        assert said(funk.get(f"/batches/{batch.id}"))["id"] == batch.id
    for code, voucher_id in ((theirs, their_id), (nobodys, nobodys_id)):
        assert problem(funk.get(f"/vouchers/{voucher_id}")) == (404, "unknown-voucher")
        assert problem(funk.look_up(code)) == (404, "unknown-voucher")
    assert problem(funk.get(f"/batches/{their_batch.id}")) == (404, "unknown-batch")


def test_what_is_not_its_own_looks_the_same_as_what_is_not_there(
    funk: Person,
) -> None:
    code, voucher_id = make_voucher(dealer="Weber")
    for there, nowhere in (
        (funk.get(f"/vouchers/{voucher_id}"), funk.get("/vouchers/999")),
        (funk.get("/batches/1"), funk.get("/batches/999")),
        (funk.look_up(code), funk.look_up(codes.draw())),
    ):
        assert looks(there) == looks(nowhere)
        assert there.status_code == 404


def looks(answer: TestResponse) -> dict[str, Any]:
    """Return a refusal without the number of the request."""
    return {key: said for key, said in answer.get_json().items() if key != "instance"}


@pytest.mark.parametrize(
    "query",
    [
        {"dealer": "Weber"},
        {"batch_id": 2},
        {"order_reference": "W-1"},
        {"serial_number": SERIAL},
        {"last_four": "{last_four}"},
        {"state": "redeemed"},
    ],
)
def test_no_filter_finds_what_is_anothers(
    pbx: TestPbx, funk: Person, weber: Person, query: dict[str, Any]
) -> None:
    make_voucher(dealer="Funk")
    batch = make_batch(make_product(), dealer="Weber", order_reference="W-1")
    code, voucher_id = make_voucher(batch=batch)
    said(redeem(pbx, code))
    if "last_four" in query:
        query = {"last_four": code[-4:]}
    assert ids(weber.get("/vouchers", **query)) == [voucher_id]
    assert ids(funk.get("/vouchers", **query)) == []


def test_of_a_customers_pbx_a_dealer_sees_the_end_of_the_serial_number(
    pbx: TestPbx, funk: Person
) -> None:
    code, voucher_id = make_voucher(dealer="Funk")
    make_pbx(pbx.client.application, "CX1000000002")
    release_code = said(redeem(pbx, code))["release_code"]
    refused(code, "CX1000000002")
    found = funk.voucher(voucher_id)
    assert (found["state"], found["redeemed_at"]) == (
        "redeemed",
        "2027-03-01T12:00:00Z",
    )
    assert found["why"] == (
        "It was redeemed on 2027-03-01 12:00 UTC for a PBX whose serial number ends in "
        "0001, by the PBX itself."
    )
    assert (found["serial_number"], found["serial_last_four"]) == (None, "0001")
    assert found["releases"] == []
    (attempt,) = found["refusals"]
    assert (attempt["serial_number"], attempt["serial_last_four"]) == (None, "0002")
    seen = funk.get("/vouchers").text + str(found) + funk.look_up(code).text
    for hidden in (SERIAL, "CX1000000002", release_code):
        assert hidden not in seen


def test_who_on_the_staff_did_what_and_why_is_not_a_dealers(
    funk: Person, weber: Person
) -> None:
    code, voucher_id = make_voucher(make_product())
    give("Weber", voucher_id=voucher_id)
    give("Funk", voucher_id=voucher_id)
    told = [
        (each["kind"], each["actor"], each["reason"])
        for each in funk.voucher(voucher_id)["history"]
    ]
    assert told == [("allocated", "staff", "")] * 2
    assert problem(weber.get(f"/vouchers/{voucher_id}")) == (404, "unknown-voucher")
    for seen in (
        funk.look_up(code),
        funk.get("/vouchers"),
        funk.get("/batches"),
        funk.get("/batches/1"),
        funk.get("/totals"),
    ):
        for hidden in ("paula", "Paula", "Weber", "Bäcker"):
            assert hidden not in seen.get_data(as_text=True), hidden


def test_a_release_code_leads_a_dealer_to_its_own_voucher_only(
    pbx: TestPbx, funk: Person, weber: Person
) -> None:
    code, voucher_id = make_voucher(dealer="Funk")
    release_code = said(redeem(pbx, code))["release_code"]
    found = said(funk.look_up(release_code))
    assert found["voucher"]["id"] == voucher_id
    assert found["release"] is None
    assert problem(weber.look_up(release_code)) == (404, "unknown-voucher")


def test_nor_to_a_grant(proxied_app: Flask, funk: Person) -> None:
    make_product()
    anna = Desk(proxied_app).person()
    made = said(anna.post("/grants", serial_number=SERIAL, product_number=17))
    assert problem(funk.look_up(made["release_code"])) == (404, "unknown-voucher")


def test_part_of_a_batch_is_seen_as_that_part(funk: Person) -> None:
    batch = make_batch(make_product(), 10, order_reference="stock 2027")
    give("Funk", batch_id=batch.id, first=4, last=6)
    (found,) = said(funk.get("/batches"))["items"]
    assert found["count"] == 3
    assert "stock 2027" not in funk.get("/vouchers").text
    assert [each["number"] for each in said(funk.get("/vouchers"))["items"]] == [
        4,
        5,
        6,
    ]
    assert ids(funk.get("/vouchers", order_reference="stock 2027")) == []
    (total,) = said(funk.get("/totals"))["items"]
    assert total["states"]["allocated"] == 3


def test_what_is_taken_back_is_gone(funk: Person) -> None:
    code, voucher_id = make_voucher(dealer="Funk", activated=False)
    assert funk.voucher(voucher_id)["state"] == "allocated"
    give("", voucher_id=voucher_id)
    assert problem(funk.get(f"/vouchers/{voucher_id}")) == (404, "unknown-voucher")
    assert problem(funk.look_up(code)) == (404, "unknown-voucher")
    assert ids(funk.get("/vouchers")) == []


def test_a_dealer_of_another_spelling_is_another_dealer(proxied_app: Flask) -> None:
    make_voucher(dealer="Funk")
    for name in ("funk", "Funk GmbH", "Fun", "Funk\u00a0"):
        if name.strip() == name:
            assert ids(Desk(proxied_app).dealer(name).get("/vouchers")) == []

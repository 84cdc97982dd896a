# SPDX-License-Identifier: Apache-2.0
"""Vouchers are found: by a code, however it is read out, and by what callers know."""

from typing import Any

import pytest
from calling import problem, redeem, start_trial
from desk import Person, said
from flask import Flask
from freezegun import freeze_time
from make import SERIAL, TestPbx
from making import BIRTH, days, make_batch, make_pbx, make_product, make_voucher
from redeeming import redeem as redeem_for

from fleet.database import transaction
from voucher import codes
from voucher.models import Voucher

OTHER = "CX1000000002"


pytestmark = pytest.mark.usefixtures("at_birth")


def ids(answer: Any) -> list[int]:
    return [each["id"] for each in said(answer)["items"]]


# By the code, however it is read out.


@pytest.mark.parametrize(
    "spelled",
    [
        pytest.param(codes.shown, id="as printed"),
        pytest.param(str, id="without hyphens"),
        pytest.param(str.lower, id="in small letters"),
        pytest.param(" ".join, id="letter by letter"),
        pytest.param(
            lambda code: code.replace("0", "o").replace("1", "l"), id="o and l"
        ),
    ],
)
def test_a_code_is_looked_up_in_any_spelling(anna: Person, spelled: Any) -> None:
    code, voucher_id = make_voucher()
    found = said(anna.look_up(spelled(code)))
    assert found["kind"] == "voucher-code"
    assert found["voucher"] == anna.voucher(voucher_id)
    assert found["release"] is None


def test_a_release_code_leads_to_its_pbx_and_its_voucher(
    pbx: TestPbx, anna: Person
) -> None:
    code, voucher_id = make_voucher()
    release_code = said(redeem(pbx, code))["release_code"]
    found = said(anna.look_up(release_code.lower().replace("-", " ")))
    assert found["kind"] == "release-code"
    assert found["voucher"]["id"] == voucher_id
    assert found["release"] == found["voucher"]["releases"][0]
    assert found["release"]["serial_number"] == SERIAL


def test_that_of_a_trial_has_no_voucher(pbx: TestPbx, anna: Person) -> None:
    make_product(30, duration_days=14, trial=True)
    release_code = said(start_trial(pbx, 30))["release_code"]
    found = said(anna.look_up(release_code))
    assert found["voucher"] is None
    assert (found["release"]["source"], found["release"]["standing"]) == (
        "trial",
        "in-force",
    )
    with freeze_time(BIRTH + days(30)):
        ended = said(anna.look_up(release_code))["release"]["standing"]
    assert ended == "ended"


@pytest.mark.parametrize("length", [20, 25])
def test_a_slip_of_the_pen_is_shown_where_it_is(
    pbx: TestPbx, anna: Person, length: int
) -> None:
    code, _ = make_voucher()
    plain = said(redeem(pbx, code))["release_code"].replace("-", "")
    right = code if length == 20 else plain
    wrong = right[:7] + ("A" if right[7] != "A" else "B") + right[8:]
    answer = anna.look_up(wrong)
    assert problem(answer) == (400, "mistyped-code")
    groups = length // 5
    assert f"Look at group 2 of {groups} again." in answer.get_json()["detail"]
    assert wrong not in answer.text
    short = anna.look_up(right[:-1])
    assert f"A code has {length} symbols; 1 is missing." in short.get_json()["detail"]


def test_a_code_that_is_nobodys_is_not_found(anna: Person) -> None:
    assert problem(anna.look_up(codes.draw())) == (404, "unknown-voucher")
    nobodys = codes.with_checks([1] * 23)
    assert problem(anna.look_up(nobodys)) == (404, "unknown-voucher")
    assert problem(anna.get("/vouchers/999")) == (404, "unknown-voucher")


# By what a caller can say.


def test_vouchers_are_found_by_what_is_known_of_them(
    proxied_app: Flask, anna: Person
) -> None:
    make_pbx(proxied_app, OTHER)
    product = make_product()
    ordered = make_batch(product, 2, order_reference="A-1", dealer="Funk")
    mine, mine_id = make_voucher(batch=ordered)
    spare_id = make_voucher(batch=ordered)[1]
    sold, sold_id = make_voucher(product)
    with transaction() as session:
        session.get_one(Voucher, sold_id).order_reference = "B-2"
    redeem_for(mine)
    redeem_for(sold, OTHER)

    def found(**query: Any) -> list[int]:
        return ids(anna.get("/vouchers", **query))

    assert found(last_four=mine[-4:].lower()) == [mine_id]
    assert found(serial_number="cx-1000 000001") == [mine_id]
    assert found(serial_number="CX9999999999") == []
    assert found(order_reference="A-1") == [mine_id, spare_id]
    assert found(order_reference="B-2") == [sold_id]
    assert found(order_reference="a-1") == []
    assert found(dealer="Funk") == [mine_id, spare_id]
    assert found(dealer="Fun") == []
    assert found(batch_id=ordered.id) == [mine_id, spare_id]
    assert found(state="redeemed") == [mine_id, sold_id]
    assert found(dealer="Funk", state="activated") == [spare_id]
    assert found(batch_id=ordered.id, state="redeemed", order_reference="A-1") == [
        mine_id
    ]
    assert found() == [mine_id, spare_id, sold_id]


@pytest.mark.parametrize(
    "query", [{}, {"batch_id": 1}, {"order_reference": "A-1"}, {"dealer": "Funk"}]
)
def test_the_list_comes_page_by_page(anna: Person, query: dict[str, Any]) -> None:
    make_batch(make_product(), 5, order_reference="A-1", dealer="Funk")
    query = query | {"limit": 2}
    seen, pages = [], 0
    while True:
        page = said(anna.get("/vouchers", **query))
        seen += [each["number"] for each in page["items"]]
        pages += 1
        if page["next_cursor"] is None:
            break
        query["cursor"] = page["next_cursor"]
    assert (seen, pages) == ([1, 2, 3, 4, 5], 3)


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"last_four": "abc"}, "last_four"),
        ({"last_four": "abcd\0"}, "last_four"),
        ({"serial_number": "x"}, "serial_number"),
        ({"order_reference": ""}, "order_reference"),
        ({"order_reference": "a\0b"}, "order_reference"),
        ({"batch_id": "0"}, "batch_id"),
        ({"batch_id": str(2**63)}, "batch_id"),
        ({"dealer": ""}, "dealer"),
        ({"state": "lost"}, "state"),
        ({"cursor": "x"}, "cursor"),
        ({"code": "12345"}, "code"),
    ],
)
def test_a_wrong_question_is_refused_by_field(
    anna: Person, query: dict[str, str], field: str
) -> None:
    answer = anna.get("/vouchers", **query)
    assert answer.status_code == 400
    assert set(answer.get_json()["fields"]) == {field}

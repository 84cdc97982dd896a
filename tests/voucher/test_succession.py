# SPDX-License-Identifier: Apache-2.0
"""A PBX is replaced: its heir has every function, and exactly those."""

from datetime import timedelta

import codes_by_the_text as by_the_text
import pytest
from calling import entitled, functions, problem, redeem, start_trial, sync
from desk import Person, said
from flask import Flask
from freezegun import freeze_time
from fuzz.journeys import dump
from make import SERIAL, TestPbx, make_device
from making import (
    BIRTH,
    ledger_rows,
    make_pbx,
    make_product,
    make_voucher,
    release_rows,
    voucher_row,
)
from moving import genuine, use_up
from redeeming import device_id
from werkzeug.test import TestResponse

HEIR = "CX1000000002"
DAY = timedelta(days=1)

# Everything that there is: for ever and for a time, added and renewed, a trial.
PRODUCTS = {
    17: {},
    18: {"function": "channels", "duration_days": 365, "stacking": "renew"},
    19: {"function": "channels", "quantity": 4, "duration_days": 30},
    20: {"function": "recording", "unit": "feature", "quantity": 1},
    30: {"quantity": 3, "duration_days": 14, "trial": True},
}


pytestmark = pytest.mark.usefixtures("at_birth")


@pytest.fixture
def old(pbx: TestPbx) -> TestPbx:
    return pbx


def replace(who: Person, by: str = HEIR, serial_number: str = SERIAL) -> TestResponse:
    return who.client.post(
        f"/cic/v1/devices/{serial_number}/replacement",
        json={"by": by, "reason": "struck by lightning"},
        headers=who.headers,
    )


def stock_up(old: TestPbx, anna: Person) -> list[str]:
    """Give a PBX everything that there is; return the voucher codes."""
    codes = []
    for number, what in PRODUCTS.items():
        product = make_product(number, **what)
        if not product.trial:
            codes += [make_voucher(product)[0] for _ in range(2)]
    for each in codes:
        said(redeem(old, each))
    said(start_trial(old, 30))
    said(anna.post("/grants", serial_number=SERIAL, product_number=20))
    return codes


def test_the_heir_is_entitled_to_exactly_what_the_old_one_was(
    proxied_app: Flask, old: TestPbx, anna: Person
) -> None:
    stock_up(old, anna)
    had = functions(sync(old))
    assert len(had) == 5
    assert replace(anna, by_new_one(proxied_app).serial_number).status_code == 200
    heir = TestPbx(proxied_app.test_client(), HEIR)
    heir.initialise()
    assert functions(sync(heir)) == had
    assert problem(sync(old)) == (403, "device-not-permitted")
    with freeze_time(BIRTH + 20 * DAY):  # the trial is over
        heir.lease()
        assert functions(sync(heir)) == [each for each in had if not is_trial(each)]


def by_new_one(app: Flask) -> TestPbx:
    """A PBX as it leaves the factory, not yet initialised."""
    return make_pbx(app, HEIR, initialised=False)


def is_trial(function: dict[str, object]) -> bool:
    return function["source"] == "trial"


def test_every_code_of_the_heir_is_genuine_and_says_the_same(
    proxied_app: Flask, old: TestPbx, anna: Person
) -> None:
    stock_up(old, anna)
    before = {each.id: each for each in release_rows()}
    make_pbx(proxied_app, HEIR)
    assert replace(anna).status_code == 200
    ours = [each for each in release_rows() if each.device_id == device_id(HEIR)]
    assert [each.sequence for each in ours] == list(range(1, len(before) + 1))
    for was, now in zip(before.values(), ours, strict=True):
        old_one, new_one = genuine(was.code, SERIAL), genuine(now.code, HEIR)
        assert new_one == old_one
        assert was.code != now.code
        assert isinstance(new_one, by_the_text.Said)
    shown = anna.device(HEIR)["releases"]
    assert [each["release_code"].replace("-", "") for each in reversed(shown)] == [
        each.code for each in ours
    ]


def test_a_voucher_typed_in_again_is_the_heirs(
    proxied_app: Flask, old: TestPbx, anna: Person
) -> None:
    code, voucher_id = make_voucher()
    said(redeem(old, code))
    heir = make_pbx(proxied_app, HEIR)
    assert replace(anna).status_code == 200
    answer = redeem(heir, code)
    assert answer.status_code == 200
    assert said(answer)["release_code"].replace("-", "") == release_rows()[1].code
    assert problem(redeem(old, code)) == (403, "device-not-permitted")
    assert voucher_row(voucher_id).redeemed_by_id == device_id(HEIR)


def test_what_the_heir_had_of_its_own_it_keeps(
    proxied_app: Flask, old: TestPbx, anna: Person
) -> None:
    heir = make_pbx(proxied_app, HEIR)
    product = make_product()
    said(redeem(heir, make_voucher(product)[0]))
    said(redeem(old, make_voucher(product)[0]))
    assert replace(anna).status_code == 200
    assert entitled(heir) == [("users", 20, None)]


def test_what_has_ended_stays_where_it_was(
    proxied_app: Flask, old: TestPbx, anna: Person
) -> None:
    said(redeem(old, make_voucher(make_product(18, duration_days=30))[0]))
    said(redeem(old, make_voucher(make_product(19, duration_days=90))[0]))
    with freeze_time(BIRTH + 32 * DAY):
        heir = make_pbx(proxied_app, HEIR)
        assert replace(anna).status_code == 200
        assert entitled(heir) == [("users", 10, "2027-05-30")]
    assert [each.product_number for each in release_rows()] == [18, 19, 19]


def test_again_it_changes_nothing(
    proxied_app: Flask, old: TestPbx, anna: Person
) -> None:
    said(redeem(old, make_voucher()[0]))
    make_pbx(proxied_app, HEIR)
    assert replace(anna).status_code == 200
    before = dump()
    assert replace(anna).status_code == 200
    assert dump() == before


def test_through_three_generations_it_is_handed_on(
    proxied_app: Flask, old: TestPbx, anna: Person
) -> None:
    code, _ = make_voucher(make_product(18, duration_days=365))
    said(redeem(old, code))
    had, last = entitled(old), SERIAL
    for number in (2, 3, 4):
        heir = make_pbx(proxied_app, f"CX100000000{number}")
        assert replace(anna, heir.serial_number, last).status_code == 200
        assert entitled(heir) == had
        last = heir.serial_number
    moves = [each.kind for each in ledger_rows()]
    assert moves == ["redeemed", *["moved-out", "moved-in"] * 3]


def test_an_heir_of_another_type_loses_nothing(
    proxied_app: Flask, old: TestPbx, anna: Person
) -> None:
    said(redeem(old, make_voucher(make_product(device_types=["COMtrexx VM"]))[0]))
    heir = make_pbx(proxied_app, HEIR, device_type="COMtrexx Next")
    assert replace(anna).status_code == 200
    assert entitled(heir) == [("users", 10, None)]


def test_two_trials_of_one_product_do_not_stand_in_the_way(
    proxied_app: Flask, old: TestPbx, anna: Person
) -> None:
    make_product(30, quantity=3, duration_days=14, trial=True)
    heir = make_pbx(proxied_app, HEIR)
    said(start_trial(heir, 30))
    with freeze_time(BIRTH + 20 * DAY):
        heir.lease()
        old.lease()
        said(start_trial(old, 30))
        assert replace(anna).status_code == 200
        assert functions(sync(heir)) == [
            {
                "function": "users",
                "quantity": 3,
                "expires_on": "2027-04-04",
                "source": "grant",
            }
        ]
        with freeze_time(BIRTH + 40 * DAY):
            heir.lease()
            assert problem(start_trial(heir, 30)) == (409, "trial-already-used")


def test_an_heir_without_release_codes_is_refused_and_nobody_is_replaced(
    proxied_app: Flask, old: TestPbx, anna: Person
) -> None:
    heir = make_pbx(proxied_app, HEIR)
    product = make_product()
    for each in (heir, old, old, old):
        said(redeem(each, make_voucher(product)[0]))
    use_up(HEIR, 1021)
    had = entitled(old)
    before = dump()
    answer = replace(anna)
    assert problem(answer) == (409, "replacement-impossible")
    assert answer.get_json()["detail"] == (
        "The other PBX cannot take over: 3 releases would move to it, and 2 of its "
        "1,023 release codes are left."
    )
    assert dump() == before
    assert entitled(old) == had


def test_support_sees_where_it_went(
    proxied_app: Flask, old: TestPbx, anna: Person
) -> None:
    code, voucher_id = make_voucher()
    said(redeem(old, code))
    make_pbx(proxied_app, HEIR)
    assert replace(anna).status_code == 200
    there = anna.device(SERIAL)
    assert there["functions"] == []
    assert [each["standing"] for each in there["releases"]] == ["moved"]
    assert [
        (each["kind"], each["actor"], each["reason"]) for each in there["history"]
    ] == [
        ("moved-out", "Anna Agent", "struck by lightning"),
        ("redeemed", "pbx", ""),
    ]
    assert anna.voucher(voucher_id)["serial_number"] == HEIR


def test_a_pbx_that_nobody_sold_anything_is_replaced_as_before(
    old: TestPbx, anna: Person
) -> None:
    make_device(HEIR)
    assert replace(anna).status_code == 200
    assert release_rows() == []
    assert old.lease()["verdict"] == "replaced"

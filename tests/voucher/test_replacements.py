# SPDX-License-Identifier: Apache-2.0
"""A damaged card: another code, once, and the old one is void."""

import pytest
from calling import problem, redeem
from desk import Desk, Person, audited, said
from flask import Flask
from freezegun import freeze_time
from fuzz.journeys import dump
from make import TestPbx
from making import (
    BIRTH,
    days,
    ledger_rows,
    make_batch,
    make_product,
    make_voucher,
    voucher_row,
)
from redeeming import together
from sqlalchemy import select

from fleet.database import reading, transaction
from fleet.staff.roles import Role
from voucher.models import Voucher
from voucher.service.trade.totals import in_all, totals

pytestmark = pytest.mark.usefixtures("at_birth")


@pytest.fixture
def paula(proxied_app: Flask, pbx: TestPbx) -> Person:  # noqa: ARG001 -- there first
    with freeze_time(BIRTH):
        return Desk(proxied_app).person("Paula Products", Role.PRODUCT_MANAGER)


def replace(who: Person, voucher_id: int) -> tuple[str, int]:
    made = said(who.post(f"/vouchers/{voucher_id}/replacement"))
    return made["code"], made["voucher"]["id"]


def test_the_new_code_works_and_the_old_one_does_not(
    pbx: TestPbx, paula: Person
) -> None:
    old, old_id = make_voucher()
    new, new_id = replace(paula, old_id)
    assert len(new) == 23
    assert problem(redeem(pbx, old)) == (404, "voucher-not-valid")
    assert redeem(pbx, new).status_code == 201
    shown = paula.voucher(old_id)
    assert (shown["state"], shown["replaced_by"]) == ("revoked", new_id)
    assert shown["why"] == (
        "It was revoked on 2027-03-01 12:00 UTC by Paula Products: as agreed. Voucher "
        f"{new_id} is in its place."
    )


def test_the_new_card_is_what_the_old_one_had_become(paula: Person) -> None:
    batch = make_batch(make_product(), 3, dealer="Funk")
    _, sold = make_voucher(batch=batch)
    _, unsold = make_voucher(batch=batch, activated=False)
    with transaction() as session:
        session.get_one(Voucher, sold).order_reference = "4711"
    made = [voucher_row(replace(paula, each)[1]) for each in (sold, unsold)]
    assert [each.number for each in made] == [4, 5]
    for new, old_id in zip(made, (sold, unsold), strict=True):
        old = voucher_row(old_id)
        for name in ("batch_id", "dealer", "order_reference", "allocated_at"):
            assert getattr(new, name) == getattr(old, name), name
        assert new.activated_at == old.activated_at
        assert new.digest != old.digest
    assert made[1].activated_at is None


def test_the_totals_are_those_of_the_cards_that_there_are(paula: Person) -> None:
    batch = make_batch(make_product(), 3)
    _, voucher_id = make_voucher(batch=batch)
    replace(paula, voucher_id)
    counted = in_all(totals(now=BIRTH, batch_id=batch.id))
    assert {state.value: n for state, n in counted.items() if n} == {
        "created": 2,
        "revoked": 1,
        "activated": 1,
    }


def test_the_ledger_tells_the_life_of_both(paula: Person) -> None:
    _, old_id = make_voucher(dealer="Funk")
    _, new_id = replace(paula, old_id)
    for voucher_id, kinds in (
        (old_id, ["replaced", "activated", "exported", "allocated", "created"]),
        (new_id, ["activated", "allocated", "exported", "created"]),
    ):
        assert [each["kind"] for each in paula.voucher(voucher_id)["history"]] == kinds
    (entry,) = audited("voucher.replace")
    assert entry.subject == f"voucher:{old_id}"
    assert entry.after["voucher_id"] == new_id
    assert [each.reason for each in ledger_rows(releases_only=False)[-4:]] == [
        "as agreed"
    ] * 4


def test_the_code_is_shown_once_and_kept_nowhere(paula: Person) -> None:
    _, old_id = make_voucher()
    paula.headers["Idempotency-Key"] = "once"
    code, new_id = replace(paula, old_id)
    assert replace(paula, old_id) == (code, new_id)  # a lost answer
    del paula.headers["Idempotency-Key"]
    plain = code.replace("-", "")
    assert plain not in str(dump())
    assert code not in str(dump())
    assert code[-4:] == paula.voucher(new_id)["last_four"]
    assert plain not in paula.get(f"/vouchers/{new_id}").text.replace("-", "")


@pytest.mark.parametrize(
    ("state", "made"),
    [
        ("revoked", {"revoked": True}),
        ("expired", {"valid_until": BIRTH}),
    ],
)
def test_a_card_that_is_void_is_not_replaced(
    paula: Person, state: str, made: dict[str, object]
) -> None:
    _, voucher_id = make_voucher(make_product(), now=BIRTH - days(1), **made)  # type: ignore[arg-type] # as given
    refused(paula, voucher_id, state)


def test_nor_one_that_was_redeemed_or_never_printed(
    pbx: TestPbx, paula: Person
) -> None:
    code, voucher_id = make_voucher()
    said(redeem(pbx, code))
    refused(paula, voucher_id, "redeemed")
    batch = make_batch(make_product(), 1, dealer="Funk")
    with reading() as session:
        unprinted = session.scalars(
            select(Voucher.id).where(Voucher.batch_id == batch.id)
        ).one()
    refused(paula, unprinted, "allocated")


def refused(who: Person, voucher_id: int, state: str) -> None:
    before = dump()
    answer = who.post(f"/vouchers/{voucher_id}/replacement")
    assert problem(answer) == (409, "voucher-state-conflict")
    assert f"This voucher is {state};" in answer.get_json()["detail"]
    assert dump() == before


def test_a_voucher_that_never_was_is_not_found(paula: Person) -> None:
    answer = paula.post("/vouchers/999/replacement")
    assert problem(answer) == (404, "unknown-voucher")


def test_while_it_is_being_redeemed_either_happens_and_not_both(
    proxied_app: Flask, pbx: TestPbx, paula: Person
) -> None:
    made = [make_voucher() for _ in range(4)]

    def redeeming(code: str) -> int:
        with proxied_app.app_context():
            return redeem(pbx, code).status_code

    def replacing(voucher_id: int) -> int:
        with proxied_app.app_context():
            return paula.post(f"/vouchers/{voucher_id}/replacement").status_code

    works = [
        work
        for code, voucher_id in made
        for work in (
            lambda code=code: redeeming(code),  # type: ignore[misc] # bound now
            lambda voucher_id=voucher_id: replacing(voucher_id),  # type: ignore[misc] # bound now
        )
    ]
    answers = together(works)
    for redeemed, replaced in zip(answers[::2], answers[1::2], strict=True):
        assert (redeemed, replaced) in {(201, 409), (404, 201)}

# SPDX-License-Identifier: Apache-2.0
"""A PBX tries a product: once for each serial number, whatever becomes of it."""

from datetime import UTC, datetime, timedelta

import pytest
from calling import entitled, problem, redeem, start_trial
from flask import Flask
from freezegun import freeze_time
from fuzz.journeys import dump
from make import NOBODY, SERIAL, TestPbx, verified
from making import (
    BIRTH,
    days,
    ledger_rows,
    make_pbx,
    make_product,
    make_voucher,
    release_rows,
)
from sqlalchemy import update

from cic.service import holds
from fleet.database import transaction
from voucher.models import LedgerEntry, Product

TRIAL = 30
END = datetime(2027, 3, 16, 12, tzinfo=UTC)  # fourteen days, and the last at UTC-12
SECOND = timedelta(seconds=1)


pytestmark = pytest.mark.usefixtures("at_birth")


@pytest.fixture
def trial(pbx: TestPbx) -> Product:  # noqa: ARG001 -- the place it is made in
    """The issue's example: fourteen days, three users, for virtual machines only."""
    with freeze_time(BIRTH):
        return make_product(
            TRIAL,
            quantity=3,
            duration_days=14,
            device_types=["COMtrexx VM"],
            trial=True,
        )


@pytest.mark.usefixtures("trial")
def test_a_trial_runs_its_days_and_ends_with_the_last_everywhere(pbx: TestPbx) -> None:
    answer = start_trial(pbx, TRIAL)

    assert answer.status_code == 201
    said = answer.get_json()
    assert (said["product_number"], said["quantity"]) == (TRIAL, 3)
    assert said["redeemed_at"] == "2027-03-01T12:00:00Z"
    assert said["release_code"].replace("-", "") == release_rows()[0].code
    [function] = verified(said["entitlements"])["functions"]
    assert function == {
        "function": "users",
        "quantity": 3,
        "expires_on": "2027-03-15",
        "source": "trial",
    }
    with freeze_time(END - SECOND):
        assert entitled(pbx) == [("users", 3, "2027-03-15")]
    with freeze_time(END):
        assert entitled(pbx) == []
    assert [(row.kind, row.actor) for row in ledger_rows()] == [
        ("trial-started", "pbx")
    ]


@pytest.mark.usefixtures("trial")
def test_while_it_runs_it_is_answered_again_and_then_it_is_over(pbx: TestPbx) -> None:
    first = start_trial(pbx, TRIAL).get_json()
    before = dump()
    with freeze_time(END - SECOND):
        again = start_trial(pbx, TRIAL)
        assert again.status_code == 200
        assert again.get_json()["release_code"] == first["release_code"]
        assert again.get_json()["redeemed_at"] == first["redeemed_at"]
    with freeze_time(END):
        assert problem(start_trial(pbx, TRIAL)) == (409, "trial-already-used")
    assert dump() == before


@pytest.mark.usefixtures("trial")
def test_a_reinitialisation_starts_no_new_trial(pbx: TestPbx) -> None:
    assert start_trial(pbx, TRIAL).status_code == 201
    with freeze_time(END):
        pbx.new_key()
        assert pbx.initialise().status_code == 201
        assert problem(start_trial(pbx, TRIAL)) == (409, "trial-already-used")


@pytest.mark.usefixtures("trial")
def test_a_new_version_of_the_product_is_no_new_trial(pbx: TestPbx) -> None:
    assert start_trial(pbx, TRIAL).status_code == 201
    make_product(TRIAL, quantity=5, duration_days=90, trial=True)
    again = start_trial(pbx, TRIAL)
    assert (again.status_code, again.get_json()["quantity"]) == (200, 3)
    with freeze_time(END):
        assert problem(start_trial(pbx, TRIAL)) == (409, "trial-already-used")


@pytest.mark.usefixtures("trial")
def test_a_reversed_trial_was_had(pbx: TestPbx) -> None:
    assert start_trial(pbx, TRIAL).status_code == 201
    [release] = release_rows()
    with transaction() as session:
        session.add(
            LedgerEntry(
                happened_at=BIRTH,
                kind="reversed",
                actor="Bo",
                release_id=release.id,
                device_id=release.device_id,
            )
        )
    assert entitled(pbx) == []
    assert problem(start_trial(pbx, TRIAL)) == (409, "trial-already-used")


@pytest.mark.usefixtures("trial")
def test_a_trial_by_voucher_is_the_same_trial(pbx: TestPbx, trial: Product) -> None:
    code, _ = make_voucher(trial)
    assert redeem(pbx, code).status_code == 201
    assert entitled(pbx) == [("users", 3, "2027-03-15")]
    assert start_trial(pbx, TRIAL).status_code == 200
    assert problem(redeem(pbx, make_voucher(trial)[0])) == (409, "trial-already-used")
    assert len(release_rows()) == 1


def test_what_is_bought_after_a_trial_counts(pbx: TestPbx, trial: Product) -> None:
    assert start_trial(pbx, trial.product_number).status_code == 201
    assert redeem(pbx, make_voucher()[0]).status_code == 201
    assert entitled(pbx) == [("users", 3, "2027-03-15"), ("users", 10, None)]


def test_another_type_of_pbx_has_no_such_trial(
    proxied_app: Flask, trial: Product
) -> None:
    box = make_pbx(proxied_app, "CX1000000003", device_type="COMpact 5500R")
    before = dump()
    assert problem(start_trial(box, trial.product_number)) == (
        409,
        "voucher-not-for-this-device",
    )
    assert dump() == before


def test_each_refusal_changes_nothing(pbx: TestPbx, trial: Product) -> None:
    make_product(40)
    make_product(41, trial=True, prerequisites=["conference"])
    make_product(42, trial=True, stacking="renew", quantity=5, duration_days=14)
    make_product(43, trial=True)
    with transaction() as session:
        session.execute(
            update(Product).where(Product.product_number == 43).values(retired_at=BIRTH)
        )
    forever = make_product(44, stacking="renew")
    assert redeem(pbx, make_voucher(forever)[0]).status_code == 201
    before = dump()
    for number, expected in {
        99: (404, "unknown-product"),
        40: (404, "unknown-product"),  # it is for sale, and no trial
        41: (409, "prerequisite-missing"),
        42: (409, "voucher-without-effect"),
        43: (409, "product-retired"),
    }.items():
        assert problem(start_trial(pbx, number)) == expected, number
    assert dump() == before
    assert start_trial(pbx, trial.product_number).status_code == 201


def test_a_trial_that_runs_goes_on_when_its_product_is_retired(
    pbx: TestPbx, trial: Product
) -> None:
    assert start_trial(pbx, TRIAL).status_code == 201
    with transaction() as session:
        session.execute(
            update(Product).where(Product.id == trial.id).values(retired_at=BIRTH)
        )
    assert start_trial(pbx, TRIAL).status_code == 200


@pytest.mark.usefixtures("trial")
def test_a_pbx_that_may_not_run_may_not_try(pbx: TestPbx) -> None:
    with freeze_time(BIRTH + days(60)):
        assert pbx.lease()["verdict"] == "locked"
        assert problem(start_trial(pbx, TRIAL)) == (403, "device-not-permitted")
    holds.block(SERIAL, reason="stolen", by=NOBODY, now=BIRTH)
    assert problem(start_trial(pbx, TRIAL)) == (403, "device-not-permitted")
    assert release_rows() == []


BAD: dict[str, dict[str, object]] = {
    "no number": {"product_number": None},
    "a text": {"product_number": "30"},
    "a fraction": {"product_number": 30.5},
    "true": {"product_number": True},
    "negative": {"product_number": -1},
    "more than a release code can say": {"product_number": 2**14},
    "huge": {"product_number": 10**40},
    "no nonce": {"nonce": None},
    "a short nonce": {"nonce": "AAAA"},
}


@pytest.mark.usefixtures("trial")
def test_bad_input_changes_nothing(pbx: TestPbx) -> None:
    before = dump()
    for said, changed in BAD.items():
        answer = start_trial(pbx, **({"product_number": TRIAL} | changed))  # type: ignore[arg-type] # bad on purpose
        assert problem(answer) == (400, "invalid-request"), said
        assert list(answer.get_json()["fields"]) == list(changed), said
    assert dump() == before
    assert start_trial(pbx, TRIAL, colour="blue").status_code == 201

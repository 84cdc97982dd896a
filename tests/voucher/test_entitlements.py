# SPDX-License-Identifier: Apache-2.0
"""What a PBX may use: renewals, upgrades, downgrades, and ends to the second."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from calling import entitled, functions, problem, redeem, start_trial, sync
from flask import Flask
from freezegun import freeze_time
from fuzz.journeys import dump
from make import NOBODY, SERIAL, TestPbx, make_nonce, verified
from making import BIRTH, days, make_product, make_voucher

from cic.service import holds
from fleet.ground import ground
from fleet.web.contract import contract_of
from voucher.models import Product

SECOND = timedelta(seconds=1)
DAY = days(1)
USERS = "users"


@pytest.fixture
def renewed() -> Iterator[dict[int, Product]]:
    """Thirty days of 5, 10 and 25 users, which renew one another."""
    with freeze_time(BIRTH):
        yield {
            quantity: make_product(
                quantity, quantity=quantity, duration_days=30, stacking="renew"
            )
            for quantity in (5, 10, 25)
        }


def give(pbx: TestPbx, product: Product, *, on: datetime = BIRTH) -> None:
    """Let a PBX redeem a voucher of ``product``."""
    with freeze_time(on):
        assert redeem(pbx, make_voucher(product)[0]).status_code == 201


def at(pbx: TestPbx, instant: datetime) -> list[tuple[str, int, str | None]]:
    with freeze_time(instant):
        return entitled(pbx)


def kept_alive(pbx: TestPbx, until: datetime) -> None:
    """Let a PBX check each week, so that it does not lock."""
    now = BIRTH
    while now < until:
        with freeze_time(now):
            assert pbx.lease()["verdict"] == "active"
        now += days(7)


def test_a_pbx_without_vouchers_is_told_so_under_a_signature(pbx: TestPbx) -> None:
    nonce = make_nonce()
    with freeze_time(BIRTH):
        answer = sync(pbx, nonce=nonce, colour="blue")
    assert answer.status_code == 200
    said = answer.get_json()
    assert list(said) == ["entitlements", "next_sync_in"]
    assert 0.95 * 86400 <= said["next_sync_in"] <= 1.05 * 86400
    claims = verified(said["entitlements"])
    assert (claims["typ"], claims["purpose"]) == ("entitlements+jwt", "entitlements")
    assert claims["iss"] == ground().settings.public_url
    assert (claims["sub"], claims["nonce"]) == (SERIAL, nonce)
    assert (claims["functions"], claims["last_sequence"]) == ([], 0)
    assert claims["iat"] == BIRTH.timestamp()
    assert claims["expires"] == "2027-03-08T12:00:00Z"


def test_what_ends_ends_with_its_day_everywhere_on_earth(
    pbx: TestPbx, renewed: dict[int, Product]
) -> None:
    give(pbx, renewed[10])
    # Thirty days after the first of March is the 31st, which ends at UTC-12.
    end = datetime(2027, 4, 1, 12, tzinfo=UTC)
    kept_alive(pbx, end)
    assert at(pbx, end - SECOND) == [(USERS, 10, "2027-03-31")]
    assert at(pbx, end) == []


def test_a_renewal_follows_what_there_is_and_loses_no_day(
    pbx: TestPbx, renewed: dict[int, Product]
) -> None:
    give(pbx, renewed[10])
    give(pbx, renewed[10], on=BIRTH + 10 * DAY)
    assert at(pbx, BIRTH + 10 * DAY) == [(USERS, 10, "2027-04-30")]
    end = datetime(2027, 5, 1, 12, tzinfo=UTC)
    kept_alive(pbx, end)
    assert at(pbx, end - SECOND) == [(USERS, 10, "2027-04-30")]
    assert at(pbx, end) == []


def test_an_upgrade_begins_at_once(pbx: TestPbx, renewed: dict[int, Product]) -> None:
    give(pbx, renewed[10])
    give(pbx, renewed[25], on=BIRTH + 10 * DAY)
    assert at(pbx, BIRTH + 10 * DAY) == [(USERS, 25, "2027-04-10")]


def test_a_downgrade_begins_at_the_end_of_the_term_to_the_second(
    pbx: TestPbx, renewed: dict[int, Product]
) -> None:
    give(pbx, renewed[25])
    give(pbx, renewed[5], on=BIRTH + 10 * DAY)
    change = datetime(2027, 4, 1, 12, tzinfo=UTC)
    end = datetime(2027, 5, 1, 12, tzinfo=UTC)
    kept_alive(pbx, end)
    # In layers, so that a PBX that is offline meanwhile knows all of it.
    assert at(pbx, BIRTH + 10 * DAY) == [
        (USERS, 20, "2027-03-31"),
        (USERS, 5, "2027-04-30"),
    ]
    assert at(pbx, change - SECOND)[0] == (USERS, 20, "2027-03-31")
    assert at(pbx, change) == [(USERS, 5, "2027-04-30")]
    assert at(pbx, end - SECOND) == [(USERS, 5, "2027-04-30")]
    assert at(pbx, end) == []


def test_what_adds_up_is_summed_for_each_last_day(pbx: TestPbx) -> None:
    with freeze_time(BIRTH):
        forever = make_product(1)
        month = make_product(2, quantity=3, duration_days=30)
        fax = make_product(3, function="fax", unit="feature", quantity=1)
    for product in (forever, forever, month, month, fax):
        give(pbx, product)
    assert at(pbx, BIRTH) == [
        ("fax", 1, None),
        (USERS, 6, "2027-03-31"),
        (USERS, 20, None),
    ]


def test_the_source_is_told(pbx: TestPbx) -> None:
    with freeze_time(BIRTH):
        make_product(9, function="voicemail", duration_days=14, trial=True)
        assert start_trial(pbx, 9).status_code == 201
        give(pbx, make_product(1))
        said = functions(sync(pbx))
    assert {each["function"]: each["source"] for each in said} == {
        "voicemail": "trial",
        USERS: "voucher",
    }


FORTY_DAYS_LATER = [
    {
        "function": "fax",
        "quantity": 10,
        "expires_on": "2028-02-29",
        "source": "voucher",
    },
    {
        "function": USERS,
        "quantity": 5,
        "expires_on": "2027-04-30",
        "source": "voucher",
    },
    {"function": USERS, "quantity": 10, "expires_on": None, "source": "voucher"},
    {
        "function": "voicemail",
        "quantity": 10,
        "expires_on": "2027-12-26",
        "source": "trial",
    },
]


def test_after_a_lockout_and_a_reinitialisation_every_function_is_the_same(
    pbx: TestPbx, renewed: dict[int, Product]
) -> None:
    with freeze_time(BIRTH):
        year = make_product(40, function="fax", duration_days=365)
        make_product(41, function="voicemail", duration_days=300, trial=True)
        assert start_trial(pbx, 41).status_code == 201
    for product in (renewed[25], renewed[5], year, make_product(42)):
        give(pbx, product)
    with freeze_time(BIRTH + days(40)):
        assert pbx.lease()["verdict"] == "locked"
        locked = verified(sync(pbx).get_json()["entitlements"])
        assert locked["functions"] == FORTY_DAYS_LATER  # what it will have again
        pbx.new_key()
        assert pbx.initialise().status_code == 201
        claims = verified(sync(pbx).get_json()["entitlements"])
    assert claims["functions"] == FORTY_DAYS_LATER
    assert claims["last_sequence"] == 5


def test_a_blocked_pbx_is_told_nothing(pbx: TestPbx) -> None:
    give(pbx, make_product())
    with freeze_time(BIRTH):
        holds.block(SERIAL, reason="stolen", by=NOBODY, now=BIRTH)
        assert problem(sync(pbx)) == (403, "device-not-permitted")
        holds.unblock(SERIAL, reason="found", by=NOBODY, now=BIRTH)
        assert entitled(pbx) == [(USERS, 10, None)]


def test_without_a_key_nothing_is_answered(pbx: TestPbx) -> None:
    for each in (ground().settings.data_dir / "keys" / "signing").glob("*.pem"):
        each.unlink()
    with freeze_time(BIRTH + 5 * SECOND):
        assert problem(sync(pbx)) == (503, "cannot-sign")


@pytest.mark.parametrize(
    "query", ["", "nonce=", "nonce=AAAA", "nonce=a&nonce=b", "nonce=" + "A" * 90]
)
def test_a_bad_nonce_is_an_invalid_request_that_changes_nothing(
    pbx: TestPbx, query: str
) -> None:
    with freeze_time(BIRTH):
        before = dump()
        answer = pbx.client.get(
            f"/voucher/v1/entitlements?{query}", headers=pbx.headers
        )
        assert problem(answer) == (400, "invalid-request")
        assert list(answer.get_json()["fields"]) == ["nonce"]
        assert dump() == before


def test_asking_changes_nothing(pbx: TestPbx) -> None:
    give(pbx, make_product())
    with freeze_time(BIRTH):
        before = dump()
        sync(pbx)
        assert dump() == before


def test_nobody_asks_without_a_certificate(proxied_app: Flask, pbx: TestPbx) -> None:
    answer = pbx.client.get(f"/voucher/v1/entitlements?nonce={make_nonce()}")
    assert problem(answer) == (401, "device-certificate-required")
    assert contract_of(proxied_app.view_functions["voucher.entitlements"]).query

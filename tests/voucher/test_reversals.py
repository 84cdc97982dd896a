# SPDX-License-Identifier: Apache-2.0
"""What was released is taken back by two people, and by no fewer."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from calling import entitled, problem, redeem, start_trial
from desk import Desk, Person, audited, said
from flask import Flask
from freezegun import freeze_time
from fuzz.journeys import dump
from make import SERIAL, TestPbx
from making import (
    BIRTH,
    ledger_rows,
    make_pbx,
    make_product,
    make_voucher,
    release_rows,
    voucher_row,
)
from redeeming import together
from werkzeug.test import TestResponse

from fleet.staff.roles import Role
from voucher.service.desk.reversals import REQUEST_LASTS

OTHER = "CX1000000002"
SECOND = timedelta(seconds=1)


pytestmark = pytest.mark.usefixtures("at_birth")


@pytest.fixture
def desk(proxied_app: Flask, pbx: TestPbx) -> Desk:  # noqa: ARG001 -- there first
    with freeze_time(BIRTH):
        found = Desk(proxied_app)
        for name in ("Anna Agent", "Ben", "anna  AGENT", "Carl"):
            found.person(name)
        return found


@pytest.fixture
def anna(desk: Desk) -> Person:
    return desk.person()


@pytest.fixture
def ben(desk: Desk) -> Person:
    return desk.person("Ben")


def ask(who: Person, release_id: int) -> TestResponse:
    return who.post(f"/releases/{release_id}/reversal")


def confirm(who: Person, release_id: int) -> TestResponse:
    return who.post(f"/releases/{release_id}/reversal/confirmation")


def refused(attempt: Callable[[], TestResponse]) -> tuple[int, str]:
    """Try something; return why not, and find that nothing has changed."""
    before = dump()
    answer = attempt()
    assert dump() == before
    return problem(answer)


def test_one_asks_another_confirms_and_the_voucher_is_free_again(
    pbx: TestPbx, anna: Person, ben: Person
) -> None:
    code, voucher_id = make_voucher()
    first = said(redeem(pbx, code))["release_code"]
    release_id = release_rows()[0].id

    asked = said(ask(anna, release_id))
    assert (asked["standing"], asked["reversal_requested_by"]) == (
        "in-force",
        "Anna Agent",
    )
    assert entitled(pbx) == [("users", 10, None)]

    done = said(confirm(ben, release_id))
    assert (done["standing"], done["reversal_requested_by"]) == ("reversed", None)
    assert entitled(pbx) == []
    row = voucher_row(voucher_id)
    assert (row.redeemed_at, row.redeemed_by_id) == (None, None)
    assert anna.voucher(voucher_id)["why"] == (
        "Its redemption was reversed on 2027-03-01 12:00 UTC by Ben: as agreed. It was "
        "activated at its sale on 2027-03-01 12:00 UTC and can be redeemed."
    )

    again = redeem(pbx, code)
    assert (again.status_code, said(again)["release_code"]) == (201, first)
    assert entitled(pbx) == [("users", 10, None)]
    assert [(each.kind, each.actor) for each in ledger_rows()] == [
        ("redeemed", "pbx"),
        ("reversal-requested", "Anna Agent"),
        ("reversed", "Ben"),
        ("redeemed", "pbx"),
    ]


def test_then_another_pbx_may_have_it(
    proxied_app: Flask, pbx: TestPbx, anna: Person, ben: Person
) -> None:
    code, _ = make_voucher()
    said(redeem(pbx, code))
    said(ask(anna, release_rows()[0].id))
    said(confirm(ben, release_rows()[0].id))
    other = make_pbx(proxied_app, OTHER)
    assert redeem(other, code).status_code == 201
    assert problem(redeem(pbx, code)) == (409, "voucher-already-redeemed")
    assert (entitled(pbx), entitled(other)) == ([], [("users", 10, None)])


@pytest.mark.parametrize("kind", ["grant", "trial"])
def test_a_grant_and_a_trial_are_taken_back_likewise(
    pbx: TestPbx, anna: Person, ben: Person, kind: str
) -> None:
    make_product(17, duration_days=14, trial=kind == "trial")
    said(anna.post("/grants", serial_number=SERIAL, product_number=17))
    release_id = release_rows()[0].id
    said(ask(anna, release_id))
    said(confirm(ben, release_id))
    assert entitled(pbx) == []
    if kind == "trial":
        assert problem(start_trial(pbx, 17)) == (409, "trial-already-used")
    (entry,) = audited("release.reversal")
    assert entry.subject == f"device:{SERIAL}"


def test_nobody_does_it_alone(desk: Desk, pbx: TestPbx, anna: Person) -> None:
    said(redeem(pbx, make_voucher()[0]))
    release_id = release_rows()[0].id
    assert refused(lambda: confirm(anna, release_id)) == (409, "nothing-to-confirm")
    said(ask(anna, release_id))
    alone = (403, "second-person-needed")
    assert refused(lambda: confirm(anna, release_id)) == alone
    # Nor with another token, nor by spelling the name another way.
    twin = desk.person("Anna Agent", Role.PRODUCT_MANAGER)
    assert refused(lambda: confirm(twin, release_id)) == alone
    assert refused(lambda: confirm(desk.person("anna  AGENT"), release_id)) == alone


def test_whoever_asked_last_cannot_confirm(
    pbx: TestPbx, anna: Person, ben: Person
) -> None:
    said(redeem(pbx, make_voucher()[0]))
    release_id = release_rows()[0].id
    said(ask(anna, release_id))
    assert said(ask(ben, release_id))["reversal_requested_by"] == "Ben"
    assert problem(confirm(ben, release_id)) == (403, "second-person-needed")
    said(confirm(anna, release_id))


def test_repeated_each_changes_nothing(pbx: TestPbx, anna: Person, ben: Person) -> None:
    said(redeem(pbx, make_voucher()[0]))
    release_id = release_rows()[0].id
    for work, who in ((ask, anna), (confirm, ben)):
        first = said(work(who, release_id))
        before = dump()
        assert said(work(who, release_id)) == first
        assert dump() == before


def test_what_was_asked_for_long_ago_is_asked_for_again(
    pbx: TestPbx, anna: Person, ben: Person
) -> None:
    said(redeem(pbx, make_voucher()[0]))
    release_id = release_rows()[0].id
    said(ask(anna, release_id))
    with freeze_time(BIRTH + REQUEST_LASTS):
        assert problem(confirm(ben, release_id)) == (409, "nothing-to-confirm")
        assert anna.device(SERIAL)["releases"][0]["reversal_requested_by"] is None
        said(ask(anna, release_id))
    with freeze_time(BIRTH + 2 * REQUEST_LASTS - SECOND):
        said(confirm(ben, release_id))


def test_what_is_gone_is_not_taken_back(
    proxied_app: Flask, pbx: TestPbx, anna: Person, ben: Person
) -> None:
    make_pbx(proxied_app, OTHER)
    said(redeem(pbx, make_voucher()[0]))
    release_id = release_rows()[0].id
    assert refused(lambda: ask(anna, 999)) == (404, "unknown-release")
    assert refused(lambda: confirm(anna, 999)) == (404, "unknown-release")
    said(ask(anna, release_id))
    moved = said(anna.post(f"/releases/{release_id}/move", to_serial_number=OTHER))
    assert refused(lambda: ask(ben, release_id)) == (409, "release-not-in-force")
    # What was asked about the one PBX says nothing about the other.
    for each in (release_id, moved["id"]):
        found = refused(lambda each=each: confirm(ben, each))  # type: ignore[misc] # bound now
        assert found == (409, "nothing-to-confirm")


def test_both_are_in_the_audit_log_of_the_voucher(
    pbx: TestPbx, anna: Person, ben: Person
) -> None:
    code, voucher_id = make_voucher()
    said(redeem(pbx, code))
    release_id = release_rows()[0].id
    said(ask(anna, release_id))
    said(confirm(ben, release_id))
    told = {"release_id": release_id, "serial_number": SERIAL}
    found = [
        (each.actor, each.subject, each.before, each.after)
        for action in ("release.reversal-request", "release.reversal")
        for each in audited(action)
    ]
    subject = f"voucher:{voucher_id}"
    assert found == [
        ("Anna Agent", subject, {}, told),
        ("Ben", subject, told, {}),
    ]


def test_many_confirmations_at_once_are_one(
    proxied_app: Flask, desk: Desk, pbx: TestPbx, anna: Person
) -> None:
    said(redeem(pbx, make_voucher()[0]))
    release_id = release_rows()[0].id
    said(ask(anna, release_id))
    others = [desk.person(each) for each in ("Ben", "Carl")] * 4

    def work(who: Person) -> Callable[[], int]:
        def do() -> int:
            with proxied_app.app_context():
                return confirm(who, release_id).status_code

        return do

    answers = together([work(each) for each in others])
    assert set(answers) == {200, 409}
    assert [each.kind for each in ledger_rows()].count("reversed") == 1

# SPDX-License-Identifier: Apache-2.0
"""A release goes to another PBX and back: nothing is lost, nothing is doubled."""

from datetime import date, timedelta
from functools import partial

import pytest
from calling import entitled, problem, redeem, start_trial
from desk import Desk, Person, Said, audited, said
from flask import Flask
from freezegun import freeze_time
from fuzz.journeys import dump
from make import NOBODY, SERIAL, TestPbx
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
from redeeming import device_id, together

from cic.service import holds

OTHER = "CX1000000002"
THIRD = "CX1000000003"
YEAR = 18
TRIAL = 30
DAY = timedelta(days=1)


pytestmark = pytest.mark.usefixtures("at_birth")


@pytest.fixture
def pbxs(proxied_app: Flask) -> dict[str, TestPbx]:
    with freeze_time(BIRTH):
        return {each: make_pbx(proxied_app, each) for each in (SERIAL, OTHER, THIRD)}


@pytest.fixture
def anna(proxied_app: Flask, pbxs: dict[str, TestPbx]) -> Person:  # noqa: ARG001 -- there first
    with freeze_time(BIRTH):
        return Desk(proxied_app).person()


def move(who: Person, release_id: int, to: str) -> Said:
    return said(who.post(f"/releases/{release_id}/move", to_serial_number=to))


def kinds() -> list[tuple[str, int | None, int | None]]:
    return [(each.kind, each.device_id, each.voucher_id) for each in ledger_rows()]


def test_the_other_pbx_has_it_until_the_same_day_with_a_code_of_its_own(
    pbxs: dict[str, TestPbx], anna: Person
) -> None:
    code, voucher_id = make_voucher(make_product(YEAR, duration_days=365))
    first = said(redeem(pbxs[SERIAL], code))
    had = entitled(pbxs[SERIAL])
    moved = move(anna, release_rows()[0].id, OTHER)

    assert entitled(pbxs[SERIAL]) == []
    assert entitled(pbxs[OTHER]) == had == [("users", 10, "2028-02-29")]
    assert moved["serial_number"] == OTHER
    assert moved["release_code"] != first["release_code"]
    assert genuine(moved["release_code"], OTHER) == (1, 1, YEAR, 10, date(2028, 2, 29))
    assert voucher_row(voucher_id).redeemed_by_id == device_id(OTHER)
    assert kinds() == [
        ("redeemed", device_id(), voucher_id),
        ("moved-out", device_id(), voucher_id),
        ("moved-in", device_id(OTHER), voucher_id),
    ]


def test_the_voucher_follows(pbxs: dict[str, TestPbx], anna: Person) -> None:
    code, voucher_id = make_voucher()
    redeemed_at = said(redeem(pbxs[SERIAL], code))["redeemed_at"]
    moved = move(anna, release_rows()[0].id, OTHER)

    again = redeem(pbxs[OTHER], code)
    assert again.status_code == 200
    assert said(again)["release_code"] == moved["release_code"]
    assert said(again)["redeemed_at"] == redeemed_at
    assert problem(redeem(pbxs[SERIAL], code)) == (409, "voucher-already-redeemed")
    shown = anna.voucher(voucher_id)
    assert shown["serial_number"] == OTHER
    assert [each["standing"] for each in shown["releases"]] == ["in-force", "moved"]
    assert shown["why"] == (
        "It was redeemed on 2027-03-01 12:00 UTC, by the PBX itself, and moved on "
        f"2027-03-01 12:00 UTC to PBX {OTHER}."
    )


def test_there_and_back_it_is_the_same_release_again(
    pbxs: dict[str, TestPbx], anna: Person
) -> None:
    code, voucher_id = make_voucher(make_product(YEAR, duration_days=365))
    first = said(redeem(pbxs[SERIAL], code))["release_code"]
    had = entitled(pbxs[SERIAL])
    there = move(anna, release_rows()[0].id, OTHER)
    back = move(anna, there["id"], SERIAL)
    assert back["release_code"] == first
    assert (entitled(pbxs[SERIAL]), entitled(pbxs[OTHER])) == (had, [])
    assert said(redeem(pbxs[SERIAL], code))["release_code"] == first
    there_again = move(anna, back["id"], OTHER)
    assert there_again["release_code"] == there["release_code"]
    assert len(release_rows()) == 2
    assert voucher_row(voucher_id).redeemed_by_id == device_id(OTHER)


def test_so_does_what_came_without_a_voucher(
    pbxs: dict[str, TestPbx], anna: Person
) -> None:
    make_product(YEAR, duration_days=365)
    for _ in range(2):
        said(anna.post("/grants", serial_number=SERIAL, product_number=YEAR))
    had = entitled(pbxs[SERIAL])
    assert had == [("users", 20, "2028-02-29")]
    both = [move(anna, each.id, OTHER) for each in release_rows()]
    assert (entitled(pbxs[SERIAL]), entitled(pbxs[OTHER])) == ([], had)
    for each in both:
        move(anna, each["id"], SERIAL)
    assert (entitled(pbxs[SERIAL]), entitled(pbxs[OTHER])) == (had, [])
    assert len(release_rows()) == 4


def test_along_a_chain_it_is_in_one_place_only(
    pbxs: dict[str, TestPbx], anna: Person
) -> None:
    code, _ = make_voucher()
    said(redeem(pbxs[SERIAL], code))
    release_id = release_rows()[0].id
    for to in (OTHER, THIRD, SERIAL, THIRD, OTHER, SERIAL):
        release_id = move(anna, release_id, to)["id"]
        assert {each: entitled(pbxs[each]) for each in pbxs} == {
            each: [("users", 10, None)] if each == to else [] for each in pbxs
        }
    assert len(release_rows()) == 3


def test_a_trial_moves_and_stays_a_trial(
    pbxs: dict[str, TestPbx], anna: Person
) -> None:
    make_product(TRIAL, quantity=3, duration_days=14, trial=True)
    said(start_trial(pbxs[SERIAL], TRIAL))
    moved = move(anna, release_rows()[0].id, OTHER)
    assert (moved["source"], moved["expires_on"]) == ("trial", "2027-03-15")
    assert (
        said(start_trial(pbxs[OTHER], TRIAL))["release_code"] == moved["release_code"]
    )
    assert problem(start_trial(pbxs[SERIAL], TRIAL)) == (409, "trial-already-used")


def test_where_the_other_has_had_its_trial_the_rest_arrives_as_granted(
    pbxs: dict[str, TestPbx], anna: Person
) -> None:
    make_product(TRIAL, quantity=3, duration_days=14, trial=True)
    said(start_trial(pbxs[OTHER], TRIAL))
    with freeze_time(BIRTH + 30 * DAY):
        said(start_trial(pbxs[SERIAL], TRIAL))
        mine = release_rows()[1]
        moved = move(anna, mine.id, OTHER)
        assert (moved["source"], moved["expires_on"]) == ("grant", "2027-04-14")
        assert entitled(pbxs[OTHER]) == [("users", 3, "2027-04-14")]
        back = move(anna, moved["id"], SERIAL)
        assert (back["id"], back["source"]) == (mine.id, "trial")
        assert problem(start_trial(pbxs[OTHER], TRIAL)) == (409, "trial-already-used")


def test_it_is_written_down_who_moved_what_and_why(
    pbxs: dict[str, TestPbx], anna: Person
) -> None:
    code, _ = make_voucher()
    said(redeem(pbxs[SERIAL], code))
    moved = move(anna, release_rows()[0].id, OTHER)
    (entry,) = audited("release.move")
    assert (entry.actor, entry.subject) == ("Anna Agent", f"device:{SERIAL}")
    assert (entry.reason, entry.after) == (
        "as agreed",
        {"release_id": moved["id"], "serial_number": OTHER},
    )
    assert [(each.actor, each.reason) for each in ledger_rows()[1:]] == [
        ("Anna Agent", "as agreed")
    ] * 2


# What cannot be moved, and where nothing can be moved to.


def refused(who: Person, release_id: int, to: str) -> tuple[int, str]:
    """Try to move; return why not, and find that nothing has changed."""
    before = dump()
    answer = who.post(f"/releases/{release_id}/move", to_serial_number=to)
    assert dump() == before
    return problem(answer)


def test_what_is_not_there_any_more_does_not_move(
    pbxs: dict[str, TestPbx], anna: Person
) -> None:
    code, _ = make_voucher(make_product(YEAR, duration_days=30))
    said(redeem(pbxs[SERIAL], code))
    release_id = release_rows()[0].id
    assert refused(anna, release_id, SERIAL) == (409, "release-not-in-force")
    assert refused(anna, release_id, "CX9999999999") == (404, "unknown-device")
    assert refused(anna, 999, OTHER) == (404, "unknown-release")
    there = move(anna, release_id, OTHER)["id"]
    assert refused(anna, release_id, THIRD) == (409, "release-not-in-force")
    with freeze_time(BIRTH + 32 * DAY):
        assert refused(anna, there, THIRD) == (409, "release-not-in-force")


def test_a_blocked_pbx_may_give_and_not_receive(
    pbxs: dict[str, TestPbx], anna: Person
) -> None:
    code, _ = make_voucher()
    said(redeem(pbxs[SERIAL], code))
    release_id = release_rows()[0].id
    holds.block(OTHER, reason="stolen", by=NOBODY, now=BIRTH)
    holds.block(SERIAL, reason="stolen", by=NOBODY, now=BIRTH)
    assert refused(anna, release_id, OTHER) == (403, "device-not-permitted")
    move(anna, release_id, THIRD)
    assert entitled(pbxs[THIRD]) == [("users", 10, None)]


def test_what_is_for_another_type_of_pbx_does_not_move(
    proxied_app: Flask, pbxs: dict[str, TestPbx], anna: Person
) -> None:
    make_pbx(proxied_app, "CX1000000009", device_type="COMtrexx Next")
    code, _ = make_voucher(make_product(YEAR, device_types=["COMtrexx VM"]))
    said(redeem(pbxs[SERIAL], code))
    found = refused(anna, release_rows()[0].id, "CX1000000009")
    assert found == (409, "voucher-not-for-this-device")


def test_a_pbx_without_release_codes_receives_nothing(
    pbxs: dict[str, TestPbx], anna: Person
) -> None:
    code, _ = make_voucher()
    said(redeem(pbxs[SERIAL], code))
    said(redeem(pbxs[OTHER], make_voucher()[0]))
    use_up(OTHER, 1023)
    assert refused(anna, release_rows()[0].id, OTHER) == (
        409,
        "release-codes-exhausted",
    )


def test_one_voucher_had_twice_for_another_time_is_not_mixed_up(
    pbxs: dict[str, TestPbx], proxied_app: Flask
) -> None:
    anna, ben = Desk(proxied_app).person(), Desk(proxied_app).person("Ben")
    code, _ = make_voucher(make_product(YEAR, duration_days=365))
    said(redeem(pbxs[SERIAL], code))
    first = release_rows()[0].id
    said(anna.post(f"/releases/{first}/reversal"))
    said(ben.post(f"/releases/{first}/reversal/confirmation"))
    with freeze_time(BIRTH + 10 * DAY):
        said(redeem(pbxs[OTHER], code))
        second = release_rows()[1].id
        found = refused(anna, second, SERIAL)
        assert found == (409, "voucher-state-conflict")
        assert entitled(pbxs[OTHER]) == [("users", 10, "2028-03-10")]


def test_of_many_moves_at_once_one_wins(
    proxied_app: Flask, pbxs: dict[str, TestPbx], anna: Person
) -> None:
    code, _ = make_voucher()
    said(redeem(pbxs[SERIAL], code))
    release_id = release_rows()[0].id

    def work(to: str) -> str:
        with proxied_app.app_context():
            answer = anna.post(f"/releases/{release_id}/move", to_serial_number=to)
            return str(answer.get_json().get("serial_number"))

    won = [
        each
        for each in together([partial(work, to) for to in (OTHER, THIRD) * 4])
        if each in pbxs
    ]
    assert len(won) == 1
    assert [each for each in pbxs if entitled(pbxs[each])] == won

# SPDX-License-Identifier: Apache-2.0
"""A third party reads what the owner shared until that ends, and nothing of people."""

from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from freezegun import freeze_time
from make import SERIAL, make_device
from rights_office import CUSTOMER, NOTES, VERIFIED, WHY, Office, opened
from sqlalchemy import select, update
from werkzeug.test import TestResponse

from fleet.database import reading, transaction
from retention.models import DataShare
from voucher.models import ReleaseCode

ON_SQLITE = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)


@pytest.fixture
def office(proxied_app: Flask) -> Office:
    return opened(proxied_app)


def code(answer: TestResponse) -> tuple[int, str]:
    return answer.status_code, answer.get_json()["type"].removeprefix("/problems/")


def read(office: Office, token: str, path: str = "shared/data") -> TestResponse:
    return office.send("GET", path, by={"Authorization": f"Bearer {token}"})


def share(office: Office, recipient: str = "Workshop", **more: Any) -> dict[str, Any]:
    answer = office.own("POST", "device/shares", {"recipient": recipient} | more)
    assert answer.status_code == 201, answer.json
    made: dict[str, Any] = answer.json
    return made


def test_a_pbx_lets_somebody_read_by_a_token_shown_once(office: Office) -> None:
    made = share(office)

    export = read(office, made["token"])
    assert export.status_code == 200
    assert export.json["serial_number"] == SERIAL
    assert read(office, made["token"], "shared/data?format=csv").mimetype == "text/csv"
    [listed] = office.own("GET", "device/shares").json["items"]
    assert listed == {k: v for k, v in made.items() if k != "token"} | {
        "last_used_at": listed["last_used_at"]
    }
    assert listed["last_used_at"] is not None
    assert made["expires_at"] == "2027-03-31T14:00:00Z"
    assert office.send("GET", f"devices/{SERIAL}/shares").json["items"] == [listed]
    with reading() as session:
        row = session.scalars(select(DataShare)).one()
        assert made["token"].encode() not in row.digest


def test_a_third_party_gets_nothing_about_people_and_no_release_code(
    office: Office,
) -> None:
    office.fulfil("access")
    text = read(office, share(office)["token"]).text

    with reading() as session:
        released = session.scalars(select(ReleaseCode.code)).one()
    for secret in (CUSTOMER, NOTES, VERIFIED, WHY, released, "Anna Agent", "Workshop"):
        assert secret not in text
    assert "software_version" in text


@pytest.mark.parametrize("matter", ["wrong", "expired", "revoked", "none", "staff"])
@ON_SQLITE
def test_every_token_that_is_not_good_gets_one_answer(
    office: Office, matter: str
) -> None:
    made = share(office, expires_in_days=1)
    token = made["token"]
    if matter == "wrong":
        token = token[:-1] + ("A" if token[-1] != "A" else "B")
    elif matter == "expired":
        office.at += timedelta(days=1)
    elif matter == "revoked":
        office.own("DELETE", f"device/shares/{made['id']}")
    elif matter == "none":
        token = ""
    elif matter == "staff":
        token = office.support["Authorization"].removeprefix("Bearer ")
    answer = read(office, token)

    assert code(answer) == (401, "share-token-required")
    assert answer.json["detail"] == "This route needs a read token that is valid."


@ON_SQLITE
def test_a_token_ends_at_its_very_instant(office: Office) -> None:
    token = share(office, expires_in_days=1)["token"]
    ends_at = office.at + timedelta(days=1)
    office.at = ends_at - timedelta(microseconds=1)
    assert read(office, token).status_code == 200
    office.at = ends_at
    assert read(office, token).status_code == 401


@ON_SQLITE
def test_who_guesses_tokens_is_slowed_down(office: Office) -> None:
    good = share(office)["token"]
    wrong = "chs_1_" + "A" * 43
    codes = [read(office, wrong).status_code for _ in range(40)]

    assert set(codes) == {401, 429}
    assert read(office, good).status_code == 200  # whoever has one is let in


@pytest.mark.parametrize("how", ["replacement", "block"])
def test_a_pbx_that_was_replaced_or_blocked_shares_nothing(
    office: Office, how: str
) -> None:
    token = share(office)["token"]
    with freeze_time(office.at):
        make_device("CX1000000002")
        body = {"reason": "broken"} | ({"by": "CX1000000002"} if how != "block" else {})
        answer = office.app.test_client().post(
            f"/cic/v1/devices/{SERIAL}/{how}", json=body, headers=office.support
        )
        assert answer.status_code == 200

    assert code(read(office, token)) == (401, "share-token-required")
    for method, path in (
        ("GET", "device/data"),
        ("POST", "device/objection"),
        ("GET", "device/shares"),
    ):
        assert code(office.own(method, path)) == (403, "device-not-permitted")


def test_shares_end_with_an_erasure(office: Office) -> None:
    token = share(office)["token"]
    office.fulfil("erasure")

    assert code(read(office, token)) == (401, "share-token-required")
    assert office.own("GET", "device/shares").json["items"] == []


def test_a_locked_pbx_may_still_read_object_and_share(office: Office) -> None:
    office.at += timedelta(days=100)
    assert office.own("GET", "device/data").status_code == 200
    assert office.own("POST", "device/objection").status_code == 200
    assert share(office)["token"]


def test_asked_again_for_the_same_recipient_the_earlier_token_is_void(
    office: Office,
) -> None:
    first, second = share(office)["token"], share(office)["token"]

    assert read(office, first).status_code == 401
    assert read(office, second).status_code == 200


@ON_SQLITE
def test_no_pbx_shares_without_end(office: Office) -> None:
    for number in range(20):
        share(office, f"Workshop {number}")
    over = office.own("POST", "device/shares", {"recipient": "one more"})
    assert code(over) == (429, "too-many-requests")
    office.at += timedelta(days=1)
    over = office.own("POST", "device/shares", {"recipient": "one more"})
    assert code(over) == (409, "too-many-shares")
    with transaction() as session:
        session.execute(update(DataShare).values(expires_at=office.at))
    assert share(office, "one more")


@ON_SQLITE
@pytest.mark.parametrize(
    "body",
    [
        {},
        {"recipient": ""},
        {"recipient": "x" * 201},
        {"recipient": "x", "expires_in_days": 0},
        {"recipient": "x", "expires_in_days": 366},
        {"recipient": "x", "expires_in_days": "30"},
    ],
)
def test_a_share_that_makes_no_sense_is_refused(
    office: Office, body: dict[str, Any]
) -> None:
    answer = office.own("POST", "device/shares", body)
    assert code(answer) == (400, "invalid-request")


def test_staff_end_a_share_and_share_on_a_verified_request(office: Office) -> None:
    made = office.fulfil("share", recipient="Insurance", expires_in_days=365)
    assert read(office, made["token"]).status_code == 200
    [listed] = office.own("GET", "device/shares").json["items"]
    assert "created_by" in listed
    path = f"devices/{SERIAL}/shares/{listed['id']}"
    ended = office.send("DELETE", path)
    assert ended.json["revoked_at"] is not None
    assert office.send("DELETE", path).json == ended.json
    assert read(office, made["token"]).status_code == 401
    assert code(office.send("DELETE", f"devices/{SERIAL}/shares/999")) == (
        404,
        "unknown-share",
    )


def test_while_data_is_only_kept_nobody_reads_it_and_later_again(
    office: Office,
) -> None:
    token = share(office)["token"]
    number = office.fulfil("restriction")["request"]["id"]
    refused = read(office, token)
    assert code(refused) == (401, "share-token-required")
    assert refused.json["detail"] == "This route needs a read token that is valid."

    office.send("POST", f"requests/{number}/lifting", {"told": "by letter"})
    assert read(office, token).status_code == 200

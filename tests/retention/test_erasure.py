# SPDX-License-Identifier: Apache-2.0
"""What the law does not keep is gone from every table and file; the receipt says so."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from freezegun import freeze_time
from make import SERIAL, make_device
from making import make_batch, make_product, make_voucher
from rights_office import (
    CUSTOMER,
    LONG_AGO,
    NOTES,
    VERIFIED,
    WHY,
    Office,
    opened,
    redeem,
    rows_about,
)
from werkzeug.test import TestResponse

from fleet.database import Base, db, reading, transaction
from fleet.devices import registry
from fleet.devices.models import Device
from fleet.settings import Settings
from fleet.staff.audit import verify_chain
from fleet.staff.models import AuditEntry
from retention.models import RightsMark
from retention.policies import Category, Erasure, load
from retention.service.gathering import is_about
from voucher.service.trade.reconciling import reconcile

ON_SQLITE = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
CANARIES = (CUSTOMER, NOTES, WHY, "Canary-Customer", "canary-note", "muller")


@pytest.fixture
def office(proxied_app: Flask) -> Office:
    return opened(proxied_app)


@pytest.fixture
def old(proxied_app: Flask) -> Office:
    """The same, and the PBX's support has been over for years."""
    return opened(proxied_app, support_ends_on=LONG_AGO)


def code(answer: TestResponse) -> tuple[int, str]:
    return answer.status_code, answer.get_json()["type"].removeprefix("/problems/")


def left_of(category: Category) -> dict[str, Any]:
    """Return what is left about the PBX in each column that is to be emptied."""
    found = {}
    with reading() as session:
        device = session.scalars(
            sa.select(Device).where(Device.serial_number == SERIAL)
        ).one()
        for name in category.tables:
            table = Base.metadata.tables[name]
            about = is_about(table, load().subject_of(name), device)
            for column in category.columns_of(name):
                rows = session.scalars(sa.select(table.c[column]).where(about)).all()
                if category.erasure is Erasure.DELETE:
                    found[f"{name}.{column}"] = rows or None
                else:
                    found[f"{name}.{column}"] = [each for each in rows if each] or None
    return {name: values for name, values in found.items() if values}


def test_nothing_is_left_of_any_category_that_goes(office: Office) -> None:
    """By the registry, so that a table which nobody thought of is found here."""
    office.own("POST", "device/shares", {"recipient": "Workshop"})
    goes = [
        each
        for each in load()
        if each.erasure is not Erasure.KEEP and each.subject and not each.coming
    ]
    names = {each.name for each in goes}
    assert names >= {"customer", "data-shares", "refused-redemptions"}
    activation = Base.metadata.tables["activation"]
    with transaction() as session:
        session.execute(
            sa.update(activation).values(hold_reason=WHY, clock_skew_seconds=7)
        )
    for each in goes:
        if each.erasure is Erasure.CLEAR:  # there is something to clear in each
            assert set(left_of(each)) == set(each.columns)
        else:
            assert left_of(each)

    office.fulfil("erasure")

    left = {each.name: left_of(each) for each in goes}
    # What is searched for is what is left to be searched: the serial number.
    assert left.pop("search-text") == {"device.search_text": [SERIAL.lower()]}
    assert {name: found for name, found in left.items() if found} == {}


def test_the_receipt_says_what_went_what_stays_and_why(office: Office) -> None:
    office.own("POST", "device/shares", {"recipient": "Workshop"})
    planned = office.send("GET", f"devices/{SERIAL}/erasure").json
    receipt = office.fulfil("erasure")["request"]["receipt"]

    gone = {each["what"]: each["count"] for each in receipt["erased"]}
    assert gone["device.customer"] == gone["device.notes"] == 1
    assert gone["redemption_refusal"] == gone["data_share"] == 1
    assert gone["life_event.detail"] == 3
    assert receipt["wholly"] is False
    kept = {each["category"]: each["why"] for each in receipt["kept"]}
    assert set(kept) >= {"pbx", "redemptions", "certificates", "audit-log"}
    for why in kept.values():
        assert set(why) == {"de", "en", "fr"}
    assert "Art. 17(" in kept["redemptions"]["en"]
    assert {k: receipt[k] for k in ("erased", "kept", "wholly")} == planned
    with reading() as session:
        entry = session.get_one(AuditEntry, receipt["audit_entry"])
        assert entry.hash.hex() == receipt["audit_hash"]
        assert entry.action == "device.erase"
        assert verify_chain(session).whole


def test_what_was_sold_still_works(office: Office) -> None:
    with freeze_time(office.at):
        code_again, _ = make_voucher(make_product())
    office.fulfil("erasure")

    assert office.entitlements().status_code == 200
    with freeze_time(office.at):
        assert office.pbx.lease()["verdict"] == "active"
        assert redeem(office, code_again).status_code == 201
        assert reconcile().differences == []
    assert rows_about()["release_code"] == 2


def test_erased_again_nothing_more_goes(office: Office) -> None:
    number = office.take("erasure")
    path = f"requests/{number}/fulfilment"
    first = office.send("POST", path, {})
    assert office.send("POST", path, {}).json == first.json
    [again] = [office.fulfil("erasure")["request"]["receipt"]]
    assert [e for e in again["erased"] if e["what"] != "life_event.detail"] == []


def test_a_plan_changes_nothing(office: Office) -> None:
    before = rows_about()
    office.send("GET", f"devices/{SERIAL}/erasure")

    assert rows_about() == before
    known = registry.find(SERIAL)
    assert known is not None
    assert known.customer == CUSTOMER
    with reading() as session:
        assert session.scalars(sa.select(RightsMark)).all() == []


@ON_SQLITE
def test_not_a_byte_of_it_is_left_on_the_disk(
    office: Office, settings: Settings
) -> None:
    """In no file of the database: neither in a freed page nor in its log."""
    folder = Path(str(db.engine.url.database)).parent

    def found() -> set[str]:
        files = [each for each in folder.rglob("*") if each.is_file()]
        texts = [each.read_bytes() for each in files]
        return {c for c in CANARIES if any(c.encode() in text for text in texts)}

    assert found() == {*CANARIES}
    office.fulfil("rectification", notes=f"{NOTES} and more")
    done = office.fulfil("erasure")

    # Why the request was made stays with it, and why a block was, in the audit log.
    assert found() == {WHY}
    assert done["request"]["reason"] == WHY
    assert settings.data_dir.parent == folder


# After the end of support.


def test_after_support_an_erasure_must_be_wanted_with_all_it_means(
    old: Office,
) -> None:
    number = old.take("erasure")
    path = f"requests/{number}/fulfilment"

    assert code(old.send("POST", path, {})) == (409, "erasure-ends-service")
    assert rows_about()["device"] == 1
    assert old.send("POST", path, {"ends_service": True}).status_code == 200


def test_after_support_all_goes_the_pbx_itself_included(old: Office) -> None:
    old.own("POST", "device/shares", {"recipient": "Workshop"})
    old.fulfil("access")
    planned = old.send("GET", f"devices/{SERIAL}/erasure").json
    done = old.fulfil("erasure", ends_service=True)

    receipt = done["request"]["receipt"]
    assert receipt["wholly"] is planned["wholly"] is True
    gone = {each["what"] for each in receipt["erased"]}
    assert gone >= {"device", "activation", "life_event", "device_certificate"}
    assert gone >= {"release_code", "ledger_entry", "data_share"}
    assert {each["category"] for each in receipt["kept"]} == {"audit-log"}
    assert registry.find(SERIAL) is None
    with reading() as session:
        for table in Base.metadata.tables.values():
            for column in table.columns:
                if any(k.column.table.name == "device" for k in column.foreign_keys):
                    rows = session.scalars(sa.select(column)).all()
                    assert [each for each in rows if each is not None] == [], column
        assert verify_chain(session).whole
    assert reconcile().differences == []


def test_then_it_is_unknown_like_any_other_and_its_requests_name_nobody(
    old: Office,
) -> None:
    done = old.fulfil("erasure", ends_service=True)

    assert code(old.own("GET", "device/data")) == (403, "device-not-recognised")
    with freeze_time(old.at):
        answer = old.pbx.initialise()
        assert code(answer) == (403, "device-not-recognised")
    number = done["request"]["id"]
    shown = old.send("GET", f"requests/{number}").json
    assert shown["serial_number"] is None
    assert (shown["reason"], shown["verified_by"], shown["answer"]) == ("", "", "")
    assert shown["receipt"]["wholly"] is True
    again = old.send("POST", f"requests/{number}/fulfilment", {"ends_service": True})
    assert again.json["request"]["receipt"] == shown["receipt"]
    for text in (*CANARIES, VERIFIED):
        assert text not in str(shown)


def test_a_voucher_of_an_erased_pbx_is_used_up(old: Office) -> None:
    with freeze_time(old.at):
        code_of, _ = make_voucher(batch=make_batch(make_product(), 2))
        assert redeem(old, code_of).status_code == 201
    old.fulfil("erasure", ends_service=True)
    with freeze_time(old.at):
        make_device("CX1000000002")
        other = old.app.test_client()
        page = other.get("/voucher/")
        assert page.status_code == 200
    assert reconcile().differences == []
    with reading() as session:
        vouchers = Base.metadata.tables["voucher"]
        rows = session.execute(
            sa.select(vouchers.c.redeemed_by_id, vouchers.c.revoked_at).where(
                vouchers.c.last_four == code_of[-4:]
            )
        ).all()
    assert [(row[0], row[1] is not None) for row in rows] == [(None, True)]


def test_the_pbx_that_was_replaced_by_it_stays_replaced(old: Office) -> None:
    with freeze_time(old.at):
        make_device("CX1000000002")
        answer = old.app.test_client().post(
            "/cic/v1/devices/CX1000000002/replacement",
            json={"by": SERIAL, "reason": "broken"},
            headers=old.support,
        )
        assert answer.status_code == 200
    old.at += timedelta(hours=1)
    old.fulfil("erasure", ends_service=True)
    with freeze_time(old.at):
        shown = old.app.test_client().get(
            "/cic/v1/devices/CX1000000002", headers=old.support
        )
    assert (shown.json["state"], shown.json["replaced_by"]) == ("replaced", None)

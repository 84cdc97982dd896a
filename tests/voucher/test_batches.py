# SPDX-License-Identifier: Apache-2.0
"""Vouchers made together: all of them or none, quickly, in little memory, and whose."""

import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from freezegun import freeze_time
from fuzz.journeys import dump
from make import NOBODY, make_token
from trading import RECIPIENT, Desk, dealer, faults, made, manager, problem

from fleet.clock import utcnow
from fleet.staff.audit import Wanted, entries
from fleet.staff.roles import Role
from voucher.service.trade import batches, exporting, selections
from voucher.service.trade.batches import NewBatch
from voucher.service.trade.exporting import Form
from voucher.service.trade.sealing import Seal
from voucher.service.trade.selections import Selection

NOW = datetime(2027, 3, 1, 12, tzinfo=UTC)
ON_SQLITE = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)


@pytest.fixture
def desk(app: Flask) -> Desk:
    desk = manager(app)
    desk.product()
    return desk


def test_vouchers_are_numbered_from_one_and_have_no_code_yet(desk: Desk) -> None:
    answer = desk.post("batches", {"product": 17, "count": 7, "order_reference": "A-1"})
    told = made(answer)
    assert answer.headers["Location"] == f"/voucher/v1/batches/{told['id']}"
    assert (told["count"], told["vouchers"]) == (7, 7)
    assert told["states"]["created"] == 7
    assert (told["order_reference"], told["created_by"]) == ("A-1", "Paula Products")
    stored = dump()["voucher"]
    assert [row[2] for row in stored] == [1, 2, 3, 4, 5, 6, 7]
    assert {(row[3], row[4], row[5]) for row in stored} == {(None, 0, "")}
    assert desk.get(f"batches/{told['id']}").get_json() == told
    [entry] = entries(Wanted(action="batch.create"), limit=5).items
    assert (entry.actor, entry.after["count"]) == ("Paula Products", 7)


def test_a_batch_of_a_dealer_is_allocated_from_the_start(desk: Desk) -> None:
    assert desk.states(desk.batch(3, dealer="Funk & Co")) == {"allocated": 3}


def test_the_same_request_again_makes_no_second_batch(desk: Desk) -> None:
    body = {"product": 17, "count": 3}
    first = desk.post("batches", body, key="one batch")
    assert desk.post("batches", body, key="one batch").get_json() == first.get_json()
    assert len(desk.get("batches").get_json()["items"]) == 1


@pytest.mark.parametrize(
    ("said", "ends"),
    [
        pytest.param("2027-12-31", "2028-01-01T12:00:00Z", id="a day, to its very end"),
        pytest.param("2027-12-31T09:00:00+01:00", "2027-12-31T08:00:00Z", id="instant"),
        pytest.param(None, None, id="never"),
    ],
)
@ON_SQLITE
def test_vouchers_end_when_it_is_said(
    app: Flask, said: str | None, ends: str | None
) -> None:
    with freeze_time(NOW):
        desk = manager(app)
        desk.product()
        batch = desk.batch(2, valid_until=said)
        assert desk.get(f"batches/{batch}").get_json()["valid_until"] == ends
    with freeze_time(NOW + timedelta(days=366)):
        assert manager(app).states(batch) == (
            {"expired": 2} if said else {"created": 2}
        )


FAULTY: list[tuple[str, dict[str, Any]]] = [
    ("count", {"count": 0}),
    ("count", {"count": 100_001}),
    ("count", {"count": "5"}),
    ("valid_until", {"valid_until": "2020-01-01"}),
    ("valid_until", {"valid_until": "2027-02-30"}),
    ("valid_until", {"valid_until": "9999-12-31"}),
    ("valid_until", {"valid_until": "2027-12-31T09:00:00"}),
    ("dealer", {"dealer": " Funk"}),
    ("dealer", {"dealer": "x" * 121}),
    ("order_reference", {"order_reference": "x" * 65}),
    ("product", {"product": 0}),
    ("colour", {"colour": "red"}),
]


@ON_SQLITE
def test_each_fault_of_a_batch_is_named(desk: Desk) -> None:
    for field, changed in FAULTY:
        body = {"product": 17, "count": 5} | changed
        assert faults(desk.post("batches", body)) == [field], changed
    assert desk.get("batches").get_json()["items"] == []


def test_a_batch_that_fails_halfway_leaves_nothing(desk: Desk) -> None:
    assert desk.get("products/17").status_code == 200
    before = dump()

    def fail_in_the_middle(_count: int) -> None:
        if len(told := [*reached, 1]) == 2:
            raise KeyboardInterrupt
        reached[:] = told

    reached: list[int] = []
    with pytest.raises(KeyboardInterrupt):
        batches.create(
            NewBatch(17, 12_000, dealer="Funk"),
            reason="",
            by=NOBODY,
            now=utcnow(),
            progress=fail_in_the_middle,
        )
    assert reached
    assert dump() == before


# Dealers.


def test_a_dealer_sees_its_own_batches_and_vouchers_and_no_others(
    app: Flask, desk: Desk
) -> None:
    own = desk.batch(4, dealer="Funk", order_reference="A-1")
    others = desk.batch(5, dealer="Kabel", order_reference="B-2")
    nobodys = desk.batch(6)
    some = {"batch_id": others, "first": 2, "last": 3, "dealer": "Funk"}
    assert desk.post("allocations", some).status_code == 200
    funk = dealer(app, "Funk")
    listed = funk.get("batches").get_json()["items"]
    assert [(each["id"], each["count"]) for each in listed] == [(others, 2), (own, 4)]
    assert [each["order_reference"] for each in listed] == ["", "A-1"]
    assert {each["dealer"] for each in listed} == {"Funk"}
    assert funk.states(others) == {"allocated": 2}
    assert problem(funk.get(f"batches/{nobodys}")) == (404, "unknown-batch")
    assert funk.get("totals").get_json()["vouchers"] == 6
    assert funk.get("totals?dealer=Kabel").get_json()["vouchers"] == 0
    assert desk.get("totals").get_json()["vouchers"] == 15
    assert dealer(app, "Nobody").get("batches").get_json()["items"] == []


CHANGES = ("products", "batches", "batches/1/export", "activations", "revocations")


@pytest.mark.parametrize(
    ("role", "named"), [(Role.DEALER, "Funk"), (Role.AUDITOR, ""), (Role.SUPPORT, "")]
)
@ON_SQLITE
def test_who_only_reads_changes_nothing(
    app: Flask, desk: Desk, role: Role, named: str
) -> None:
    desk.batch(4, dealer="Funk")
    reader = Desk(app.test_client(), make_token(role, "Rita Reader", named))
    assert reader.get("batches/1").status_code == 200
    assert reader.get("totals").status_code == 200
    for what in (*CHANGES, "allocations"):
        assert problem(reader.post(what, {})) == (403, "not-permitted")


# As many as there may be.

MEGABYTE = 2**20


def resident() -> int:
    """Return the bytes of memory that this process holds."""
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def test_a_hundred_thousand_are_made_exported_and_sold_in_time_and_little_memory(
    desk: Desk, tmp_path: Path
) -> None:
    now, count = utcnow(), batches.MOST_VOUCHERS
    desk.codes(desk.batch(10))  # what is loaded once is loaded
    # In time that a processor worked: other tests may be at work, too.
    begin, before = time.process_time(), resident()
    most = before

    def watch(done: int) -> None:
        nonlocal most, seen
        seen += done
        if done > 1 or seen % 1_000 == 0:
            most = max(most, resident())

    seen = 0
    who: dict[str, Any] = {"reason": "", "by": NOBODY, "now": now}
    batch = batches.create(NewBatch(17, count), **who, progress=watch)
    wanted = exporting.Wanted(Form.CSV, Seal(RECIPIENT))
    with (tmp_path / "codes.age").open("wb") as file:
        exporting.export(batch.id, wanted, stream=file, **who, progress=watch)
    outcome = selections.activate(Selection(batch_id=batch.id), **who)
    assert outcome.changed == count
    assert seen == 2 * count
    assert (tmp_path / "codes.age").stat().st_size > 80 * count
    assert time.process_time() - begin < 30
    assert most - before < 64 * MEGABYTE
    assert desk.states(batch.id) == {"activated": count}

# SPDX-License-Identifier: Apache-2.0
"""Selling: activated, allocated and revoked, one by one, in ranges and in batches."""

from datetime import timedelta
from operator import itemgetter
from threading import Barrier, Thread
from typing import Any

import pytest
from flask import Flask
from freezegun import freeze_time
from fuzz.journeys import dump
from make import SERIAL
from making import make_pbx
from trading import Desk, faults, manager, problem

from fleet.clock import utcnow
from fleet.errors import Refusal
from fleet.staff.audit import Wanted, entries
from voucher.codes import draw
from voucher.service import redemptions
from voucher.service.redemptions import Redeemed, Way
from voucher.service.trade.reconciling import reconcile

ON_SQLITE = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)


@pytest.fixture
def desk(proxied_app: Flask) -> Desk:
    desk = manager(proxied_app)
    desk.product()
    return desk


def outcome(desk: Desk, what: str, **body: Any) -> tuple[int, int, dict[str, int]]:
    """Sell; return how many changed, were so before, and could not be."""
    answer = desk.post(what, body)
    assert answer.status_code == 200, answer.get_json()
    told = answer.get_json()
    return told["changed"], told["unchanged"], told["refused"]


def runs(batch_id: int, kind: str) -> list[tuple[Any, Any]]:
    """Return the runs of numbers in the ledger, in order of their entries."""
    return [
        (row[6], row[7])
        for row in sorted(dump()["ledger_entry"], key=itemgetter(0))
        if (row[2], row[5]) == (kind, batch_id)
    ]


def redeem(code: str) -> Redeemed:
    return redemptions.redeem(
        code, serial_number=SERIAL, way=Way.PBX, address="", now=utcnow()
    )


def test_a_range_is_sold_and_what_was_sold_before_is_not_written_down_again(
    desk: Desk,
) -> None:
    batch = desk.batch(20)
    desk.codes(batch)
    assert outcome(desk, "activations", batch_id=batch, first=5, last=8) == (4, 0, {})
    assert outcome(desk, "activations", batch_id=batch, first=5, last=8) == (0, 4, {})
    assert outcome(desk, "activations", batch_id=batch, first=12, last=12)[0] == 1
    assert outcome(desk, "activations", batch_id=batch, last=15) == (10, 5, {})
    assert runs(batch, "activated") == [(5, 8), (12, 12), (1, 4), (9, 11), (13, 15)]
    assert outcome(desk, "activations", batch_id=batch) == (5, 15, {})
    assert outcome(desk, "activations", batch_id=batch) == (0, 20, {})
    assert desk.states(batch) == {"activated": 20}
    assert reconcile().differences == []


def test_one_is_sold_by_its_code_in_any_spelling_or_by_its_id(desk: Desk) -> None:
    batch = desk.batch(3)
    codes = desk.codes(batch)
    typed = codes[1].replace("-", " ").lower().replace("0", "o")
    assert outcome(desk, "activations", code=typed) == (1, 0, {})
    assert outcome(desk, "activations", code=codes[1]) == (0, 1, {})
    [first, *_] = sorted(row[0] for row in dump()["voucher"])
    assert outcome(desk, "activations", voucher_id=first) == (1, 0, {})
    assert runs(batch, "activated") == [(2, 2), (1, 1)]


def test_a_sale_names_its_order(desk: Desk) -> None:
    batch = desk.batch(4, order_reference="BATCH-1")
    desk.codes(batch)
    outcome(desk, "activations", batch_id=batch, last=2, order_reference="SHOP-7")
    orders = [row[7] for row in sorted(dump()["voucher"], key=itemgetter(0))]
    assert orders == ["SHOP-7", "SHOP-7", "", ""]


def test_only_what_was_exported_can_be_sold(desk: Desk) -> None:
    batch = desk.batch(6, dealer="Funk")
    desk.codes(batch, first=1, last=2)
    sold = outcome(desk, "activations", batch_id=batch)
    assert sold == (2, 0, {"allocated": 4})
    plain = desk.batch(2)
    assert outcome(desk, "activations", batch_id=plain) == (0, 0, {"created": 2})


def test_what_was_revoked_stays_so_and_what_was_redeemed_is_not_revoked(
    proxied_app: Flask, desk: Desk
) -> None:
    batch = desk.batch(6)
    codes = desk.codes(batch)
    outcome(desk, "activations", batch_id=batch)
    make_pbx(proxied_app)
    release_code = redeem(codes[2]).release_code
    revoked = outcome(desk, "revocations", batch_id=batch, first=2, last=4)
    assert revoked == (2, 0, {"redeemed": 1})
    assert runs(batch, "revoked") == [(2, 2), (4, 4)]
    assert outcome(desk, "activations", batch_id=batch) == (0, 4, {"revoked": 2})
    assert outcome(desk, "revocations", code=codes[1]) == (0, 1, {})
    for what in ("revocations", "allocations"):
        more = {"dealer": "Funk"} if what == "allocations" else {}
        answer = desk.post(what, {"code": codes[2], **more})
        assert problem(answer) == (409, "voucher-state-conflict")
        assert "redeemed" in answer.get_json()["detail"]
    with pytest.raises(Refusal) as refusal:
        redeem(codes[1])
    assert refusal.value.code == "voucher-not-valid"
    assert redeem(codes[2]).release_code == release_code
    assert desk.states(batch) == {"activated": 3, "redeemed": 1, "revoked": 2}
    assert reconcile().differences == []


def test_what_has_expired_is_neither_sold_nor_given_away(
    proxied_app: Flask, desk: Desk
) -> None:
    until = utcnow() + timedelta(days=3)
    batch = desk.batch(4, valid_until=until.isoformat())
    desk.codes(batch)
    outcome(desk, "activations", batch_id=batch, last=1)
    with freeze_time(until):
        late = manager(proxied_app)
        assert outcome(late, "activations", batch_id=batch) == (0, 1, {"expired": 3})
        given = outcome(late, "allocations", batch_id=batch, dealer="Funk")
        assert given == (0, 0, {"expired": 4})
        assert outcome(late, "revocations", batch_id=batch, first=4) == (1, 0, {})
        assert late.states(batch) == {"expired": 3, "revoked": 1}


def test_vouchers_go_to_a_dealer_to_another_and_back(desk: Desk) -> None:
    batch = desk.batch(10)
    funk, kabel = {"dealer": "Funk"}, {"dealer": "Kabel"}
    some = {"batch_id": batch, "first": 3, "last": 6}
    assert outcome(desk, "allocations", **some, **funk) == (4, 0, {})
    assert outcome(desk, "allocations", batch_id=batch, last=4, **funk) == (2, 2, {})
    assert outcome(desk, "allocations", batch_id=batch, first=6, **kabel) == (5, 0, {})
    assert runs(batch, "allocated") == [(3, 6), (1, 2), (6, 10)]
    back = outcome(desk, "allocations", batch_id=batch, first=5, last=6, dealer="")
    assert back == (2, 0, {})
    again = outcome(desk, "allocations", batch_id=batch, first=5, last=6, dealer="")
    assert again == (0, 2, {})
    assert runs(batch, "taken-back") == [(5, 6)]
    whose = [row[6] for row in sorted(dump()["voucher"], key=itemgetter(0))]
    assert whose == ["Funk"] * 4 + [""] * 2 + ["Kabel"] * 4
    assert desk.states(batch) == {"allocated": 8, "created": 2}
    assert reconcile().differences == []


def test_a_replacement_card_belongs_to_its_batch(desk: Desk) -> None:
    batch = desk.batch(3)
    codes = desk.codes(batch)
    outcome(desk, "activations", batch_id=batch, first=2)
    [_, damaged, _] = sorted(row[0] for row in dump()["voucher"])
    replaced = desk.post(f"vouchers/{damaged}/replacement", {"reason": "wet"})
    assert replaced.status_code == 201
    states = {"exported": 1, "activated": 2, "revoked": 1}
    assert desk.states(batch) == states
    assert outcome(desk, "activations", batch_id=batch) == (1, 2, {"revoked": 1})
    assert problem(desk.post("allocations", {"code": codes[1], "dealer": "Funk"})) == (
        409,
        "voucher-state-conflict",
    )
    assert outcome(desk, "revocations", batch_id=batch, first=4, last=4) == (1, 0, {})
    assert reconcile().differences == []


UNKNOWN = [
    (404, "unknown-batch", {"batch_id": 99}),
    (404, "unknown-voucher", {"voucher_id": 99}),
    (404, "unknown-voucher", {"code": draw()}),
    (400, "mistyped-code", {"code": "0" * 19 + "1"}),
]
FAULTY: list[tuple[list[str], dict[str, Any]]] = [
    (["batch_id", "code", "voucher_id"], {}),
    (["batch_id", "code", "voucher_id"], {"batch_id": 1, "voucher_id": 1}),
    (["first"], {"voucher_id": 1, "first": 1}),
    (["first", "last"], {"batch_id": 1, "first": 3, "last": 2}),
    (["first", "last"], {"batch_id": 1, "last": 6}),
    (["first"], {"batch_id": 1, "first": 0}),
    (["batch_id"], {"batch_id": "1"}),
]


@ON_SQLITE
def test_what_cannot_be_meant_changes_nothing(desk: Desk) -> None:
    batch = desk.batch(5)
    desk.codes(batch)
    before = dump()
    for what in ("activations", "revocations"):
        for status, code, body in UNKNOWN:
            assert problem(desk.post(what, body)) == (status, code)
        for fields, body in FAULTY:
            assert faults(desk.post(what, body)) == fields, body
    assert faults(desk.post("allocations", {"batch_id": batch})) == ["dealer"]
    assert dump() == before


def test_every_sale_says_who_why_and_how_many(desk: Desk) -> None:
    batch = desk.batch(5)
    codes = desk.codes(batch)
    outcome(
        desk,
        "activations",
        batch_id=batch,
        last=3,
        order_reference="SHOP-7",
        reason="sold",
    )
    outcome(desk, "activations", batch_id=batch, last=3)  # and nothing is said of it
    outcome(desk, "allocations", batch_id=batch, last=2, dealer="Funk")
    outcome(desk, "revocations", code=codes[4], reason="stolen")
    told = [
        (each.action, each.subject, each.reason, dict(each.after))
        for each in entries(Wanted(), limit=3).items[::-1]
    ]
    one = sorted(row[0] for row in dump()["voucher"])[4]
    numbers = {"batch_id": batch, "first": 1}
    assert told == [
        (
            "voucher.activate",
            f"batch:{batch}",
            "sold",
            numbers | {"last": 3, "changed": 3, "order_reference": "SHOP-7"},
        ),
        (
            "voucher.allocate",
            f"batch:{batch}",
            "",
            numbers | {"last": 2, "changed": 2, "dealer": "Funk"},
        ),
        (
            "voucher.revoke",
            f"voucher:{one}",
            "stolen",
            {"batch_id": batch, "first": 5, "last": 5, "changed": 1},
        ),
    ]


def test_what_is_sold_and_revoked_at_once_is_one_or_the_other(
    proxied_app: Flask, desk: Desk
) -> None:
    """Ranges that overlap, crosswise, and codes redeemed meanwhile: no deadlock."""
    batch = desk.batch(400)
    codes = desk.codes(batch)
    outcome(desk, "activations", batch_id=batch, first=101)
    make_pbx(proxied_app)
    work: list[tuple[str, dict[str, Any]]] = [
        ("activations", {"batch_id": batch}),
        ("revocations", {"batch_id": batch, "first": 200, "last": 399}),
        ("allocations", {"batch_id": batch, "first": 50, "dealer": "Funk"}),
        ("revocations", {"batch_id": batch, "first": 1, "last": 20}),
    ]
    starts = Barrier(len(work) + 1)
    statuses = []

    def sell(seller: Desk, what: str, body: dict[str, Any]) -> None:
        starts.wait()
        statuses.append(seller.post(what, body).status_code)

    def redeem_some() -> None:
        with proxied_app.app_context():
            starts.wait()
            for code in codes[180:199]:
                redeem(code)

    threads = [Thread(target=sell, args=(manager(proxied_app), *each)) for each in work]
    threads.append(Thread(target=redeem_some))
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert statuses == [200] * len(work)
    found = desk.states(batch)
    assert sum(found.values()) == 400
    assert (found["redeemed"], found["revoked"]) == (19, 220)
    assert reconcile().differences == []

# SPDX-License-Identifier: Apache-2.0
"""Totals that always sum up, and books that agree or say where they do not."""

from datetime import UTC, datetime, timedelta
from itertools import product as combinations

import pytest
import sqlalchemy as sa
from flask import Flask
from make import NOBODY, SERIAL, make_device
from making import make_batch, make_pbx, make_product
from trading import Desk, faults, manager

from fleet.clock import utcnow
from fleet.database import db, transaction, writing
from fleet.staff.roles import Role, StaffMember
from voucher.models import Batch, Voucher
from voucher.service import redemptions
from voucher.service.desk import reversals
from voucher.service.redemptions import Way
from voucher.service.trade.reconciling import Difference, reconcile
from voucher.service.trade.totals import in_all, state_column, totals
from voucher.states import Life, state_of

NOW = datetime(2027, 3, 1, 12, tzinfo=UTC)
MOMENT = timedelta(microseconds=1)


@pytest.mark.usefixtures("app")
def test_the_database_counts_by_the_very_rule_of_the_states() -> None:
    """Every combination of what can have happened, at, before and after the end."""
    past = NOW - timedelta(days=1)
    product, device = make_product(), make_device()
    lives = []
    with transaction() as session:
        for ends in (None, NOW - MOMENT, NOW, NOW + MOMENT):
            batch = make_batch(product, 0, valid_until=ends)
            happened = combinations((None, past), repeat=5)
            for number, instants in enumerate(happened, start=1):
                exported, allocated, activated, redeemed, revoked = instants
                if redeemed and revoked:
                    continue  # which the database refuses
                session.add(
                    Voucher(
                        batch_id=batch.id,
                        number=number,
                        digest=None,
                        key_version=0,
                        last_four="",
                        dealer="",
                        exported_at=exported,
                        allocated_at=allocated,
                        activated_at=activated,
                        redeemed_at=redeemed,
                        redeemed_by_id=device.id if redeemed else None,
                        revoked_at=revoked,
                    )
                )
                life = Life(*instants, ends)
                lives.append(((batch.id, number), state_of(life, NOW)))
        session.flush()
        found = session.execute(
            sa.select(Voucher.batch_id, Voucher.number, state_column(NOW)).join(
                Batch, Batch.id == Voucher.batch_id
            )
        ).all()
    assert {(batch, number): state for batch, number, state in found} == dict(lives)
    assert sum(in_all(totals(now=NOW)).values()) == len(lives) == 4 * 24


@pytest.fixture
def desk(proxied_app: Flask) -> Desk:
    """A product manager who has sold a little of everything."""
    desk = manager(proxied_app)
    desk.product()
    desk.product(product_number=18, function="channels", quantity=2)
    batch = desk.batch(10, dealer="Funk")
    codes = desk.codes(batch, first=1, last=6)
    desk.post("activations", {"batch_id": batch, "last": 4})
    desk.post("revocations", {"batch_id": batch, "first": 4, "last": 5})
    make_pbx(proxied_app)
    redemptions.redeem(
        codes[0], serial_number=SERIAL, way=Way.PBX, address="", now=utcnow()
    )
    desk.batch(7, product=18)
    return desk


def test_totals_name_every_state_and_sum_up(desk: Desk) -> None:
    answer = desk.get("totals").get_json()
    assert answer["states"] == {
        "created": 7,
        "exported": 0,
        "allocated": 5,
        "activated": 2,
        "redeemed": 1,
        "revoked": 2,
        "expired": 0,
    }
    assert answer["vouchers"] == sum(answer["states"].values()) == 17
    assert [
        (each["product_number"], each["dealer"], each["vouchers"])
        for each in answer["items"]
    ] == [(17, "Funk", 10), (18, "", 7)]
    for each in answer["items"]:
        assert sum(each["states"].values()) == each["vouchers"]


def test_totals_are_asked_for_by_batch_product_and_dealer(desk: Desk) -> None:
    for query, count in {
        "product_number=17": 10,
        "product_number=18": 7,
        "product_number=19": 0,
        "dealer=Funk": 10,
        "dealer=": 7,
        "batch_id=2": 7,
        "batch_id=2&dealer=Funk": 0,
    }.items():
        assert desk.get(f"totals?{query}").get_json()["vouchers"] == count, query
    assert faults(desk.get("totals?product_number=0")) == ["product_number"]
    assert faults(desk.get("totals?state=created")) == ["state"]


# Books.


def test_the_books_agree_after_a_whole_life(desk: Desk) -> None:
    report = reconcile()
    assert report.differences == []
    assert (report.batches, report.vouchers, report.releases) == (2, 17, 1)
    one, other = NOBODY, StaffMember(None, "cli:second", Role.OPERATOR)
    now = utcnow()
    reversals.request(1, reason="wrong PBX", by=one, now=now)
    reversals.confirm(1, reason="so it is", by=other, now=now)
    assert desk.states(1)["activated"] == 3
    assert reconcile().differences == []


def past_the_triggers(*statements: str) -> None:
    """Change what the database refuses to change, as only its owner can."""
    with writing(db.engine) as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(sa.text("SET session_replication_role = replica"))
            for table in ("voucher", "ledger_entry", "release_code"):
                connection.execute(sa.text(f"ALTER TABLE {table} DISABLE TRIGGER ALL"))
        else:
            connection.execute(sa.text("PRAGMA defer_foreign_keys = ON"))
            names = connection.scalars(
                sa.text("SELECT name FROM sqlite_master WHERE type = 'trigger'")
            ).all()
            for name in names:
                connection.execute(sa.text(f"DROP TRIGGER {name}"))
        for each in statements:
            connection.execute(sa.text(each))


HOLDER = "redeemed_by_id = {}, redeemed_at = {}"
VOUCHER = "WHERE batch_id = 1 AND number"


@pytest.mark.parametrize(
    ("statement", "wanted"),
    [
        (
            f"UPDATE voucher SET activated_at = NULL {VOUCHER} = 2",
            Difference("is activated by the ledger, and is not by its own row", 1, 2),
        ),
        (
            f"UPDATE voucher SET activated_at = exported_at {VOUCHER} = 6",
            Difference("is not activated by the ledger, and is by its own row", 1, 6),
        ),
        (
            f"UPDATE voucher SET digest = NULL {VOUCHER} = 6",
            Difference("is exported by the ledger, and is not by its own row", 1, 6),
        ),
        (
            f"UPDATE voucher SET allocated_at = NULL {VOUCHER} = 9",
            Difference("is allocated by the ledger, and is not by its own row", 1, 9),
        ),
        (
            f"UPDATE voucher SET revoked_at = NULL {VOUCHER} = 5",
            Difference("is revoked by the ledger, and is not by its own row", 1, 5),
        ),
        (
            f"DELETE FROM voucher {VOUCHER} = 10",
            Difference("is in the ledger and nowhere else", 1, 10),
        ),
        (
            f"UPDATE voucher SET {HOLDER.format(1, 'activated_at')} {VOUCHER} = 3",
            Difference("is redeemed, and nothing was released", 1, 3),
        ),
        (
            f"UPDATE voucher SET {HOLDER.format('NULL', 'NULL')} {VOUCHER} = 1",
            Difference(
                "has a release in force on a PBX that it is not redeemed for", 1, 1, 1
            ),
        ),
        (
            "DELETE FROM ledger_entry WHERE kind = 'redeemed'",
            Difference("was never begun in the ledger", release_id=1),
        ),
        (
            "UPDATE ledger_entry SET kind = 'moved-out' WHERE kind = 'redeemed'",
            Difference(
                "is redeemed for a PBX on which its release is not in force", 1, 1, 1
            ),
        ),
    ],
)
def test_each_difference_is_named_by_batch_and_number(
    desk: Desk, statement: str, wanted: Difference
) -> None:
    past_the_triggers(statement)
    differences = reconcile().differences
    assert wanted in differences
    numbers = {each.number for each in differences if each.number is not None}
    assert numbers <= {wanted.number} or wanted.release_id == 1
    assert desk.get("totals").get_json()["vouchers"] in {16, 17}


def test_vouchers_beyond_the_ledger_are_named(desk: Desk) -> None:
    past_the_triggers("DELETE FROM ledger_entry WHERE kind = 'created'")
    says = "is not created by the ledger, and is by its own row"
    found = [each for each in reconcile().differences if each.says == says]
    assert [(each.batch_id, each.number) for each in found] == [
        *((1, number) for number in range(1, 11)),
        *((2, number) for number in range(1, 8)),
    ]
    assert desk.get("batches/2").status_code == 200

# SPDX-License-Identifier: Apache-2.0
"""What was sold cannot be changed or deleted: tried by SQL, column by column."""

from datetime import UTC, date, datetime
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from keeping import BY_TRIGGER, KEPT, NOON, OTHER, attempt, make_sold, refused, stored
from make import SERIAL
from making import make_product, make_voucher

from fleet.database import Base, UTCDateTime, db, reading, writing

# What may still be changed of a voucher that was redeemed, of its batch, of a
# product that was sold and of the PBX. Every other column is kept, a new one too.
FREE = {
    "voucher": {"dealer", "order_reference", "allocated_at"},
    "voucher_batch": {"order_reference", "dealer"},
    "product": {"retired_at"},
    "device": {
        "mac_address",
        "part_number",
        "device_type",
        "hardware_revision",
        "secret_digest",
        "secret_key_version",
        "registered_at",
        "customer",
        "notes",
        "search_text",
        "objected_at",
        "restricted_at",
    },
}
# Kept once there is something, and nothing is there after a redemption.
EMPTY = {"revoked_at", "replaced_by_id"}
# Days that may come later, and no sooner; nothing is never.
LONGER = {"support_ends_on", "valid_until"}

REDEEMED = "WHERE redeemed_by_id IS NOT NULL"
UNSOLD = "WHERE redeemed_by_id IS NULL"
THERE = f"(SELECT id FROM device WHERE serial_number = '{OTHER}')"
DAY = "'2027-03-02 00:00:00'"


@pytest.fixture(autouse=True)
def sold(app: Flask) -> None:  # noqa: ARG001 -- in its context
    """A voucher that was sold, and redeemed for the PBX ``SERIAL``."""
    make_sold()


def columns(table: str, *, kept: bool) -> list[sa.Column[Any]]:
    return [
        column
        for column in Base.metadata.tables[table].columns
        if (column.name in FREE.get(table, set())) != kept and column.name not in EMPTY
    ]


def another(column: sa.Column[Any]) -> object:
    """Return a value that a column has nowhere."""
    values: dict[Any, object] = {
        UTCDateTime: datetime(2001, 2, 3, tzinfo=UTC),
        sa.JSON: {"en": "forged"},
        sa.LargeBinary: b"forged",
        sa.Date: date(2001, 2, 3),
        sa.Boolean: True,
        sa.Integer: 999_999,
        sa.String: "ZZ",
    }
    return next(each for kind, each in values.items() if isinstance(column.type, kind))


def change(column: sa.Column[Any], value: object) -> None:
    """Change a column of what was sold: its rows that all of this is about."""
    table = column.table
    edge = sa.func.min if table.name == "device" else sa.func.max
    mine = sa.select(edge(table.c.id)).scalar_subquery()
    with writing(db.engine) as connection:
        statement = sa.update(table).where(table.c.id == mine)
        connection.execute(statement.values({column.name: value}))


@pytest.mark.parametrize("table", [*KEPT, "device"])
def test_no_update_changes_what_was_sold(table: str) -> None:
    before = stored()
    for column in columns(table, kept=True):
        values = [another(column), *([None] if column.nullable else [])]
        if column.name in LONGER:
            values.pop()  # for ever is more than there was
        for value in values:
            with pytest.raises(sa.exc.IntegrityError, match=BY_TRIGGER):
                change(column, value)
            assert stored() == before, column


@pytest.mark.parametrize("table", sorted(FREE))
def test_what_may_change_still_can(table: str) -> None:
    for column in columns(table, kept=False):
        change(column, another(column))
        with reading() as session:
            assert another(column) in set(session.scalars(sa.select(column))), column


@pytest.mark.parametrize("table", [*KEPT, "device"])
def test_no_row_is_deleted(table: str) -> None:
    refused(f"DELETE FROM {table}")
    oldest = "min" if table == "device" else "max"
    refused(f"DELETE FROM {table} WHERE id = (SELECT {oldest}(id) FROM {table})")


@pytest.mark.parametrize(
    "forgery",
    [
        pytest.param(f"redeemed_by_id = {THERE} {REDEEMED}", id="another PBX has it"),
        pytest.param(f"redeemed_at = {DAY} {REDEEMED}", id="at another time"),
        pytest.param(
            f"redeemed_by_id = NULL, redeemed_at = NULL {REDEEMED}", id="nobody has it"
        ),
        pytest.param(f"redeemed_by_id = NULL {REDEEMED}", id="half of it"),
        pytest.param(f"revoked_at = {DAY} {REDEEMED}", id="revoked all the same"),
        pytest.param(f"activated_at = NULL {REDEEMED}", id="as if never sold"),
        pytest.param(f"redeemed_at = {DAY} {UNSOLD}", id="redeemed by nobody"),
        pytest.param(f"redeemed_by_id = {THERE} {UNSOLD}", id="redeemed at no time"),
    ],
)
def test_a_voucher_changes_hands_only_as_the_ledger_says(forgery: str) -> None:
    refused(f"UPDATE voucher SET {forgery}")


def said(kind: str, serial_number: str) -> str:
    """Return a statement that writes into the ledger that a voucher went there."""
    return f"""
        INSERT INTO ledger_entry
          (happened_at, kind, actor, reason, voucher_id, release_id, device_id)
        SELECT {DAY}, '{kind}', 'anna', '', voucher_id, id,
          (SELECT id FROM device WHERE serial_number = '{serial_number}')
        FROM release_code
    """


def test_what_the_ledger_says_can_follow() -> None:
    here = f"(SELECT id FROM device WHERE serial_number = '{SERIAL}')"
    freed = f"UPDATE voucher SET redeemed_by_id = NULL, redeemed_at = NULL {REDEEMED}"
    attempt(
        said("moved-in", OTHER),
        f"UPDATE voucher SET redeemed_by_id = {THERE} {REDEEMED}",
    )
    refused(f"UPDATE voucher SET redeemed_at = {DAY} {REDEEMED}")
    refused(f"UPDATE voucher SET redeemed_by_id = {here} {REDEEMED}")
    refused(freed)
    attempt(said("reversed", OTHER), freed)


@pytest.mark.parametrize(
    "undone",
    [
        "revoked_at = NULL",
        f"revoked_at = {DAY}",
        f"redeemed_at = {DAY}, redeemed_by_id = {THERE}",
        "replaced_by_id = NULL",
        "replaced_by_id = id",
    ],
)
def test_what_was_revoked_and_replaced_stays_so(undone: str) -> None:
    _, voucher_id = make_voucher(make_product(18), revoked=True, now=NOON)
    one = f"WHERE id = {voucher_id}"
    other = f"(SELECT min(id) FROM voucher {UNSOLD})"
    attempt(f"UPDATE voucher SET replaced_by_id = {other} {one}")
    refused(f"UPDATE voucher SET {undone} {one}")


def test_a_batch_may_last_longer_and_not_shorter() -> None:
    refused(f"UPDATE voucher_batch SET valid_until = {DAY}")
    later = "UPDATE voucher_batch SET valid_until = '2031-01-01 00:00:00'"
    attempt(f"{later} WHERE valid_until IS NOT NULL")
    attempt("UPDATE voucher_batch SET valid_until = NULL")
    refused(later)

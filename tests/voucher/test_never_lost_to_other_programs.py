# SPDX-License-Identifier: Apache-2.0
"""Nor does another program change what was sold, with the database's own tricks."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
import sqlalchemy as sa
from conftest import running
from flask import Flask
from keeping import BY_TRIGGER, KEPT, NOON, OTHER, attempt, make_sold, refused, stored
from make import SERIAL
from making import make_product, make_voucher

from fleet.database import Base, db
from fleet.settings import Settings
from voucher.service.redemptions import Way, redeem

ON_SQLITE = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
ON_POSTGRESQL = pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)


@pytest.fixture(autouse=True)
def sold(app: Flask) -> None:  # noqa: ARG001 -- in its context
    """A voucher that was sold, and redeemed for the PBX ``SERIAL``."""
    make_sold()


# SQLite: what replaces a row deletes it, and no DELETE trigger fires.


@contextmanager
def another_program(settings: Settings) -> Iterator[sqlite3.Connection]:
    """Open the file as any program may: nobody looks at foreign keys there."""
    path = settings.effective_database_url.removeprefix("sqlite:///")
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        yield connection
    finally:
        connection.close()


def forged(table: str, **changed: str) -> str:
    """Return the columns of a table for a SELECT, some of them forged."""
    names = Base.metadata.tables[table].columns.keys()
    return ", ".join(changed.get(name, name) for name in names)


@ON_SQLITE
@pytest.mark.parametrize(
    ("table", "changed"),
    [
        ("release_code", {"quantity": "1"}),
        ("release_code", {"id": "NULL", "code": "'X'"}),
        ("release_code", {"id": "NULL", "sequence": "9"}),
        ("ledger_entry", {"kind": "'reversed'"}),
        ("voucher", {"redeemed_by_id": "NULL", "redeemed_at": "NULL"}),
        ("voucher", {"id": "NULL", "digest": "NULL"}),
        ("voucher", {"id": "NULL", "number": "900"}),
        ("voucher_batch", {"product_id": "2"}),
        ("product", {"quantity": "1"}),
        ("product", {"id": "NULL", "quantity": "1"}),
        ("device", {"serial_number": "'FORGED01'"}),
        ("device", {"id": "NULL", "customer": "'forged'"}),
        ("device", {"support_ends_on": "'2001-01-01'"}),
    ],
)
def test_no_row_is_replaced(
    settings: Settings, table: str, changed: dict[str, str]
) -> None:
    before = stored()
    row = f"SELECT {forged(table, **changed)} FROM {table} ORDER BY id DESC"
    if table == "device":
        row = row.removesuffix(" DESC")
    with another_program(settings) as connection:
        for word in ("INSERT OR REPLACE", "REPLACE", "INSERT OR IGNORE"):
            with pytest.raises(sqlite3.IntegrityError, match=f": {table}$"):
                connection.execute(f"{word} INTO {table} {row} LIMIT 1")
    assert stored() == before


@ON_SQLITE
@pytest.mark.parametrize(
    "change",
    [
        (
            "voucher SET digest = (SELECT digest FROM voucher WHERE digest IS NOT NULL)"
            " WHERE digest IS NULL"
        ),
        "voucher SET id = (SELECT max(id) FROM voucher)",
        "voucher SET number = 1",
        f"device SET serial_number = '{SERIAL}' WHERE serial_number = '{OTHER}'",
        "device SET id = (SELECT min(id) FROM device)",
        "release_code SET sequence = 2",
        "product SET version = 2",
        "product SET id = 2",
        "voucher_batch SET id = 2",
        "ledger_entry SET id = 2",
    ],
)
def test_nor_is_one_pushed_aside(settings: Settings, change: str) -> None:
    make_product()  # the next version
    before = stored()
    refusal = pytest.raises(sqlite3.IntegrityError, match=f"{BY_TRIGGER}|: voucher$")
    with another_program(settings) as connection, refusal:
        connection.execute(f"UPDATE OR REPLACE {change}")
    assert stored() == before


@ON_SQLITE
def test_nor_deleted_where_a_table_of_that_name_knows_nothing(
    settings: Settings,
) -> None:
    before = stored()
    tables = [*KEPT, "device"]
    with another_program(settings) as connection:
        for table in tables:
            connection.execute(f"CREATE TEMP TABLE {table} (id, device_id)")
        for table in tables:
            with pytest.raises(sqlite3.IntegrityError, match=BY_TRIGGER):
                connection.execute(f"DELETE FROM main.{table}")
    assert stored() == before


# PostgreSQL.


@ON_POSTGRESQL
@pytest.mark.parametrize("role", ["origin", "replica"])
def test_no_table_is_emptied(role: str) -> None:
    tables = [*KEPT, "device"]
    for words in (*tables, ", ".join(tables)):
        refused(
            f"SET LOCAL session_replication_role = {role}", f"TRUNCATE {words} CASCADE"
        )


ATTEMPTS = (
    "DELETE FROM release_code",
    "DELETE FROM ledger_entry WHERE device_id IS NOT NULL",
    "DELETE FROM voucher WHERE redeemed_by_id IS NOT NULL",
    "UPDATE public.release_code SET code = 'forged'",
    (
        "UPDATE public.voucher SET redeemed_by_id = NULL, redeemed_at = NULL"
        " WHERE redeemed_by_id IS NOT NULL"
    ),
    f"DELETE FROM device WHERE serial_number = '{SERIAL}'",
)


@ON_POSTGRESQL
def test_nor_does_a_replica_forget() -> None:
    for each in ATTEMPTS:
        refused("SET LOCAL session_replication_role = replica", each)


@ON_POSTGRESQL
def test_nor_is_a_table_asked_that_knows_nothing() -> None:
    hidden = [f"CREATE TEMP TABLE {each} (LIKE {each})" for each in (*KEPT, "device")]
    for each in ATTEMPTS:
        refused(*hidden, each.replace("FROM ", "FROM public."))


ROUNDABOUT = (
    (
        "INSERT INTO release_code SELECT * FROM release_code LIMIT 1"
        " ON CONFLICT (id) DO UPDATE SET quantity = 1"
    ),
    (
        "MERGE INTO voucher AS old USING voucher AS new"
        " ON old.id = new.id AND new.redeemed_by_id IS NOT NULL"
        " WHEN MATCHED THEN DELETE"
    ),
    "WITH gone AS (DELETE FROM ledger_entry RETURNING id) SELECT * FROM gone",
    "SET LOCAL timezone = 'Pacific/Kiritimati'; DELETE FROM release_code",
)


@ON_POSTGRESQL
def test_nor_in_a_roundabout_way() -> None:
    for each in ROUNDABOUT:
        refused(each)


# A role that owns nothing (README, "For an operator").

LENT = "callhome_service"
GRANTS = (
    f"GRANT USAGE ON SCHEMA public TO {LENT}",
    f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {LENT}",
    f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {LENT}",
)


@pytest.fixture
def lent_settings(app: Flask, settings: Settings) -> Settings:  # noqa: ARG001 -- migrated
    """Settings of a service whose role owns no table."""
    with db.engine.begin() as connection:
        connection.execute(
            sa.text(f"""DO $$ BEGIN CREATE ROLE {LENT} LOGIN;
              EXCEPTION WHEN duplicate_object THEN NULL; END $$""")
        )
        for each in GRANTS:
            connection.execute(sa.text(each))
    lent = settings.effective_database_url.replace("postgres@", f"{LENT}@")
    return replace(settings, database_url=lent)


@ON_POSTGRESQL
def test_a_service_that_owns_nothing_serves(lent_settings: Settings) -> None:
    with running(lent_settings):
        code, _ = make_voucher(now=NOON)
        redeem(code, serial_number=OTHER, way=Way.BROWSER, address="::1", now=NOON)


ROUND = (
    "ALTER TABLE release_code DISABLE TRIGGER ALL",
    "ALTER TABLE voucher DISABLE TRIGGER voucher_refuse_update",
    "DROP TRIGGER ledger_entry_refuse_delete ON ledger_entry",
    "DROP FUNCTION device_refuse_delete() CASCADE",
    (
        "CREATE OR REPLACE FUNCTION voucher_refuse_truncate() RETURNS trigger"
        " LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'"
    ),
    "DROP TABLE ledger_entry",
    "ALTER TABLE release_code RENAME TO gone",
    "ALTER TABLE voucher DROP COLUMN redeemed_by_id",
    "TRUNCATE release_code CASCADE",
    "SET session_replication_role = replica",
    "CREATE TABLE device_2 ()",
    (
        "CREATE TRIGGER mine BEFORE DELETE ON voucher"
        " EXECUTE FUNCTION voucher_refuse_truncate()"
    ),
    "CREATE RULE mine AS ON INSERT TO release_code DO INSTEAD NOTHING",
    "DELETE FROM release_code",
    "UPDATE device SET serial_number = 'FORGED01'",
)


@ON_POSTGRESQL
def test_and_cannot_get_round_the_triggers(lent_settings: Settings) -> None:
    before = stored()
    with running(lent_settings):
        for each in ROUND:
            with pytest.raises(sa.exc.DBAPIError):
                attempt(each)
    assert stored() == before

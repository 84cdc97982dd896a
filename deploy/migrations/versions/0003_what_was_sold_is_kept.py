# SPDX-License-Identifier: Apache-2.0
"""What was sold is kept: the database refuses to change or delete it.

A voucher, the PBX it was redeemed for, the release code that came of it and the
ledger are kept as long as that PBX is supported, whoever asks: triggers refuse, on
PostgreSQL also under ``session_replication_role = replica``. A PBX without an end
of support is supported; so is one on the last of its days, until that day has
ended everywhere on Earth, by the database's clock. An end of support is brought
forward only where the audit log, which nobody can edit, has said so before.

What stays possible, and for whom. Whoever owns the tables can drop the triggers,
and so can a superuser of PostgreSQL, or anybody who may write the file of SQLite.
On PostgreSQL the service therefore needs no more than to read and write rows: let
one role own the database and run ``callhome migrate``, and the service connect as
another that owns nothing (README, "For an operator"). Whoever may write rows can
also add to the ledger, since that is what the service does; but nothing that is
in it goes away, so the function set of a PBX can always be told as it was.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

# By the clock of the database, whatever zone a session may set: the day at UTC-12,
# the last place on Earth where one ends.
TODAY = {
    "sqlite": "date('now', '-12 hours')",
    "postgresql": (
        "(statement_timestamp() AT TIME ZONE 'UTC' - interval '12 hours')::date"
    ),
}
DIFFERS = {"sqlite": "IS NOT", "postgresql": "IS DISTINCT FROM"}
# PostgreSQL cannot compare JSON, but the text of it.
JSON_TEXT = {"sqlite": "", "postgresql": "::text"}

SUPPORTED = """
      EXISTS (SELECT 1 FROM device WHERE device.id = OLD.{device}
        AND (device.support_ends_on IS NULL
          OR device.support_ends_on >= {today}))
"""
SOLD = "EXISTS (SELECT 1 FROM release_code WHERE device_id = OLD.id)"

# A redeemed voucher changes hands only as the ledger says, which is written first.
AGREES = """
      EXISTS (SELECT 1 FROM ledger_entry AS said WHERE said.id =
          (SELECT max(id) FROM ledger_entry WHERE voucher_id = OLD.id
            AND kind IN ('redeemed', 'moved-in', 'reversed'))
        AND ((said.kind = 'reversed' AND NEW.redeemed_by_id IS NULL
            AND NEW.redeemed_at IS NULL)
          OR (said.kind = 'moved-in' AND NEW.redeemed_by_id = said.device_id
            AND NEW.redeemed_at = OLD.redeemed_at)))
"""
# The last that the audit log says about it is the very end that is now set.
NOTED = """
      EXISTS (SELECT 1 FROM audit_entry AS said WHERE said.id =
          (SELECT max(id) FROM audit_entry
            WHERE subject = 'device:' || OLD.serial_number
              AND after LIKE '%"support_ends_on"%')
        AND {said_end} = {new_end})
"""
SAID_END = {
    "sqlite": "json_extract(said.after, '$.support_ends_on')",
    "postgresql": "said.after::json ->> 'support_ends_on'",
}
NEW_END = {
    "sqlite": "NEW.support_ends_on",
    "postgresql": "to_char(NEW.support_ends_on, 'YYYY-MM-DD')",
}


def _is_earlier(column: str) -> str:
    """Return the condition that an end comes sooner than it did; NULL is never."""
    return f"""(NEW.{column} IS NOT NULL
        AND (OLD.{column} IS NULL OR NEW.{column} < OLD.{column}))"""


def _refusals(kind: str) -> dict[str, tuple[str, str]]:
    """Return for each refusal of ``kind`` of database: words and condition."""

    def changes(*columns: str, text: str = "") -> str:
        differs = DIFFERS[kind]
        each = (f"NEW.{one}{text} {differs} OLD.{one}{text}" for one in columns)
        return f"({' OR '.join(each)})"

    supported = SUPPORTED.format(device="device_id", today=TODAY[kind])
    holder_supported = SUPPORTED.format(device="redeemed_by_id", today=TODAY[kind])
    noted = NOTED.format(said_end=SAID_END[kind], new_end=NEW_END[kind])
    return {
        "release_code update": ("a release code is never changed", "1 = 1"),
        "release_code delete": ("a release code is kept", supported),
        "ledger_entry update": ("a ledger entry is never changed", "1 = 1"),
        "ledger_entry delete": (
            "a ledger entry is kept",
            f"OLD.device_id IS NULL OR {supported}",
        ),
        "voucher update": (
            "a voucher is never made another",
            f"""{changes("id", "batch_id", "number")}
      OR (OLD.digest IS NOT NULL
        AND {changes("digest", "key_version", "last_four", "exported_at")})
      OR (OLD.activated_at IS NOT NULL AND {changes("activated_at")})
      OR (OLD.replaced_by_id IS NOT NULL AND {changes("replaced_by_id")})
      OR (OLD.revoked_at IS NOT NULL AND {changes("revoked_at")})
      OR (NEW.revoked_at IS NOT NULL AND NEW.redeemed_by_id IS NOT NULL)
      OR (NEW.redeemed_at IS NULL) <> (NEW.redeemed_by_id IS NULL)
      OR (OLD.redeemed_by_id IS NOT NULL
        AND {changes("redeemed_by_id", "redeemed_at")} AND NOT {AGREES})""",
        ),
        "voucher delete": (
            "a voucher is kept",
            f"OLD.redeemed_by_id IS NULL OR {holder_supported}",
        ),
        "voucher_batch update": (
            "a batch is never made another",
            f"""{changes("id", "product_id", "count", "created_at", "created_by")}
      OR {_is_earlier("valid_until")}""",
        ),
        "voucher_batch delete": ("a batch is kept", "1 = 1"),
        "product update": (
            "a version of a product is never changed",
            f"""{
                changes(
                    "id",
                    "product_number",
                    "version",
                    "function",
                    "unit",
                    "quantity",
                    "duration_days",
                    "stacking",
                    "trial",
                    "created_at",
                )
            }
      OR {changes("names", "device_types", "prerequisites", text=JSON_TEXT[kind])}""",
        ),
        "product delete": ("a version of a product is kept", "1 = 1"),
        "device update": (
            "a PBX keeps its serial number, and what it was sold its support",
            f"""{changes("id", "serial_number")}
      OR ({SOLD} AND ((OLD.release_key_version <> 0
          AND {changes("release_key_version")})
        OR ({_is_earlier("support_ends_on")} AND NOT {noted})))""",
        ),
        "device delete": ("a PBX with release codes is kept", SOLD),
    }


# SQLite alone: INSERT OR REPLACE, and UPDATE OR REPLACE, take away the rows that are
# in their way without a DELETE trigger firing. So there a row is refused that is the
# same as one that is there; here is what makes it the same.
SAME = {
    "release_code": """id = NEW.id
      OR (device_id = NEW.device_id AND sequence = NEW.sequence)
      OR (voucher_id = NEW.voucher_id AND device_id = NEW.device_id)
      OR (source = 'trial' AND NEW.source = 'trial'
        AND device_id = NEW.device_id AND product_number = NEW.product_number)""",
    "ledger_entry": "id = NEW.id",
    "voucher": """id = NEW.id OR digest = NEW.digest
      OR (batch_id = NEW.batch_id AND number = NEW.number)""",
    "voucher_batch": "id = NEW.id",
    "product": """id = NEW.id
      OR (product_number = NEW.product_number AND version = NEW.version)""",
    "device": "id = NEW.id OR serial_number = NEW.serial_number",
}
# Of what makes a row the same, only this can be given to a row later.
GIVEN_LATER = """
    CREATE TRIGGER voucher_refuse_taking_over BEFORE UPDATE OF digest ON voucher
    WHEN EXISTS (SELECT 1 FROM voucher WHERE digest = NEW.digest AND id <> OLD.id)
    BEGIN SELECT RAISE(ABORT, 'UNIQUE constraint failed: voucher'); END
"""


def _keep_on_sqlite() -> None:
    for rule, (words, condition) in _refusals("sqlite").items():
        table, event = rule.split()
        op.execute(f"""
            CREATE TRIGGER {table}_refuse_{event} BEFORE {event.upper()} ON {table}
            WHEN {condition}
            BEGIN SELECT RAISE(ABORT, '{words}'); END
        """)
    for table, same in SAME.items():
        op.execute(f"""
            CREATE TRIGGER {table}_refuse_replace BEFORE INSERT ON {table}
            WHEN EXISTS (SELECT 1 FROM {table} WHERE {same})
            BEGIN SELECT RAISE(ABORT, 'UNIQUE constraint failed: {table}'); END
        """)  # noqa: S608 -- our own names
    op.execute(GIVEN_LATER)


def _keep_on_postgresql() -> None:
    refusals = _refusals("postgresql")
    # Or a temporary table named device would be asked, and know of no PBX.
    schema = op.get_bind().scalar(sa.text("SELECT quote_ident(current_schema())"))
    head = f"RETURNS trigger LANGUAGE plpgsql SET search_path = {schema}, pg_temp"
    for rule, (words, condition) in refusals.items():
        table, event = rule.split()
        name = f"{table}_refuse_{event}"
        back = "NEW" if event == "update" else "OLD"
        op.execute(f"""
            CREATE FUNCTION {name}() {head} AS $$
            BEGIN
              IF {condition} THEN
                RAISE EXCEPTION '{words}' USING ERRCODE = 'restrict_violation';
              END IF;
              RETURN {back};
            END $$
        """)
        op.execute(f"""
            CREATE TRIGGER {name} BEFORE {event.upper()} ON {table}
            FOR EACH ROW EXECUTE FUNCTION {name}()
        """)
        # also under session_replication_role = replica
        op.execute(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {name}")
    op.execute(f"""
        CREATE FUNCTION voucher_refuse_truncate() {head} AS $$
        BEGIN
          RAISE EXCEPTION 'what was sold is kept' USING ERRCODE = 'restrict_violation';
        END $$
    """)
    for table in {rule.split()[0] for rule in refusals}:
        name = f"{table}_refuse_truncate"
        op.execute(f"""
            CREATE TRIGGER {name} BEFORE TRUNCATE ON {table}
            FOR EACH STATEMENT EXECUTE FUNCTION voucher_refuse_truncate()
        """)
        op.execute(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {name}")


def upgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        _keep_on_sqlite()
    else:
        _keep_on_postgresql()


def downgrade() -> None:
    sqlite = op.get_bind().dialect.name == "sqlite"
    for rule in _refusals("sqlite"):
        name = rule.replace(" ", "_refuse_")
        if sqlite:
            op.execute(f"DROP TRIGGER {name}")
        else:
            op.execute(f"DROP FUNCTION {name}() CASCADE")  # its trigger, too
    if sqlite:
        for table in SAME:
            op.execute(f"DROP TRIGGER {table}_refuse_replace")
        op.execute("DROP TRIGGER voucher_refuse_taking_over")
    else:
        op.execute("DROP FUNCTION voucher_refuse_truncate() CASCADE")

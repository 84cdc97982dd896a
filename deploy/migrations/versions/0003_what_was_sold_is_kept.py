# SPDX-License-Identifier: Apache-2.0
"""What was sold is kept: the database refuses to change or delete it."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

# What was sold, released and written in the ledger is kept as long as the PBX is
# supported: the database itself refuses, whoever asks. A PBX without an end of
# support is supported. SQLite's INSERT OR REPLACE would delete without a DELETE
# trigger firing, so there an INSERT trigger refuses a row that is there already.
SUPPORTED = """
      EXISTS (SELECT 1 FROM device WHERE device.id = OLD.{device}
        AND (device.support_ends_on IS NULL
          OR device.support_ends_on >= {today}))
"""
# A redeemed voucher changes hands only as the ledger says, which is written first.
AGREES = """
      EXISTS (SELECT 1 FROM ledger_entry AS said WHERE said.id =
          (SELECT max(id) FROM ledger_entry WHERE voucher_id = OLD.id
            AND kind IN ('redeemed', 'moved-in', 'reversed'))
        AND ((said.kind = 'reversed' AND NEW.redeemed_by_id IS NULL
            AND NEW.redeemed_at IS NULL)
          OR (said.kind = 'moved-in' AND NEW.redeemed_by_id = said.device_id)))
"""
DIFFERS = {"sqlite": "IS NOT", "postgresql": "IS DISTINCT FROM"}


def _refusals(kind: str) -> dict[str, tuple[str, str]]:
    """Return for each refusal of ``kind`` of database: event and condition."""
    differs = DIFFERS[kind]
    today = "date('now')" if kind == "sqlite" else "current_date"

    def changes(*columns: str) -> str:
        return " OR ".join(f"NEW.{each} {differs} OLD.{each}" for each in columns)

    supported = SUPPORTED.format(device="device_id", today=today)
    holder_supported = SUPPORTED.format(device="redeemed_by_id", today=today)
    sold = "EXISTS (SELECT 1 FROM release_code WHERE device_id = OLD.id)"
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
      OR (OLD.digest IS NOT NULL AND ({changes("digest", "key_version", "last_four")}))
      OR (OLD.revoked_at IS NOT NULL AND ({changes("revoked_at")}))
      OR (OLD.redeemed_by_id IS NOT NULL
        AND ({changes("redeemed_by_id", "redeemed_at")}) AND NOT {AGREES})""",
        ),
        "voucher delete": (
            "a voucher is kept",
            f"OLD.redeemed_by_id IS NULL OR {holder_supported}",
        ),
        "voucher_batch update": (
            "a batch is never made another",
            changes("id", "product_id", "count"),
        ),
        "voucher_batch delete": ("a batch is kept", "1 = 1"),
        "product update": (
            "a version of a product is never changed",
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
            ),
        ),
        "product delete": ("a version of a product is kept", "1 = 1"),
        "device update": (
            "a PBX with release codes keeps its serial number and key",
            f"""({changes("id", "serial_number")}
      OR (OLD.release_key_version <> 0 AND ({changes("release_key_version")})))
      AND {sold}""",
        ),
        "device delete": ("a PBX with release codes is kept", sold),
    }


# What makes a row the same as one that is there, where a code or the past hangs on it.
SAME = {
    "release_code": """id = NEW.id
      OR (device_id = NEW.device_id AND sequence = NEW.sequence)
      OR (voucher_id = NEW.voucher_id AND device_id = NEW.device_id)""",
    "ledger_entry": "id = NEW.id",
    "voucher": """id = NEW.id OR digest = NEW.digest
      OR (batch_id = NEW.batch_id AND number = NEW.number)""",
    "voucher_batch": "id = NEW.id",
    "product": """id = NEW.id
      OR (product_number = NEW.product_number AND version = NEW.version)""",
}


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


def _keep_on_postgresql() -> None:
    refusals = _refusals("postgresql")
    for rule, (words, condition) in refusals.items():
        table, event = rule.split()
        name = f"{table}_refuse_{event}"
        back = "NEW" if event == "update" else "OLD"
        op.execute(f"""
            CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$
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
    op.execute("""
        CREATE FUNCTION voucher_refuse_truncate() RETURNS trigger LANGUAGE plpgsql AS $$
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
    else:
        op.execute("DROP FUNCTION voucher_refuse_truncate() CASCADE")

# SPDX-License-Identifier: Apache-2.0
"""Retention: seals, counters, a ledger, and what people asked for."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

# As the audit log: numbered without a gap, never changed, never deleted.
LEDGER_TRIGGERS_SQLITE = (
    """
    CREATE TRIGGER retention_entry_refuse_update BEFORE UPDATE ON retention_entry
    BEGIN SELECT RAISE(ABORT, 'a retention entry is never changed'); END
    """,
    """
    CREATE TRIGGER retention_entry_refuse_delete BEFORE DELETE ON retention_entry
    BEGIN SELECT RAISE(ABORT, 'a retention entry is never deleted'); END
    """,
    """
    CREATE TRIGGER retention_entry_refuse_gap BEFORE INSERT ON retention_entry
    WHEN NEW.id <> (SELECT coalesce(max(id), 0) + 1 FROM retention_entry)
    BEGIN SELECT RAISE(ABORT, 'retention entries are numbered without a gap'); END
    """,
)

LEDGER_TRIGGERS_POSTGRESQL = (
    """
    CREATE FUNCTION retention_entry_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      RAISE EXCEPTION 'a retention entry is never changed or deleted'
        USING ERRCODE = 'restrict_violation';
    END $$
    """,
    """
    CREATE TRIGGER retention_entry_refuse_change
    BEFORE UPDATE OR DELETE OR TRUNCATE ON retention_entry
    FOR EACH STATEMENT EXECUTE FUNCTION retention_entry_refuse()
    """,
    "ALTER TABLE retention_entry ENABLE ALWAYS TRIGGER retention_entry_refuse_change",
)


def upgrade() -> None:
    op.create_table(
        "access_count",
        sa.Column("period", sa.String(length=4), nullable=False),
        sa.Column("begins_on", sa.Date(), nullable=False),
        sa.Column("service", sa.String(length=16), nullable=False),
        sa.Column("device_type", sa.String(length=64), nullable=False),
        sa.Column("software_version", sa.String(length=64), nullable=False),
        sa.Column("country", sa.String(length=2), nullable=False),
        sa.Column("requests", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint(
            "period",
            "begins_on",
            "service",
            "device_type",
            "software_version",
            "country",
            name=op.f("pk_access_count"),
        ),
    )
    op.create_index(
        op.f("ix_access_count_begins_on"), "access_count", ["begins_on"], unique=False
    )
    op.create_table(
        "catalogued_version",
        sa.Column("device_type", sa.String(length=64), nullable=False),
        sa.Column("software_version", sa.String(length=64), nullable=False),
        sa.Column("catalogued_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint(
            "device_type", "software_version", name=op.f("pk_catalogued_version")
        ),
    )
    op.create_table(
        "day_seal",
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("service", sa.String(length=16), nullable=False),
        sa.Column("records", sa.BigInteger(), nullable=False),
        sa.Column("threshold", sa.Integer(), nullable=False),
        sa.Column("sealed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("deleted", sa.BigInteger(), nullable=False),
        sa.Column("lost", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("day", "service", name=op.f("pk_day_seal")),
    )
    op.create_table(
        "job_run",
        sa.Column("name", sa.String(length=32), nullable=False),
        sa.Column("began_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("succeeded_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("fault", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_job_run")),
    )
    op.create_table(
        "retention_entry",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column("happened_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("run", sa.Integer(), nullable=False),
        sa.Column("event", sa.String(length=16), nullable=False),
        sa.Column("facts", sa.Text(), nullable=False),
        sa.Column("previous_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("hash", sa.LargeBinary(length=32), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_retention_entry")),
    )
    op.create_index(
        op.f("ix_retention_entry_run"), "retention_entry", ["run"], unique=False
    )
    op.create_table(
        "retention_state",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("succeeded_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("cutoff", sa.DateTime(timezone=True), nullable=True),
        sa.Column("acceptances", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_retention_state")),
    )
    op.create_table(
        "rights_mark",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("kind", sa.String(length=24), nullable=False),
        sa.Column("happened_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("serial_digest", sa.LargeBinary(length=32), nullable=False),
        sa.Column("key_version", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rights_mark")),
    )
    op.create_index(
        op.f("ix_rights_mark_happened_at"), "rights_mark", ["happened_at"], unique=False
    )
    op.create_table(
        "data_share",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column(
            "device_id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            nullable=False,
        ),
        sa.Column("digest", sa.LargeBinary(length=32), nullable=False),
        sa.Column("key_version", sa.Integer(), nullable=False),
        sa.Column("recipient", sa.String(length=200), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_by", sa.String(length=120), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["device_id"], ["device.id"], name=op.f("fk_data_share_device_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_data_share")),
        sa.UniqueConstraint("digest", name=op.f("uq_data_share_digest")),
    )
    op.create_index(
        op.f("ix_data_share_device_id"), "data_share", ["device_id"], unique=False
    )
    op.create_index(
        op.f("ix_data_share_expires_at"), "data_share", ["expires_at"], unique=False
    )
    op.create_table(
        "rights_request",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column(
            "device_id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            nullable=True,
        ),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("asked_by", sa.String(length=120), nullable=False),
        sa.Column("verified_by", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("extended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("extended_because", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("answer", sa.Text(), nullable=False),
        sa.Column("receipt", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["device_id"], ["device.id"], name=op.f("fk_rights_request_device_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rights_request")),
    )
    op.create_index(
        op.f("ix_rights_request_device_id"),
        "rights_request",
        ["device_id"],
        unique=False,
    )
    op.create_index(
        op.f("ix_rights_request_received_at"),
        "rights_request",
        ["received_at"],
        unique=False,
    )
    op.add_column(
        "device", sa.Column("objected_at", sa.DateTime(timezone=True), nullable=True)
    )
    # What web processes of the version before insert has no such column.
    op.add_column(
        "pulse",
        sa.Column("acceptances", sa.Integer(), server_default="0", nullable=False),
    )
    op.add_column(
        "device", sa.Column("restricted_at", sa.DateTime(timezone=True), nullable=True)
    )
    sqlite = op.get_bind().dialect.name == "sqlite"
    for statement in LEDGER_TRIGGERS_SQLITE if sqlite else LEDGER_TRIGGERS_POSTGRESQL:
        op.execute(statement)


def downgrade() -> None:
    op.drop_column("pulse", "acceptances")
    op.drop_column("device", "restricted_at")
    op.drop_column("device", "objected_at")
    op.drop_index(op.f("ix_rights_request_received_at"), table_name="rights_request")
    op.drop_index(op.f("ix_rights_request_device_id"), table_name="rights_request")
    op.drop_table("rights_request")
    op.drop_index(op.f("ix_data_share_expires_at"), table_name="data_share")
    op.drop_index(op.f("ix_data_share_device_id"), table_name="data_share")
    op.drop_table("data_share")
    op.drop_index(op.f("ix_rights_mark_happened_at"), table_name="rights_mark")
    op.drop_table("rights_mark")
    op.drop_table("retention_state")
    op.drop_index(op.f("ix_retention_entry_run"), table_name="retention_entry")
    op.drop_table("retention_entry")
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION retention_entry_refuse()")
    op.drop_table("job_run")
    op.drop_table("day_seal")
    op.drop_table("catalogued_version")
    op.drop_index(op.f("ix_access_count_begins_on"), table_name="access_count")
    op.drop_table("access_count")

# SPDX-License-Identifier: Apache-2.0
"""The ground and the licence check."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# Nobody edits the audit log: the database itself refuses, whoever asks. SQLite's
# INSERT OR REPLACE would delete without a DELETE trigger firing, so there an
# INSERT trigger refuses every number but the next.
AUDIT_TRIGGERS_SQLITE = (
    """
    CREATE TRIGGER audit_entry_refuse_update BEFORE UPDATE ON audit_entry
    BEGIN SELECT RAISE(ABORT, 'an audit entry is never changed'); END
    """,
    """
    CREATE TRIGGER audit_entry_refuse_delete BEFORE DELETE ON audit_entry
    BEGIN SELECT RAISE(ABORT, 'an audit entry is never deleted'); END
    """,
    """
    CREATE TRIGGER audit_entry_refuse_gap BEFORE INSERT ON audit_entry
    WHEN NEW.id <> (SELECT coalesce(max(id), 0) + 1 FROM audit_entry)
    BEGIN SELECT RAISE(ABORT, 'audit entries are numbered without a gap'); END
    """,
)

AUDIT_TRIGGERS_POSTGRESQL = (
    """
    CREATE FUNCTION audit_entry_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      RAISE EXCEPTION 'an audit entry is never changed or deleted'
        USING ERRCODE = 'restrict_violation';
    END $$
    """,
    """
    CREATE TRIGGER audit_entry_refuse_change
    BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_entry
    FOR EACH STATEMENT EXECUTE FUNCTION audit_entry_refuse()
    """,
    # also under session_replication_role = replica
    "ALTER TABLE audit_entry ENABLE ALWAYS TRIGGER audit_entry_refuse_change",
)


def upgrade() -> None:
    op.create_table(
        "access_record",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("service", sa.String(length=16), nullable=False),
        sa.Column("accessed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("address", sa.String(length=45), nullable=False),
        sa.Column("device_type", sa.String(length=64), nullable=True),
        sa.Column("software_version", sa.String(length=64), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_access_record")),
    )
    op.create_index(
        op.f("ix_access_record_accessed_at"),
        "access_record",
        ["accessed_at"],
        unique=False,
    )
    op.create_table(
        "amnesty",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("granted_by", sa.String(length=120), nullable=False),
        sa.Column("granted_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("withdrawn_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_amnesty")),
    )
    op.create_table(
        "audit_entry",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column("happened_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("actor", sa.String(length=120), nullable=False),
        sa.Column("role", sa.String(length=32), nullable=False),
        sa.Column("action", sa.String(length=64), nullable=False),
        sa.Column("subject", sa.String(length=120), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("before", sa.Text(), nullable=False),
        sa.Column("after", sa.Text(), nullable=False),
        sa.Column("previous_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("hash", sa.LargeBinary(length=32), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_entry")),
    )
    op.create_index(
        op.f("ix_audit_entry_action"), "audit_entry", ["action"], unique=False
    )
    op.create_index(
        op.f("ix_audit_entry_actor"), "audit_entry", ["actor"], unique=False
    )
    op.create_index(
        op.f("ix_audit_entry_happened_at"), "audit_entry", ["happened_at"], unique=False
    )
    op.create_index(
        op.f("ix_audit_entry_subject"), "audit_entry", ["subject"], unique=False
    )
    op.create_table(
        "device",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("serial_number", sa.String(length=32), nullable=False),
        sa.Column("mac_address", sa.String(length=17), nullable=True),
        sa.Column("part_number", sa.String(length=64), nullable=False),
        sa.Column("device_type", sa.String(length=64), nullable=False),
        sa.Column("hardware_revision", sa.String(length=64), nullable=False),
        sa.Column("secret_digest", sa.LargeBinary(length=32), nullable=False),
        sa.Column("secret_key_version", sa.Integer(), nullable=False),
        sa.Column("support_ends_on", sa.Date(), nullable=True),
        sa.Column("registered_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("customer", sa.String(length=200), nullable=False),
        sa.Column("notes", sa.Text(), nullable=False),
        sa.Column("search_text", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_device")),
        sa.UniqueConstraint("serial_number", name=op.f("uq_device_serial_number")),
    )
    op.create_index(
        op.f("ix_device_mac_address"), "device", ["mac_address"], unique=False
    )
    op.create_table(
        "grace_policy",
        sa.Column("device_type", sa.String(length=64), nullable=False),
        sa.Column("grace_days", sa.Integer(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("set_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("device_type", name=op.f("pk_grace_policy")),
    )
    op.create_table(
        "guess_count",
        sa.Column("place", sa.LargeBinary(length=32), nullable=False),
        sa.Column("window_began_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("wrong", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint(
            "place", "window_began_at", name=op.f("pk_guess_count")
        ),
    )
    op.create_index(
        op.f("ix_guess_count_window_began_at"),
        "guess_count",
        ["window_began_at"],
        unique=False,
    )
    op.create_table(
        "job_lease",
        sa.Column("name", sa.String(length=32), nullable=False),
        sa.Column("holder", sa.String(length=64), nullable=False),
        sa.Column("token", sa.Integer(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_job_lease")),
    )
    op.create_table(
        "outage",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("began_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_outage")),
    )
    op.create_table(
        "pulse",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("beat_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("policy_version", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_pulse")),
    )
    op.create_table(
        "staff_token",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("owner", sa.String(length=120), nullable=False),
        sa.Column("role", sa.String(length=32), nullable=False),
        sa.Column("digest", sa.LargeBinary(length=32), nullable=False),
        sa.Column("key_version", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_staff_token")),
        sa.UniqueConstraint("digest", name=op.f("uq_staff_token_digest")),
    )
    op.create_table(
        "activation",
        sa.Column(
            "device_id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column("device_type", sa.String(length=64), nullable=False),
        sa.Column("hold", sa.String(length=16), nullable=False),
        sa.Column("hold_reason", sa.Text(), nullable=False),
        sa.Column("held_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "replaced_by_id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            nullable=True,
        ),
        sa.Column("grace_days", sa.Integer(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("initialised_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("release_key_version", sa.Integer(), nullable=False),
        sa.Column("silent_since", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "reinitialisation_opened_at", sa.DateTime(timezone=True), nullable=True
        ),
        sa.Column("last_success_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_check_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_verdict", sa.String(length=16), nullable=False),
        sa.Column("software_version", sa.String(length=64), nullable=False),
        sa.Column("failed_attempts", sa.Integer(), nullable=False),
        sa.Column("clock_skew_seconds", sa.Integer(), nullable=True),
        sa.Column("continuation", sa.String(length=32), nullable=False),
        sa.Column("previous_continuation", sa.String(length=32), nullable=False),
        sa.Column("continuation_nonce", sa.String(length=86), nullable=False),
        sa.Column("clone_suspected_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["device_id"], ["device.id"], name=op.f("fk_activation_device_id")
        ),
        sa.ForeignKeyConstraint(
            ["replaced_by_id"], ["device.id"], name=op.f("fk_activation_replaced_by_id")
        ),
        sa.PrimaryKeyConstraint("device_id", name=op.f("pk_activation")),
    )
    op.create_index(
        "ix_activation_silence",
        "activation",
        ["hold", "device_type", "grace_days", "silent_since", "device_id"],
        unique=False,
    )
    op.create_table(
        "device_certificate",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column(
            "device_id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            nullable=False,
        ),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("fingerprint", sa.LargeBinary(length=32), nullable=False),
        sa.Column("key_digest", sa.LargeBinary(length=32), nullable=False),
        sa.Column("number", sa.String(length=40), nullable=False),
        sa.Column("der", sa.LargeBinary(), nullable=False),
        sa.Column("issued_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("not_after", sa.DateTime(timezone=True), nullable=False),
        sa.Column("retires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revocation_reason", sa.String(length=32), nullable=True),
        sa.ForeignKeyConstraint(
            ["device_id"], ["device.id"], name=op.f("fk_device_certificate_device_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_device_certificate")),
        sa.UniqueConstraint(
            "fingerprint", name=op.f("uq_device_certificate_fingerprint")
        ),
    )
    op.create_index(
        op.f("ix_device_certificate_device_id"),
        "device_certificate",
        ["device_id"],
        unique=False,
    )
    op.create_index(
        op.f("ix_device_certificate_key_digest"),
        "device_certificate",
        ["key_digest"],
        unique=False,
    )
    op.create_index(
        op.f("ix_device_certificate_not_after"),
        "device_certificate",
        ["not_after"],
        unique=False,
    )
    op.create_index(
        op.f("ix_device_certificate_revoked_at"),
        "device_certificate",
        ["revoked_at"],
        unique=False,
    )
    op.create_table(
        "idempotent_answer",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column(
            "token_id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            nullable=False,
        ),
        sa.Column("key", sa.String(length=255), nullable=False),
        sa.Column("fingerprint", sa.LargeBinary(length=32), nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("headers", sa.Text(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["token_id"], ["staff_token.id"], name=op.f("fk_idempotent_answer_token_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_idempotent_answer")),
        sa.UniqueConstraint(
            "token_id", "key", name=op.f("uq_idempotent_answer_token_id_key")
        ),
    )
    op.create_index(
        op.f("ix_idempotent_answer_created_at"),
        "idempotent_answer",
        ["created_at"],
        unique=False,
    )
    op.create_table(
        "life_event",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column(
            "device_id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            nullable=False,
        ),
        sa.Column("happened_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["device_id"], ["device.id"], name=op.f("fk_life_event_device_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_life_event")),
    )
    op.create_index(
        "ix_life_event_device", "life_event", ["device_id", "happened_at"], unique=False
    )
    sqlite = op.get_bind().dialect.name == "sqlite"
    for statement in AUDIT_TRIGGERS_SQLITE if sqlite else AUDIT_TRIGGERS_POSTGRESQL:
        op.execute(statement)


def downgrade() -> None:
    op.drop_index("ix_life_event_device", table_name="life_event")
    op.drop_table("life_event")
    op.drop_index(
        op.f("ix_idempotent_answer_created_at"), table_name="idempotent_answer"
    )
    op.drop_table("idempotent_answer")
    op.drop_index(
        op.f("ix_device_certificate_revoked_at"), table_name="device_certificate"
    )
    op.drop_index(
        op.f("ix_device_certificate_not_after"), table_name="device_certificate"
    )
    op.drop_index(
        op.f("ix_device_certificate_key_digest"), table_name="device_certificate"
    )
    op.drop_index(
        op.f("ix_device_certificate_device_id"), table_name="device_certificate"
    )
    op.drop_table("device_certificate")
    op.drop_index("ix_activation_silence", table_name="activation")
    op.drop_table("activation")
    op.drop_table("staff_token")
    op.drop_table("pulse")
    op.drop_table("outage")
    op.drop_table("job_lease")
    op.drop_index(op.f("ix_guess_count_window_began_at"), table_name="guess_count")
    op.drop_table("guess_count")
    op.drop_table("grace_policy")
    op.drop_index(op.f("ix_device_mac_address"), table_name="device")
    op.drop_table("device")
    op.drop_index(op.f("ix_audit_entry_subject"), table_name="audit_entry")
    op.drop_index(op.f("ix_audit_entry_happened_at"), table_name="audit_entry")
    op.drop_index(op.f("ix_audit_entry_actor"), table_name="audit_entry")
    op.drop_index(op.f("ix_audit_entry_action"), table_name="audit_entry")
    op.drop_table("audit_entry")
    op.drop_table("amnesty")
    op.drop_index(op.f("ix_access_record_accessed_at"), table_name="access_record")
    op.drop_table("access_record")
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION audit_entry_refuse()")

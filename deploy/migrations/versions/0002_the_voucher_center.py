# SPDX-License-Identifier: Apache-2.0
"""The Voucher Center, and the release key where both who need it can reach it."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "product",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("product_number", sa.Integer(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("names", sa.JSON(), nullable=False),
        sa.Column("function", sa.String(length=64), nullable=False),
        sa.Column("unit", sa.String(length=32), nullable=False),
        sa.Column("quantity", sa.Integer(), nullable=False),
        sa.Column("duration_days", sa.Integer(), nullable=True),
        sa.Column("device_types", sa.JSON(), nullable=False),
        sa.Column("prerequisites", sa.JSON(), nullable=False),
        sa.Column("stacking", sa.String(length=16), nullable=False),
        sa.Column("trial", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("retired_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_product")),
        sa.UniqueConstraint(
            "product_number", "version", name=op.f("uq_product_product_number_version")
        ),
    )
    op.create_table(
        "voucher_batch",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column(
            "product_id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            nullable=False,
        ),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("valid_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("order_reference", sa.String(length=64), nullable=False),
        sa.Column("dealer", sa.String(length=120), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_by", sa.String(length=120), nullable=False),
        sa.ForeignKeyConstraint(
            ["product_id"], ["product.id"], name=op.f("fk_voucher_batch_product_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_voucher_batch")),
    )
    op.create_index(
        op.f("ix_voucher_batch_order_reference"),
        "voucher_batch",
        ["order_reference"],
        unique=False,
    )
    op.create_index(
        op.f("ix_voucher_batch_product_id"),
        "voucher_batch",
        ["product_id"],
        unique=False,
    )
    op.create_table(
        "voucher",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column(
            "batch_id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            nullable=False,
        ),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("digest", sa.LargeBinary(length=32), nullable=True),
        sa.Column("key_version", sa.Integer(), nullable=False),
        sa.Column("last_four", sa.String(length=4), nullable=False),
        sa.Column("dealer", sa.String(length=120), nullable=False),
        sa.Column("order_reference", sa.String(length=64), nullable=False),
        sa.Column("exported_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("allocated_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("activated_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("redeemed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "redeemed_by_id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            nullable=True,
        ),
        sa.Column(
            "replaced_by_id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            nullable=True,
        ),
        sa.ForeignKeyConstraint(
            ["batch_id"], ["voucher_batch.id"], name=op.f("fk_voucher_batch_id")
        ),
        sa.ForeignKeyConstraint(
            ["redeemed_by_id"], ["device.id"], name=op.f("fk_voucher_redeemed_by_id")
        ),
        sa.ForeignKeyConstraint(
            ["replaced_by_id"], ["voucher.id"], name=op.f("fk_voucher_replaced_by_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_voucher")),
        sa.UniqueConstraint(
            "batch_id", "number", name=op.f("uq_voucher_batch_id_number")
        ),
        sa.UniqueConstraint("digest", name=op.f("uq_voucher_digest")),
    )
    op.create_index("ix_voucher_dealer", "voucher", ["dealer", "id"], unique=False)
    op.create_index("ix_voucher_last_four", "voucher", ["last_four"], unique=False)
    op.create_index(
        "ix_voucher_order_reference", "voucher", ["order_reference"], unique=False
    )
    op.create_index(
        "ix_voucher_redeemed_by_id", "voucher", ["redeemed_by_id"], unique=False
    )
    op.create_table(
        "redemption_refusal",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("happened_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("problem", sa.String(length=40), nullable=False),
        sa.Column("way", sa.String(length=16), nullable=False),
        sa.Column(
            "device_id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            nullable=True,
        ),
        sa.Column(
            "voucher_id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            nullable=True,
        ),
        sa.ForeignKeyConstraint(
            ["device_id"], ["device.id"], name=op.f("fk_redemption_refusal_device_id")
        ),
        sa.ForeignKeyConstraint(
            ["voucher_id"],
            ["voucher.id"],
            name=op.f("fk_redemption_refusal_voucher_id"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_redemption_refusal")),
    )
    op.create_index(
        "ix_redemption_refusal_device_id",
        "redemption_refusal",
        ["device_id", "id"],
        unique=False,
    )
    op.create_index(
        op.f("ix_redemption_refusal_happened_at"),
        "redemption_refusal",
        ["happened_at"],
        unique=False,
    )
    op.create_index(
        "ix_redemption_refusal_voucher_id",
        "redemption_refusal",
        ["voucher_id", "id"],
        unique=False,
    )
    op.create_table(
        "release_code",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column(
            "device_id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            nullable=False,
        ),
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("source", sa.String(length=16), nullable=False),
        sa.Column(
            "voucher_id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            nullable=True,
        ),
        sa.Column(
            "product_id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            nullable=False,
        ),
        sa.Column("product_number", sa.Integer(), nullable=False),
        sa.Column("quantity", sa.Integer(), nullable=False),
        sa.Column("last_day", sa.Date(), nullable=True),
        sa.Column("code", sa.String(length=25), nullable=False),
        sa.Column("released_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["device_id"], ["device.id"], name=op.f("fk_release_code_device_id")
        ),
        sa.ForeignKeyConstraint(
            ["product_id"], ["product.id"], name=op.f("fk_release_code_product_id")
        ),
        sa.ForeignKeyConstraint(
            ["voucher_id"], ["voucher.id"], name=op.f("fk_release_code_voucher_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_release_code")),
        sa.UniqueConstraint(
            "device_id", "sequence", name=op.f("uq_release_code_device_id_sequence")
        ),
        sa.UniqueConstraint(
            "voucher_id", "device_id", name=op.f("uq_release_code_voucher_id_device_id")
        ),
    )
    op.create_index(
        op.f("ix_release_code_code"), "release_code", ["code"], unique=False
    )
    op.create_index(
        op.f("ix_release_code_product_id"), "release_code", ["product_id"], unique=False
    )
    op.create_index(
        "uq_release_code_trial",
        "release_code",
        ["device_id", "product_number"],
        unique=True,
        sqlite_where=sa.text("source = 'trial'"),
        postgresql_where=sa.text("source = 'trial'"),
    )
    op.create_table(
        "ledger_entry",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("happened_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("kind", sa.String(length=24), nullable=False),
        sa.Column("actor", sa.String(length=120), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column(
            "batch_id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            nullable=True,
        ),
        sa.Column("first_number", sa.Integer(), nullable=True),
        sa.Column("last_number", sa.Integer(), nullable=True),
        sa.Column(
            "voucher_id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            nullable=True,
        ),
        sa.Column(
            "release_id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            nullable=True,
        ),
        sa.Column(
            "device_id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            nullable=True,
        ),
        sa.ForeignKeyConstraint(
            ["batch_id"], ["voucher_batch.id"], name=op.f("fk_ledger_entry_batch_id")
        ),
        sa.ForeignKeyConstraint(
            ["device_id"], ["device.id"], name=op.f("fk_ledger_entry_device_id")
        ),
        sa.ForeignKeyConstraint(
            ["release_id"], ["release_code.id"], name=op.f("fk_ledger_entry_release_id")
        ),
        sa.ForeignKeyConstraint(
            ["voucher_id"], ["voucher.id"], name=op.f("fk_ledger_entry_voucher_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ledger_entry")),
    )
    op.create_index(
        "ix_ledger_entry_batch_id", "ledger_entry", ["batch_id", "id"], unique=False
    )
    op.create_index(
        "ix_ledger_entry_device_id", "ledger_entry", ["device_id", "id"], unique=False
    )
    op.create_index(
        "ix_ledger_entry_release_id", "ledger_entry", ["release_id", "id"], unique=False
    )
    op.create_index(
        "ix_ledger_entry_voucher_id", "ledger_entry", ["voucher_id", "id"], unique=False
    )
    op.add_column(
        "staff_token",
        sa.Column("dealer", sa.String(length=120), nullable=False, server_default=""),
    )
    _move_release_key_version(to="device", key="id", of="activation", by="device_id")


def downgrade() -> None:
    _move_release_key_version(to="activation", key="device_id", of="device", by="id")
    op.drop_column("staff_token", "dealer")
    op.drop_index("ix_ledger_entry_voucher_id", table_name="ledger_entry")
    op.drop_index("ix_ledger_entry_release_id", table_name="ledger_entry")
    op.drop_index("ix_ledger_entry_device_id", table_name="ledger_entry")
    op.drop_index("ix_ledger_entry_batch_id", table_name="ledger_entry")
    op.drop_table("ledger_entry")
    op.drop_index(
        "uq_release_code_trial",
        table_name="release_code",
        sqlite_where=sa.text("source = 'trial'"),
        postgresql_where=sa.text("source = 'trial'"),
    )
    op.drop_index(op.f("ix_release_code_product_id"), table_name="release_code")
    op.drop_index(op.f("ix_release_code_code"), table_name="release_code")
    op.drop_table("release_code")
    op.drop_index("ix_redemption_refusal_voucher_id", table_name="redemption_refusal")
    op.drop_index(
        op.f("ix_redemption_refusal_happened_at"), table_name="redemption_refusal"
    )
    op.drop_index("ix_redemption_refusal_device_id", table_name="redemption_refusal")
    op.drop_table("redemption_refusal")
    op.drop_index("ix_voucher_redeemed_by_id", table_name="voucher")
    op.drop_index("ix_voucher_order_reference", table_name="voucher")
    op.drop_index("ix_voucher_last_four", table_name="voucher")
    op.drop_index("ix_voucher_dealer", table_name="voucher")
    op.drop_table("voucher")
    op.drop_index(op.f("ix_voucher_batch_product_id"), table_name="voucher_batch")
    op.drop_index(op.f("ix_voucher_batch_order_reference"), table_name="voucher_batch")
    op.drop_table("voucher_batch")
    op.drop_table("product")


def _move_release_key_version(*, to: str, key: str, of: str, by: str) -> None:
    op.add_column(
        to,
        sa.Column(
            "release_key_version", sa.Integer(), nullable=False, server_default="0"
        ),
    )
    op.execute(f"""
        UPDATE {to} SET release_key_version = coalesce(
          (SELECT release_key_version FROM {of} WHERE {of}.{by} = {to}.{key}), 0)
    """)  # noqa: S608 -- our own names
    op.drop_column(of, "release_key_version")

# SPDX-License-Identifier: Apache-2.0
"""The tables of the Voucher Center.

What a customer paid for is in three of them: ``voucher`` (which code), ``release_code``
(what it became, on which PBX) and ``ledger_entry`` (everything that ever happened,
in order). The database itself refuses to change or delete what is in them
(migration 0002); what a PBX may use is a fold over the ledger.
"""

from datetime import date, datetime

from sqlalchemy import (
    JSON,
    ForeignKey,
    Index,
    LargeBinary,
    String,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from fleet.database import Base, RowId


class Product(Base):
    """One version of what is sold; a change makes the next version.

    A batch names the version that it was made under, so what was sold keeps its
    meaning whatever becomes of the product.
    """

    __tablename__ = "product"

    id: Mapped[int] = mapped_column(RowId, init=False, primary_key=True)
    product_number: Mapped[int]
    version: Mapped[int]
    # By language: {"de": ..., "en": ..., "fr": ...}.
    names: Mapped[dict[str, str]] = mapped_column(JSON)
    function: Mapped[str] = mapped_column(String(64))
    unit: Mapped[str] = mapped_column(String(32))
    quantity: Mapped[int]
    # None is for ever.
    duration_days: Mapped[int | None]
    # Empty is all.
    device_types: Mapped[list[str]] = mapped_column(JSON)
    # Functions that must be in force before this one can be had.
    prerequisites: Mapped[list[str]] = mapped_column(JSON)
    stacking: Mapped[str] = mapped_column(String(16))
    trial: Mapped[bool]
    created_at: Mapped[datetime]
    # No batch and no grant is made of a retired product; what was sold stays.
    retired_at: Mapped[datetime | None] = mapped_column(default=None)

    __table_args__ = (UniqueConstraint("product_number", "version"),)


class Batch(Base):
    """Vouchers that were made together, numbered from 1."""

    __tablename__ = "voucher_batch"

    id: Mapped[int] = mapped_column(RowId, init=False, primary_key=True)
    product_id: Mapped[int] = mapped_column(ForeignKey("product.id"), index=True)
    count: Mapped[int]
    # The end of the vouchers, not of what they enable; None is never.
    valid_until: Mapped[datetime | None]
    order_reference: Mapped[str] = mapped_column(String(64), index=True)
    # The dealer it was made for; each voucher says whose it is now.
    dealer: Mapped[str] = mapped_column(String(120))
    created_at: Mapped[datetime]
    created_by: Mapped[str] = mapped_column(String(120))


class Voucher(Base):
    """One voucher: a bearer right, of which there is one code and one use.

    The code itself is nowhere: it is drawn when it is exported, and only its
    keyed digest and its last four symbols are kept.
    """

    __tablename__ = "voucher"

    id: Mapped[int] = mapped_column(RowId, init=False, primary_key=True)
    batch_id: Mapped[int] = mapped_column(ForeignKey("voucher_batch.id"))
    number: Mapped[int]
    digest: Mapped[bytes | None] = mapped_column(LargeBinary(32), unique=True)
    # 0 as long as there is no code.
    key_version: Mapped[int]
    last_four: Mapped[str] = mapped_column(String(4))
    dealer: Mapped[str] = mapped_column(String(120))
    # The order of its sale, where it is not that of its batch.
    order_reference: Mapped[str] = mapped_column(String(64), default="")
    exported_at: Mapped[datetime | None] = mapped_column(default=None)
    allocated_at: Mapped[datetime | None] = mapped_column(default=None)
    activated_at: Mapped[datetime | None] = mapped_column(default=None)
    revoked_at: Mapped[datetime | None] = mapped_column(default=None)
    redeemed_at: Mapped[datetime | None] = mapped_column(default=None)
    redeemed_by_id: Mapped[int | None] = mapped_column(
        ForeignKey("device.id"), default=None
    )
    # The voucher that was made in the place of a damaged card.
    replaced_by_id: Mapped[int | None] = mapped_column(
        ForeignKey("voucher.id"), default=None
    )

    __table_args__ = (
        UniqueConstraint("batch_id", "number"),
        Index("ix_voucher_last_four", "last_four"),
        Index("ix_voucher_dealer", "dealer", "id"),
        Index("ix_voucher_order_reference", "order_reference"),
        Index("ix_voucher_redeemed_by_id", "redeemed_by_id"),
    )


class ReleaseCode(Base):
    """What was released for one PBX: a function, how much, until when, and its code.

    Never changed: whether it is in force is the ledger's to say. The same voucher
    and PBX have one row for ever, and so the same code.
    """

    __tablename__ = "release_code"

    id: Mapped[int] = mapped_column(RowId, init=False, primary_key=True)
    device_id: Mapped[int] = mapped_column(ForeignKey("device.id"))
    # The n-th release for this PBX, from 1 to 1023.
    sequence: Mapped[int]
    # "voucher", "trial" or "grant".
    source: Mapped[str] = mapped_column(String(16))
    voucher_id: Mapped[int | None] = mapped_column(ForeignKey("voucher.id"))
    # The version of the product that says what it is.
    product_id: Mapped[int] = mapped_column(ForeignKey("product.id"), index=True)
    product_number: Mapped[int]
    quantity: Mapped[int]
    # It ends with this day, everywhere on Earth; None is never.
    last_day: Mapped[date | None]
    # 25 symbols without hyphens.
    code: Mapped[str] = mapped_column(String(25), index=True)
    released_at: Mapped[datetime]

    __table_args__ = (
        UniqueConstraint("device_id", "sequence"),
        UniqueConstraint("voucher_id", "device_id"),
        # A trial of a product once for each PBX.
        Index(
            "uq_release_code_trial",
            "device_id",
            "product_number",
            unique=True,
            sqlite_where=text("source = 'trial'"),
            postgresql_where=text("source = 'trial'"),
        ),
    )


class LedgerEntry(Base):
    """One thing that happened, to a range of vouchers or to a release; append-only.

    A range is within one batch, both ends included. A single voucher is named by
    ``voucher_id``, and a release by ``release_id`` with the PBX it is on.
    """

    __tablename__ = "ledger_entry"

    id: Mapped[int] = mapped_column(RowId, init=False, primary_key=True)
    happened_at: Mapped[datetime]
    kind: Mapped[str] = mapped_column(String(24))
    # A member of the staff, or "pbx" or "browser".
    actor: Mapped[str] = mapped_column(String(120))
    reason: Mapped[str] = mapped_column(Text, default="")
    batch_id: Mapped[int | None] = mapped_column(
        ForeignKey("voucher_batch.id"), default=None
    )
    first_number: Mapped[int | None] = mapped_column(default=None)
    last_number: Mapped[int | None] = mapped_column(default=None)
    voucher_id: Mapped[int | None] = mapped_column(
        ForeignKey("voucher.id"), default=None
    )
    release_id: Mapped[int | None] = mapped_column(
        ForeignKey("release_code.id"), default=None
    )
    device_id: Mapped[int | None] = mapped_column(ForeignKey("device.id"), default=None)

    __table_args__ = (
        Index("ix_ledger_entry_batch_id", "batch_id", "id"),
        Index("ix_ledger_entry_voucher_id", "voucher_id", "id"),
        Index("ix_ledger_entry_device_id", "device_id", "id"),
        Index("ix_ledger_entry_release_id", "release_id", "id"),
    )


class RedemptionRefusal(Base):
    """That a redemption was refused, and why: for a caller who asks support.

    Kept for 14 days. It holds no code: of one that does not exist nothing is
    known, and of any other, which voucher it is.
    """

    __tablename__ = "redemption_refusal"

    id: Mapped[int] = mapped_column(RowId, init=False, primary_key=True)
    happened_at: Mapped[datetime] = mapped_column(index=True)
    # The code of the problem, such as "voucher-expired".
    problem: Mapped[str] = mapped_column(String(40))
    # "pbx" or "browser".
    way: Mapped[str] = mapped_column(String(16))
    device_id: Mapped[int | None] = mapped_column(ForeignKey("device.id"))
    voucher_id: Mapped[int | None] = mapped_column(ForeignKey("voucher.id"))

    __table_args__ = (
        Index("ix_redemption_refusal_device_id", "device_id", "id"),
        Index("ix_redemption_refusal_voucher_id", "voucher_id", "id"),
    )

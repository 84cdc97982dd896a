# SPDX-License-Identifier: Apache-2.0
"""The tables of people: their tokens, what they did, and answers they may repeat."""

from datetime import datetime

from sqlalchemy import ForeignKey, LargeBinary, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from fleet.database import Base, RowId


class StaffToken(Base):
    """A bearer token of one person or tool, kept only as a keyed digest."""

    __tablename__ = "staff_token"

    id: Mapped[int] = mapped_column(RowId, init=False, primary_key=True)
    owner: Mapped[str] = mapped_column(String(120))
    role: Mapped[str] = mapped_column(String(32))
    digest: Mapped[bytes] = mapped_column(LargeBinary(32), unique=True)
    key_version: Mapped[int]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None] = mapped_column(default=None)
    last_used_at: Mapped[datetime | None] = mapped_column(default=None)
    # Whose batches a dealer's token shows; empty for everybody else's.
    dealer: Mapped[str] = mapped_column(String(120), default="")


class AuditEntry(Base):
    """What somebody on the staff changed: who, when, what, why, before and after.

    Nobody can change or delete an entry: the database refuses by trigger, and
    each entry carries the hash of the one before, so that a gap shows.
    """

    __tablename__ = "audit_entry"

    id: Mapped[int] = mapped_column(RowId, primary_key=True, autoincrement=False)
    happened_at: Mapped[datetime] = mapped_column(index=True)
    actor: Mapped[str] = mapped_column(String(120), index=True)
    role: Mapped[str] = mapped_column(String(32))
    action: Mapped[str] = mapped_column(String(64), index=True)
    subject: Mapped[str] = mapped_column(String(120), index=True)
    reason: Mapped[str] = mapped_column(Text)
    before: Mapped[str] = mapped_column(Text)
    after: Mapped[str] = mapped_column(Text)
    previous_hash: Mapped[bytes] = mapped_column(LargeBinary(32))
    hash: Mapped[bytes] = mapped_column(LargeBinary(32))


class IdempotentAnswer(Base):
    """The answer to a staff request that carried an ``Idempotency-Key``."""

    __tablename__ = "idempotent_answer"
    __table_args__ = (UniqueConstraint("token_id", "key"),)

    id: Mapped[int] = mapped_column(RowId, init=False, primary_key=True)
    token_id: Mapped[int] = mapped_column(ForeignKey("staff_token.id"))
    key: Mapped[str] = mapped_column(String(255))
    fingerprint: Mapped[bytes] = mapped_column(LargeBinary(32))
    status: Mapped[int]
    headers: Mapped[str] = mapped_column(Text)
    body: Mapped[bytes]
    created_at: Mapped[datetime] = mapped_column(index=True)

# SPDX-License-Identifier: Apache-2.0
"""The table of certificates that PBXs have been given."""

from datetime import datetime

from sqlalchemy import ForeignKey, LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column

from fleet.database import Base, RowId


class DeviceCertificate(Base):
    """One certificate of one PBX; the row decides whether it is still believed.

    Only what this service issued is here, and what is not here is not believed,
    whatever its signature says. After a renewal the old certificate
    ``retires_at`` an instant; a revoked one ended at ``revoked_at``.
    """

    __tablename__ = "device_certificate"

    id: Mapped[int] = mapped_column(RowId, init=False, primary_key=True)
    device_id: Mapped[int] = mapped_column(ForeignKey("device.id"), index=True)
    generation: Mapped[int]
    fingerprint: Mapped[bytes] = mapped_column(LargeBinary(32), unique=True)
    key_digest: Mapped[bytes] = mapped_column(LargeBinary(32), index=True)
    number: Mapped[str] = mapped_column(String(40))
    der: Mapped[bytes]
    issued_at: Mapped[datetime]
    not_after: Mapped[datetime] = mapped_column(index=True)
    retires_at: Mapped[datetime | None] = mapped_column(default=None)
    revoked_at: Mapped[datetime | None] = mapped_column(default=None, index=True)
    revocation_reason: Mapped[str | None] = mapped_column(String(32), default=None)

# SPDX-License-Identifier: Apache-2.0
"""The table of registered PBXs."""

from datetime import date, datetime

from sqlalchemy import LargeBinary, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from fleet.database import Base, RowId


class Device(Base):
    """A PBX that left the factory: who it is, and whose.

    The device secret is kept only as a keyed digest (``fleet.keys``), the serial
    number is public and proves nothing. What a PBX may do is not here: that is
    the licence check's business.
    """

    __tablename__ = "device"

    id: Mapped[int] = mapped_column(RowId, init=False, primary_key=True)
    serial_number: Mapped[str] = mapped_column(String(32), unique=True)
    mac_address: Mapped[str | None] = mapped_column(String(17), index=True)
    part_number: Mapped[str] = mapped_column(String(64))
    device_type: Mapped[str] = mapped_column(String(64))
    hardware_revision: Mapped[str] = mapped_column(String(64))
    secret_digest: Mapped[bytes] = mapped_column(LargeBinary(32))
    secret_key_version: Mapped[int]
    support_ends_on: Mapped[date | None]
    registered_at: Mapped[datetime]
    # Whoever answers for this PBX wants no statistics made of it (GDPR, article 21),
    # or nothing done with its data but to keep it (article 18).
    objected_at: Mapped[datetime | None] = mapped_column(default=None)
    restricted_at: Mapped[datetime | None] = mapped_column(default=None)
    customer: Mapped[str] = mapped_column(String(200), default="")
    notes: Mapped[str] = mapped_column(Text, default="")
    # The master key that this PBX's release-code key is derived from; 0 before the
    # first use. It keeps the one it was given first, or the codes of its owner
    # would be void.
    release_key_version: Mapped[int] = mapped_column(default=0)
    # What a support agent may type a part of: serial number, MAC address without
    # colons, customer and notes, folded (``fleet.devices.search``).
    search_text: Mapped[str] = mapped_column(Text, default="")

    @property
    def left_out(self) -> bool:
        """Whether no access record of this PBX is written."""
        return self.objected_at is not None or self.restricted_at is not None

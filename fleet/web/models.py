# SPDX-License-Identifier: Apache-2.0
"""The tables of requests: raw access records, and counts of wrong guesses."""

from datetime import datetime

from sqlalchemy import LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column

from fleet.database import Base, RowId


class AccessRecord(Base):
    """One request of a PBX: exactly the fields that protocol section 6 allows.

    Never a serial number. ``device_type`` and ``software_version`` stay empty
    for the services whose promise names only address and time.
    """

    __tablename__ = "access_record"

    id: Mapped[int] = mapped_column(RowId, init=False, primary_key=True)
    service: Mapped[str] = mapped_column(String(16))
    accessed_at: Mapped[datetime] = mapped_column(index=True)
    address: Mapped[str] = mapped_column(String(45))
    device_type: Mapped[str | None] = mapped_column(String(64), default=None)
    software_version: Mapped[str | None] = mapped_column(String(64), default=None)


class GuessCount(Base):
    """How often a secret was guessed wrongly from one place, in one window.

    ``place`` is a keyed digest, so that neither an address nor a serial number
    is kept here.
    """

    __tablename__ = "guess_count"

    place: Mapped[bytes] = mapped_column(LargeBinary(32), primary_key=True)
    window_began_at: Mapped[datetime] = mapped_column(primary_key=True, index=True)
    wrong: Mapped[int]

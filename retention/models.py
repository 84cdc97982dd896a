# SPDX-License-Identifier: Apache-2.0
"""The tables of retention: seals, counters, the ledger, and what people asked for.

Only ``rights_request`` and ``data_share`` are about somebody; the rest holds days,
counts and digests.
"""

from datetime import date, datetime

from sqlalchemy import (
    BigInteger,
    ForeignKey,
    LargeBinary,
    PrimaryKeyConstraint,
    String,
    Text,
)
from sqlalchemy.orm import Mapped, mapped_column

from fleet.database import Base, RowId


class DaySeal(Base):
    """One UTC day of one service, folded into counters: the proof that it was once.

    ``records`` were folded; ``deleted`` are gone since, folded or late; ``lost`` of
    those went before they could be folded. What was deleted beyond ``records`` and
    ``lost`` came after the seal (``late``), and is counted nowhere else.
    """

    __tablename__ = "day_seal"
    __table_args__ = (PrimaryKeyConstraint("day", "service"),)

    day: Mapped[date]
    service: Mapped[str] = mapped_column(String(16))
    records: Mapped[int] = mapped_column(BigInteger)
    threshold: Mapped[int]
    sealed_at: Mapped[datetime]
    deleted: Mapped[int] = mapped_column(BigInteger, default=0)
    lost: Mapped[int] = mapped_column(BigInteger, default=0)


class AccessCount(Base):
    """How many requests a group made: anonymous, and kept for ever.

    ``period`` is ``day``; or, for a day that had too few sources to be told by
    itself, ``held`` until its week is over, which nobody is told, and then ``week``
    (from its Monday) or ``ever`` (from 1970): see ``retention.service.closing``.
    ``device_type`` and ``software_version`` are of the catalogue or ``other``,
    ``country`` is of two letters or ``ZZ``; they are empty where the service does not
    ask for them, or no country is looked up.
    """

    __tablename__ = "access_count"
    __table_args__ = (
        PrimaryKeyConstraint(
            "period",
            "begins_on",
            "service",
            "device_type",
            "software_version",
            "country",
        ),
    )

    period: Mapped[str] = mapped_column(String(4))
    begins_on: Mapped[date] = mapped_column(index=True)
    service: Mapped[str] = mapped_column(String(16))
    device_type: Mapped[str] = mapped_column(String(64))
    software_version: Mapped[str] = mapped_column(String(64))
    country: Mapped[str] = mapped_column(String(2))
    requests: Mapped[int] = mapped_column(BigInteger)


class CataloguedVersion(Base):
    """A device type and software version that statistics may name.

    What a client writes is free text, and could be a telephone number; only what
    the vendor or enough registered PBXs vouch for is named. A type alone has an
    empty version.
    """

    __tablename__ = "catalogued_version"
    __table_args__ = (PrimaryKeyConstraint("device_type", "software_version"),)

    device_type: Mapped[str] = mapped_column(String(64))
    software_version: Mapped[str] = mapped_column(String(64))
    catalogued_at: Mapped[datetime]


class RetentionEntry(Base):
    """What retention did, as a hash chain without personal data; never changed.

    ``run`` counts the runs; ``facts`` are JSON.
    """

    __tablename__ = "retention_entry"

    id: Mapped[int] = mapped_column(RowId, primary_key=True, autoincrement=False)
    happened_at: Mapped[datetime]
    run: Mapped[int] = mapped_column(index=True)
    event: Mapped[str] = mapped_column(String(16))
    facts: Mapped[str] = mapped_column(Text)
    previous_hash: Mapped[bytes] = mapped_column(LargeBinary(32))
    hash: Mapped[bytes] = mapped_column(LargeBinary(32))


class RetentionState(Base):
    """One row: when a run last did all there was to do, and what it went by.

    ``cutoff`` is the latest instant up to which anything was deleted; it goes back
    only where an operator has accepted a clock since (``acceptances``).
    """

    __tablename__ = "retention_state"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    succeeded_at: Mapped[datetime | None] = mapped_column(default=None)
    cutoff: Mapped[datetime | None] = mapped_column(default=None)
    acceptances: Mapped[int] = mapped_column(default=0)


class RightsRequest(Base):
    """Somebody asked what is stored about a PBX, or that it be changed or erased.

    ``asked_by`` is ``device``, or who of the staff took the request; ``verified_by``
    says how it was made sure that the person may ask, ``reason`` what they want and
    why. ``receipt`` is JSON: what was done. No PBX is named any more, and no words of
    anybody are left, once its row is gone.
    """

    __tablename__ = "rights_request"

    id: Mapped[int] = mapped_column(RowId, init=False, primary_key=True)
    device_id: Mapped[int | None] = mapped_column(ForeignKey("device.id"), index=True)
    kind: Mapped[str] = mapped_column(String(16))
    asked_by: Mapped[str] = mapped_column(String(120))
    verified_by: Mapped[str] = mapped_column(Text)
    reason: Mapped[str] = mapped_column(Text)
    received_at: Mapped[datetime] = mapped_column(index=True)
    due_at: Mapped[datetime]
    extended_at: Mapped[datetime | None] = mapped_column(default=None)
    extended_because: Mapped[str] = mapped_column(Text, default="")
    state: Mapped[str] = mapped_column(String(16), default="open")
    closed_at: Mapped[datetime | None] = mapped_column(default=None)
    answer: Mapped[str] = mapped_column(Text, default="")
    receipt: Mapped[str] = mapped_column(Text, default="")


class RightsMark(Base):
    """An erasure, objection or restriction, to be done again after a restore.

    The same is kept in a file beside the database, which an older dump does not
    bring back. The serial number is only there as a keyed digest.
    """

    __tablename__ = "rights_mark"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    kind: Mapped[str] = mapped_column(String(24))
    happened_at: Mapped[datetime] = mapped_column(index=True)
    serial_digest: Mapped[bytes] = mapped_column(LargeBinary(32))
    key_version: Mapped[int]


class DataShare(Base):
    """A third party's leave to read what is stored about one PBX (Data Act, 5)."""

    __tablename__ = "data_share"

    id: Mapped[int] = mapped_column(RowId, init=False, primary_key=True)
    device_id: Mapped[int] = mapped_column(ForeignKey("device.id"), index=True)
    digest: Mapped[bytes] = mapped_column(LargeBinary(32), unique=True)
    key_version: Mapped[int]
    recipient: Mapped[str] = mapped_column(String(200))
    created_at: Mapped[datetime]
    created_by: Mapped[str] = mapped_column(String(120))
    expires_at: Mapped[datetime] = mapped_column(index=True)
    revoked_at: Mapped[datetime | None] = mapped_column(default=None)
    last_used_at: Mapped[datetime | None] = mapped_column(default=None)

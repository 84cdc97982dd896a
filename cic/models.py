# SPDX-License-Identifier: Apache-2.0
"""The tables of the licence check."""

from datetime import datetime

from sqlalchemy import ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from fleet.database import Base, RowId


class Activation(Base):
    """What the licence check knows of one PBX; there is one row for each.

    ``silent_since`` is the instant its silence is counted from: its last
    success, later by the time that it was blocked since. Whether it is locked is
    computed from that (``cic.standing``) and stored nowhere.
    """

    __tablename__ = "activation"

    device_id: Mapped[int] = mapped_column(
        ForeignKey("device.id"), primary_key=True, autoincrement=False
    )
    # The registry's device type, repeated here for the index below.
    device_type: Mapped[str] = mapped_column(String(64))
    # "" or "blocked" or "replaced": what staff decided about it.
    hold: Mapped[str] = mapped_column(String(16), default="")
    hold_reason: Mapped[str] = mapped_column(Text, default="")
    held_at: Mapped[datetime | None] = mapped_column(default=None)
    replaced_by_id: Mapped[int | None] = mapped_column(
        ForeignKey("device.id"), default=None
    )
    # Days of grace of this PBX alone; 0 where its device type decides.
    grace_days: Mapped[int] = mapped_column(default=0)
    generation: Mapped[int] = mapped_column(default=0)
    initialised_at: Mapped[datetime | None] = mapped_column(default=None)
    silent_since: Mapped[datetime | None] = mapped_column(default=None)
    reinitialisation_opened_at: Mapped[datetime | None] = mapped_column(default=None)
    last_success_at: Mapped[datetime | None] = mapped_column(default=None)
    last_check_at: Mapped[datetime | None] = mapped_column(default=None)
    last_verdict: Mapped[str] = mapped_column(String(16), default="")
    software_version: Mapped[str] = mapped_column(String(64), default="")
    failed_attempts: Mapped[int] = mapped_column(default=0)
    # The PBX's clock less ours at its last check, where it told us.
    clock_skew_seconds: Mapped[int | None] = mapped_column(default=None)
    continuation: Mapped[str] = mapped_column(String(32), default="")
    previous_continuation: Mapped[str] = mapped_column(String(32), default="")
    # The nonce that drew the current token: a repeat of that request is no clone.
    continuation_nonce: Mapped[str] = mapped_column(String(86), default="")
    clone_suspected_at: Mapped[datetime | None] = mapped_column(default=None)

    __table_args__ = (
        # Who locks this week: one range of this index for each group of PBXs
        # that share a grace.
        Index(
            "ix_activation_silence",
            "hold",
            "device_type",
            "grace_days",
            "silent_since",
            "device_id",
        ),
    )


class LifeEvent(Base):
    """Something that happened to a PBX: initialised, locked, blocked, replaced.

    Kept as long as the PBX is registered; it holds neither an address nor who
    did it (the audit log does).
    """

    __tablename__ = "life_event"

    id: Mapped[int] = mapped_column(RowId, init=False, primary_key=True)
    device_id: Mapped[int] = mapped_column(ForeignKey("device.id"))
    happened_at: Mapped[datetime]
    kind: Mapped[str] = mapped_column(String(32))
    detail: Mapped[str] = mapped_column(Text, default="")

    __table_args__ = (Index("ix_life_event_device", "device_id", "happened_at"),)


class GracePolicy(Base):
    """The grace of all PBXs of one device type, where it is not the default."""

    __tablename__ = "grace_policy"

    device_type: Mapped[str] = mapped_column(String(64), primary_key=True)
    grace_days: Mapped[int]
    reason: Mapped[str] = mapped_column(Text)
    set_at: Mapped[datetime]


class Amnesty(Base):
    """A promise of staff to the whole fleet: nobody locks before ``until``."""

    __tablename__ = "amnesty"

    id: Mapped[int] = mapped_column(RowId, init=False, primary_key=True)
    until: Mapped[datetime]
    reason: Mapped[str] = mapped_column(Text)
    granted_by: Mapped[str] = mapped_column(String(120))
    granted_at: Mapped[datetime]
    withdrawn_at: Mapped[datetime | None] = mapped_column(default=None)

# SPDX-License-Identifier: Apache-2.0
"""The tables of the service itself: its pulse, its outages, who runs the jobs."""

from datetime import datetime

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from fleet.database import Base, RowId


class Pulse(Base):
    """One row: when any web process was last known to serve.

    ``policy_version`` rises with each change of what standings are judged by
    (grace, amnesties, outages), so that a web process can keep those in memory.
    ``acceptances`` counts how often an operator has said that the clock is right
    although it is behind: what was noted by the clock before is void then.
    """

    __tablename__ = "pulse"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    beat_at: Mapped[datetime]
    policy_version: Mapped[int] = mapped_column(default=1)
    acceptances: Mapped[int] = mapped_column(default=0)


class Outage(Base):
    """Time in which no web process served: it is not the PBXs' silence."""

    __tablename__ = "outage"

    id: Mapped[int] = mapped_column(RowId, init=False, primary_key=True)
    began_at: Mapped[datetime]
    ended_at: Mapped[datetime]


class JobLease(Base):
    """Which jobs process works: the others wait until the lease runs out.

    ``token`` rises with each holder, so that one that was thought dead cannot
    go on unnoticed.
    """

    __tablename__ = "job_lease"

    name: Mapped[str] = mapped_column(String(32), primary_key=True)
    holder: Mapped[str] = mapped_column(String(64))
    token: Mapped[int]
    expires_at: Mapped[datetime]


class JobRun(Base):
    """How each job last went, for readiness and metrics.

    ``fault`` is the kind of error that ended the last attempt, never its text.
    """

    __tablename__ = "job_run"

    name: Mapped[str] = mapped_column(String(32), primary_key=True)
    began_at: Mapped[datetime]
    succeeded_at: Mapped[datetime | None] = mapped_column(default=None)
    fault: Mapped[str] = mapped_column(String(64), default="")

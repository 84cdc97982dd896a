# SPDX-License-Identifier: Apache-2.0
"""How each job last went: written by the jobs process, told by readiness and metrics.

Nothing is decided by it. What is due is derived from the data, so that a lost note, or
one that a restore took back, makes nobody do anything twice or not at all.
"""

from collections.abc import Collection, Iterator
from datetime import datetime

from sqlalchemy import Engine, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from fleet.database import reading, writing
from fleet.feature import Gauge
from fleet.server.models import JobRun

LONGEST_FAULT = 64


def began(engine: Engine, name: str, now: datetime) -> None:
    """Note that the job ``name`` begins. Raises SQLAlchemy's error."""
    with writing(engine) as connection:
        mine = JobRun.name == name
        known = connection.execute(update(JobRun).where(mine).values(began_at=now))
        if known.rowcount:
            return
        try:
            with connection.begin_nested():
                row = {"name": name, "began_at": now, "fault": ""}
                connection.execute(insert(JobRun).values(row))
        except IntegrityError:
            return  # another process came first


def ended(engine: Engine, name: str, now: datetime, *, fault: str = "") -> None:
    """Note that it has ended: well, or by a ``fault`` of this kind.

    Raises SQLAlchemy's error.
    """
    values: dict[str, object] = {"fault": fault[:LONGEST_FAULT]}
    if not fault:
        values["succeeded_at"] = now
    with writing(engine) as connection:
        connection.execute(update(JobRun).where(JobRun.name == name).values(values))


def keep_only(engine: Engine, names: Collection[str]) -> None:
    """Forget jobs that there are no more: nobody should be woken for one of them.

    Raises SQLAlchemy's error.
    """
    with writing(engine) as connection:
        connection.execute(delete(JobRun).where(JobRun.name.not_in(names)))


def gauges() -> Iterator[Gauge]:
    """Yield for each job when it last began and succeeded, and whether it failed."""
    with reading() as session:
        rows = session.scalars(select(JobRun).order_by(JobRun.name)).all()
    for row in rows:
        labels = {"name": row.name}  # "job" is Prometheus' own
        yield Gauge(
            "callhome_job_last_begin_timestamp_seconds",
            "When a job last began, in seconds since 1970",
            row.began_at.timestamp(),
            labels,
        )
        yield Gauge(
            "callhome_job_failing",
            "Whether the last attempt of a job failed",
            float(bool(row.fault)),
            labels,
        )
        if row.succeeded_at is not None:
            yield Gauge(
                "callhome_job_last_success_timestamp_seconds",
                "When a job last ended well, in seconds since 1970",
                row.succeeded_at.timestamp(),
                labels,
            )

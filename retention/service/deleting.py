# SPDX-License-Identifier: Apache-2.0
"""Deletes access records that are too old, in steps that keep nobody waiting long.

Each step is a transaction of its own that renews the lease, deletes, and adds to the
seals of its day what is gone: a step that is broken off has not happened. What is
deleted of a day that nobody could seal is lost to the statistics, and the seal says
so: the limit of age is kept whatever else fails.
"""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Protocol, Self

from sqlalchemy import Connection, Engine, func, insert, select, update
from sqlalchemy.exc import DBAPIError

from fleet.web.models import AccessRecord
from retention.folding import THRESHOLD
from retention.models import DaySeal
from retention.service.deadlines import Deadlines
from retention.service.sealing import Fence

log = logging.getLogger(__name__)


@dataclass
class Gone:
    """What has been deleted: ``late`` and ``lost`` are parts of ``deleted``.

    ``misdated`` ones are none of them: a clock that ran ahead made them, and they
    are of no day that has been. ``left`` names what could not be deleted.
    """

    deleted: int = 0
    late: int = 0
    lost: int = 0
    misdated: int = 0
    batches: int = 0
    left: list[str] = field(default_factory=list)

    def __iadd__(self, other: "Gone") -> Self:
        """Add what another step deleted."""
        self.deleted += other.deleted
        self.late += other.late
        self.lost += other.lost
        self.misdated += other.misdated
        self.batches += other.batches
        self.left += other.left
        return self


class Deletion(Protocol):
    """How one kind of database forgets."""

    def __call__(
        self, engine: Engine, due: Deadlines, *, fence: Fence
    ) -> Iterator[Gone]:
        """Delete all that is due, and yield after each step.

        Raises ``LeaseLost``, and SQLAlchemy's error where the database fails.
        """


def oldest(connection: Connection) -> datetime | None:
    """Return the instant of the oldest access record there is."""
    return connection.execute(select(func.min(AccessRecord.accessed_at))).scalar_one()


def newest(connection: Connection) -> datetime | None:
    """Return the instant of the newest access record there is."""
    return connection.execute(select(func.max(AccessRecord.accessed_at))).scalar_one()


def note(
    connection: Connection, day: date, of_service: Mapping[str, int], *, now: datetime
) -> Gone:
    """Add what is being deleted of ``day`` to its seals, in the same transaction.

    Where that fails, nothing is added and the deletion goes on: what is over its age
    goes, and the run's own report and ledger still count it.
    """
    seals = {
        seal.service: seal
        for seal in connection.execute(
            select(DaySeal.service, DaySeal.records, DaySeal.deleted, DaySeal.lost)
            .where(DaySeal.day == day)
            .with_for_update()
        )
    }
    # Seals without records are made below, for what was lost or is late.
    was_sealed = any(seal.records for seal in seals.values())
    gone = Gone()
    rows = []
    for service, count in sorted(of_service.items()):
        seal = seals.get(service)
        lost = 0 if was_sealed else count
        known = 0 if seal is None else seal.records + seal.lost - seal.deleted
        gone.deleted += count
        gone.lost += lost
        gone.late += max(0, count - lost - max(0, known))
        rows.append({"service": service, "deleted": count, "lost": lost})
    try:
        with connection.begin_nested():
            for row in rows:
                _add(connection, day, row, now=now)
    except DBAPIError as fault:
        log.error("retention: seals of %s not kept: %s", day, type(fault).__name__)  # noqa: TRY400 -- the fault's text may hold a value
    return gone


def _add(
    connection: Connection, day: date, row: Mapping[str, object], *, now: datetime
) -> None:
    seal = (DaySeal.day == day) & (DaySeal.service == row["service"])
    done = connection.execute(
        update(DaySeal)
        .where(seal)
        .values(
            deleted=DaySeal.deleted + row["deleted"], lost=DaySeal.lost + row["lost"]
        )
    )
    if done.rowcount == 0:
        fixed = {"records": 0, "threshold": THRESHOLD, "sealed_at": now}
        connection.execute(insert(DaySeal).values(day=day, **fixed, **row))

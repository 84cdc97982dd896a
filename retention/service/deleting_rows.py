# SPDX-License-Identifier: Apache-2.0
"""Deletes on SQLite: a few thousand rows at a time, and then lets others write.

SQLite has one writer at a time, and one that waits looks again after at most 25 ms in
the first 128 ms of its wait (``delays`` in ``sqliteDefaultBusyCallback``). So after
each step nothing is written for a little longer than that, and who waited gets in.
Meanwhile what was written goes from the log to the main file.

Deleted bytes are overwritten (``secure_delete``); the log has older copies of them,
until it is truncated at the end.
"""

import time
from collections.abc import Iterator
from datetime import datetime, timedelta

from sqlalchemy import Connection, Engine, delete, func, select

from fleet.database import writing
from fleet.web.models import AccessRecord
from retention.service.deadlines import DAY, Deadlines, begin_of, day_of
from retention.service.deleting import Gone, newest, note, oldest
from retention.service.sealing import Fence

# How long a step may keep other writers waiting.
STEP_SECONDS = 0.08
PAUSE_SECONDS = 0.026
SOON_SECONDS = 0.1
FIRST_STEP = 2_000
LEAST_STEP, LARGEST_STEP = 250, 50_000

_at = AccessRecord.accessed_at
_MICROSECOND = timedelta(microseconds=1)


def expire(engine: Engine, due: Deadlines, *, fence: Fence) -> Iterator[Gone]:
    """Delete all that is due (``retention.service.deleting.Deletion``)."""
    steps = _Steps(engine, fence, now=due.now)
    with engine.connect() as connection:
        first, last = oldest(connection), newest(connection)
    too_old = first is not None and first <= due.cutoff
    while too_old and (gone := steps.delete(until=due.cutoff)).batches:
        yield gone
    too_new = last is not None and last > due.ceiling
    while too_new and (gone := steps.delete(after=due.ceiling)).batches:
        yield gone


class _Steps:
    """Deletes step by step, each about as long as it may take."""

    def __init__(self, engine: Engine, fence: Fence, *, now: datetime) -> None:
        self._engine = engine
        self._fence = fence
        self._now = now
        self._size = FIRST_STEP

    def delete(
        self, *, until: datetime | None = None, after: datetime | None = None
    ) -> Gone:
        """Delete some of the oldest that are too old, or that are misdated.

        Those up to ``until``, or those later than ``after``; of one day. Waits until
        others wrote. No batch is returned where there are none.
        """
        with writing(self._engine) as connection:
            began = time.monotonic()
            self._fence(connection)
            gone = self._delete(connection, until, after)
        took = time.monotonic() - began  # with the flush, which others wait for, too
        self._size = next_size(self._size, took)
        if gone.batches:
            _let_others_write(self._engine, pause_after(took))
        return gone

    def _delete(
        self, connection: Connection, until: datetime | None, after: datetime | None
    ) -> Gone:
        least = [] if after is None else [_at > after]
        first = connection.execute(select(func.min(_at)).where(*least)).scalar()
        if first is None or (until is not None and first > until):
            return Gone()
        day = day_of(first)
        end = begin_of(day) + DAY - _MICROSECOND
        end = end if until is None else min(end, until)
        last = connection.execute(
            select(_at)
            .where(*least, _at <= end)
            .order_by(_at)
            .limit(1)
            .offset(self._size - 1)
        ).scalar()
        # One upper bound: of several SQLite takes the first for its way through the
        # index, and would read all that is due again in each step.
        these = [*least, _at <= (last or end)]
        counts = connection.execute(
            select(AccessRecord.service, func.count())
            .where(*these)
            .group_by(AccessRecord.service)
        )
        of_service = dict(counts.all())
        connection.execute(delete(AccessRecord).where(*these))
        if after is not None:
            return Gone(misdated=sum(of_service.values()), batches=1)
        gone = note(connection, day, of_service, now=self._now)
        gone.batches = 1
        return gone


def next_size(size: int, took: float) -> int:
    """Return how many to delete next, where ``size`` took so many seconds."""
    factor = min(2.0, max(0.25, STEP_SECONDS * 0.75 / max(took, 0.001)))
    return int(min(LARGEST_STEP, max(LEAST_STEP, size * factor)))


def pause_after(took: float) -> float:
    """Return for how long to write nothing, where a step took so many seconds.

    Where the disk was slow, who waited has begun to look more seldom: after 128 ms
    every 50 ms, and after 228 ms every 100 ms. After too short a pause they would miss
    one step after another.
    """
    if took < SOON_SECONDS:
        return PAUSE_SECONDS
    return 2 * PAUSE_SECONDS if took < 2 * SOON_SECONDS else 4 * PAUSE_SECONDS


def _let_others_write(engine: Engine, pause: float) -> None:
    """Write nothing for as long as a waiting writer may sleep."""
    began = time.monotonic()
    _checkpoint(engine, "PASSIVE")
    time.sleep(max(0.0, pause - (time.monotonic() - began)))


def sweep(engine: Engine, *, tries: int = 50) -> bool:
    """Leave nothing of what was deleted in the write-ahead log; say whether done.

    A reader keeps the log from being truncated, and while that is tried nobody can
    write: so each try is short, and there are some in five seconds.
    """
    for tried in range(tries):
        if tried:
            time.sleep(0.1)
        _checkpoint(engine, "PASSIVE")
        if _checkpoint(engine, "TRUNCATE"):
            return True
    return False


def _checkpoint(engine: Engine, mode: str) -> bool:
    """Take the log over into the main file; say whether all of it was."""
    line = engine.raw_connection()
    try:
        cursor = line.cursor()
        try:
            # It waits for readers, and holds up writers for as long.
            (patience,) = cursor.execute("PRAGMA busy_timeout").fetchone()
            cursor.execute("PRAGMA busy_timeout = 20")
            busy, _, _ = cursor.execute(f"PRAGMA wal_checkpoint({mode})").fetchone()
            cursor.execute(f"PRAGMA busy_timeout = {int(patience)}")
            return not busy
        finally:
            cursor.close()
    finally:
        line.close()

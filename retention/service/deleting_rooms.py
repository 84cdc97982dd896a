# SPDX-License-Identifier: Apache-2.0
"""Deletes on PostgreSQL: whole hours with their files, by the owner's function.

``access_record_expire`` (migration 0005) drops the hours that are over their age, and
writes the one anew that is half so: no deleted row stays in a file. For the moment of
the change it needs the table for itself. It gives up soon rather than let others
queue behind it, and is tried again.
"""

import random
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

from fleet.database import writing
from retention.service.deadlines import Deadlines, day_of
from retention.service.deleting import Gone, newest, note, oldest
from retention.service.sealing import Fence

HOUR = timedelta(hours=1)

MOST_TRIES = 20
_LOCKED = {"55P03", "40P01"}  # lock_not_available, deadlock_detected

_ROOMS = text("""
    SELECT relname FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
    WHERE inhparent = to_regclass('access_record') ORDER BY relname
""")
_ROOM = re.compile(r"access_record_([0-9]{10})")
_EXPIRE = text("""
    SELECT of_service, misdated, expired
    FROM access_record_expire(:at, :cutoff, :ceiling)
""")


def expire(engine: Engine, due: Deadlines, *, fence: Fence) -> Iterator[Gone]:
    """Delete all that is due (``retention.service.deleting.Deletion``)."""
    for hour in _due(engine, due):
        gone = _patiently(engine, hour, due, fence)
        yield gone
        if gone.left:
            # Whoever is in the way of one is in the way of all.
            return


def _due(engine: Engine, due: Deadlines) -> list[datetime]:
    """Return the hours that are over their age, half so, or of a time to come.

    The last two only where there is something in them: to look locks them. The
    first always, since rooms go although they are empty.
    """
    with engine.connect() as connection:
        hours, first, last = rooms(connection), oldest(connection), newest(connection)
    too_old = first is not None and first <= due.cutoff
    too_new = last is not None and last > due.ceiling
    return [
        hour
        for hour in hours
        if hour + HOUR <= due.cutoff
        or (too_old and hour <= due.cutoff)
        or (too_new and hour + HOUR > due.ceiling)
    ]


def rooms(connection: Connection) -> list[datetime]:
    """Return the hours that there is a room for, oldest first."""
    names = connection.execute(_ROOMS).scalars()
    found = (_ROOM.fullmatch(name) for name in names)
    return [
        datetime.strptime(each[1], "%Y%m%d%H").replace(tzinfo=UTC)
        for each in found
        if each is not None
    ]


def _patiently(engine: Engine, hour: datetime, due: Deadlines, fence: Fence) -> Gone:
    """Expire one hour, as often as others are in the way; or leave it for now."""
    for tried in range(MOST_TRIES):
        if tried:
            time.sleep(random.uniform(0.05, 0.2))  # noqa: S311 -- only to get out of step
        try:
            with writing(engine) as connection:
                fence(connection)
                return _expire(connection, hour, due)
        except DBAPIError as fault:
            if getattr(fault.orig, "sqlstate", None) not in _LOCKED:
                raise
    return Gone(left=[f"{hour:%Y-%m-%dT%HZ}"])


def _expire(connection: Connection, hour: datetime, due: Deadlines) -> Gone:
    rows = connection.execute(
        _EXPIRE, {"at": hour, "cutoff": due.cutoff, "ceiling": due.ceiling}
    ).all()
    of_service = {row.of_service: row.expired for row in rows if not row.misdated}
    gone = note(connection, day_of(hour), of_service, now=due.now)
    gone.misdated = sum(row.expired for row in rows if row.misdated)
    gone.batches = 1 if rows else 0
    return gone

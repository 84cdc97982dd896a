# SPDX-License-Identifier: Apache-2.0
"""Where access records are kept, and for how long anybody may read them.

On PostgreSQL each UTC hour has a room of its own (migration 0005), so that what is
too old can go with its bytes. There is none for what nobody expected, so whoever
writes asks for the room first; each process does so once an hour, and needs no job
to have run. The licence check does not even wait for that (``cic.service.held``).
On SQLite there is one table.
"""

from collections import deque
from collections.abc import Iterable
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Engine, text

from fleet.database import writing
from fleet.web.models import AccessRecord

# Fourteen days of 24 hours, and not an hour more (protocol, section 6).
GREATEST_AGE = timedelta(hours=336)

_ROOM = text("SELECT access_record_room(:at)")
_FEW = 8


class Rooms:
    """The rooms of one database that this process knows to be there."""

    def __init__(self, engine: Engine) -> None:
        """Know of none yet."""
        self._engine = engine
        self._needed = engine.dialect.name == "postgresql"
        self._known: deque[datetime] = deque(maxlen=_FEW)

    def prepare(self, instants: Iterable[datetime]) -> None:
        """Make sure that there is room for records of these instants.

        In a transaction of its own: a room is there although the caller's work comes
        to nothing. Raises SQLAlchemy's error where the database fails.
        """
        if not self._needed:
            return
        for hour in {_hour_of(each) for each in instants}:
            if hour in self._known:
                continue
            with writing(self._engine) as connection:
                connection.execute(_ROOM, {"at": hour})
            self._known.append(hour)

    def forget(self) -> None:
        """Know of no room any more: one that was known has gone."""
        self._known.clear()


def readable(now: datetime) -> ColumnElement[bool]:
    """Return the condition that an access record is young enough to be read.

    Every reader uses it, so that nobody sees an older one, even where the job that
    deletes them is late. At exactly the greatest age it is too old.
    """
    return AccessRecord.accessed_at > now - GREATEST_AGE


def _hour_of(instant: datetime) -> datetime:
    return instant.replace(minute=0, second=0, microsecond=0)

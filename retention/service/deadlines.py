# SPDX-License-Identifier: Apache-2.0
"""What time it is for retention, and so which records are over their time.

The clock is this server's, as it is for the records themselves. Where it is behind
what was served or deleted by before, the later instant counts: a clock that was set
back is never a reason to keep anything for longer. That ends where an operator says
that the clock is right (``callhome clock --accept``).
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import cast

from sqlalchemy import Connection, func, select

from fleet.ground import ground
from fleet.server import pulse
from fleet.web.access_rooms import GREATEST_AGE
from retention.service import states

DAY = timedelta(days=1)

# Records are written a second after their instant, or when the database is back.
GRACE = timedelta(hours=1)

RIGHT = "ok"
BEHIND = "behind what was served before"
OFF = "off the database's"


@dataclass(frozen=True)
class Deadlines:
    """The instants that one run goes by; all of them are exact.

    A record at ``cutoff`` or before is too old. No clock that is right has been
    beyond ``ceiling``. ``clock`` says what is wrong with this server's.
    """

    now: datetime
    cutoff: datetime
    ceiling: datetime
    clock: str = RIGHT

    @property
    def closed(self) -> datetime:
        """The end of the last day that is over for good."""
        return begin_of(day_of(self.now - GRACE))


def deadlines(connection: Connection, now: datetime) -> Deadlines:
    """Return what is too old at ``now``, by this clock or what was served before."""
    tolerance = timedelta(seconds=ground().settings.clock_tolerance_seconds)
    served = pulse.last_beat(connection)
    deleted = states.high_water(connection)
    latest = max(
        now, served or now, deleted + GREATEST_AGE if deleted is not None else now
    )
    return Deadlines(
        now=latest,
        cutoff=latest - GREATEST_AGE,
        ceiling=latest + tolerance,
        clock=_verdict(connection, now, latest, tolerance),
    )


def day_of(instant: datetime) -> date:
    """Return the day of ``instant`` in UTC."""
    return instant.astimezone(UTC).date()


def begin_of(day: date) -> datetime:
    """Return the first instant of ``day`` in UTC."""
    return datetime.combine(day, time(), UTC)


def _verdict(
    connection: Connection, now: datetime, latest: datetime, tolerance: timedelta
) -> str:
    if latest - now > tolerance:
        return BEHIND
    if connection.dialect.name == "postgresql":
        theirs = connection.execute(select(func.clock_timestamp())).scalar_one()
        if abs(cast("datetime", theirs) - now) > tolerance:
            return OFF
    return RIGHT

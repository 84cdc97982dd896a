# SPDX-License-Identifier: Apache-2.0
"""The pulse of the service: when it served, when it did not, and what time it is.

Every web process notes in the database, a few times a minute, that it is alive.
Two things follow from that one row:

* a gap in it is an *outage*, recorded by whichever process comes back first.
  Time in which no PBX could reach us is not the PBXs' silence;
* it is a high-water mark of time. A server whose clock is behind it, or off the
  database's, signs nothing (protocol, section 1): a lease with a wrong instant
  in it could lock a fleet.

A clock that leaps forward looks like an outage of the same length, and is
credited like one, so it locks nobody either.
"""

import logging
import threading
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import cast

from flask import Flask, current_app
from sqlalchemy import Connection, Engine, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from fleet.clock import utcnow
from fleet.database import db, writing
from fleet.errors import Unavailable
from fleet.server.models import Outage, Pulse

log = logging.getLogger(__name__)

BEAT_EVERY = timedelta(seconds=15)

# A gap of this length is an outage; a restart is shorter.
LEAST_OUTAGE = timedelta(seconds=60)


class ClockNotTrusted(Unavailable):
    """This server's clock is wrong, or was: nothing is signed until it is right."""

    code = "clock-not-trusted"
    reason = "This server's clock cannot be trusted right now. Try again later."


@dataclass(frozen=True)
class _Observed:
    """The wall clock and the monotonic clock, read together."""

    wall: datetime
    monotonic: float


class Timekeeper:
    """Tells the time to whoever signs, or refuses to; one for each process."""

    def __init__(self, engine: Engine, *, tolerance: timedelta) -> None:
        """Keep time by the pulse in the database of ``engine``."""
        self._engine = engine
        self._tolerance = tolerance
        self._observed: _Observed | None = None
        self._fault: str | None = None
        self._turn = threading.Lock()

    def now(self) -> datetime:
        """Return the present instant; raise ``ClockNotTrusted``.

        Where the wall clock has leaped since it was last looked at, the pulse is
        taken first, so that a leap is credited before anybody is judged by it.
        """
        wall = utcnow()
        observed = self._observed
        if observed is None or self._leaped(observed, wall):
            self.beat()
            wall = utcnow()
        if self._fault is not None:
            raise ClockNotTrusted
        return wall

    @property
    def fault(self) -> str | None:
        """What is wrong with this server's clock, for readiness and the doctor."""
        return self._fault

    def beat(self) -> None:
        """Note that this process serves, and compare clocks.

        Raises SQLAlchemy's error where the database does not answer.
        """
        with self._turn:
            wall, monotonic = utcnow(), time.monotonic()
            with writing(self._engine) as connection:
                fault = self._compare(connection, wall)
                if fault is None:
                    _advance(connection, wall)
            if fault != self._fault:
                log.error("clock: %s", fault or "trusted again")
            self._fault = fault
            self._observed = _Observed(wall, monotonic)

    def _leaped(self, observed: _Observed, wall: datetime) -> bool:
        passed = timedelta(seconds=time.monotonic() - observed.monotonic)
        return abs(wall - observed.wall - passed) > self._tolerance

    def _compare(self, connection: Connection, wall: datetime) -> str | None:
        if connection.dialect.name == "postgresql":
            theirs = connection.execute(select(func.clock_timestamp())).scalar_one()
            if abs(cast("datetime", theirs) - wall) > self._tolerance:
                return "this server's clock is off the database's"
        mark = connection.execute(select(Pulse.beat_at)).scalar_one_or_none()
        if mark is not None and wall < mark - self._tolerance:
            return "this server's clock is behind the last instant that was served"
        return None


def _advance(connection: Connection, now: datetime) -> None:
    mark = connection.execute(
        select(Pulse.beat_at).where(Pulse.id == 1).with_for_update()
    ).scalar_one_or_none()
    if mark is None:
        _begin(connection, now)
        return
    if now <= mark:
        return
    if now - mark > LEAST_OUTAGE:
        connection.execute(insert(Outage).values(began_at=mark, ended_at=now))
        policy_changed(connection)
        log.warning("outage of %d s recorded", (now - mark).total_seconds())
    connection.execute(update(Pulse).where(Pulse.id == 1).values(beat_at=now))


def _begin(connection: Connection, now: datetime) -> None:
    try:
        with connection.begin_nested():
            connection.execute(
                insert(Pulse).values(id=1, beat_at=now, policy_version=1, acceptances=0)
            )
    except IntegrityError:
        return  # another process came first


def last_beat(connection: Connection) -> datetime | None:
    """Return the last instant at which a web process was known to serve."""
    return connection.execute(
        select(Pulse.beat_at).where(Pulse.id == 1)
    ).scalar_one_or_none()


def acceptances(connection: Connection) -> int:
    """Return how often an operator has taken a clock that is behind for right."""
    return (
        connection.execute(
            select(Pulse.acceptances).where(Pulse.id == 1)
        ).scalar_one_or_none()
        or 0
    )


def accept_clock(connection: Connection, now: datetime) -> None:
    """Take ``now`` for right, although it lies behind what was served before.

    For an operator who has mended a clock that ran ahead. Outages that reach
    into the future end now, and those that began there never were.
    """
    connection.execute(delete(Outage).where(Outage.began_at > now))
    connection.execute(update(Outage).where(Outage.ended_at > now).values(ended_at=now))
    connection.execute(
        update(Pulse).values(beat_at=now, acceptances=Pulse.acceptances + 1)
    )
    policy_changed(connection)


def policy_changed(connection: Connection) -> None:
    """Tell all web processes to read anew what standings are judged by."""
    connection.execute(update(Pulse).values(policy_version=Pulse.policy_version + 1))


def register(app: Flask, *, tolerance: timedelta) -> None:
    """Give ``app`` a timekeeper; its pulse starts with ``start``."""
    with app.app_context():
        app.extensions["timekeeper"] = Timekeeper(db.engine, tolerance=tolerance)


def timekeeper() -> Timekeeper:
    """Return the timekeeper of the application in context."""
    return cast("Timekeeper", current_app.extensions["timekeeper"])


def start(app: Flask) -> None:
    """Let the pulse of this web process beat until the process ends."""
    keeper = cast("Timekeeper", app.extensions["timekeeper"])

    def beat_for_ever() -> None:
        while True:
            try:
                keeper.beat()
            except SQLAlchemyError as fault:
                log.warning("no pulse: %s", type(fault).__name__)
            time.sleep(BEAT_EVERY.total_seconds())

    threading.Thread(target=beat_for_ever, name="pulse", daemon=True).start()

# SPDX-License-Identifier: Apache-2.0
"""Slows down whoever guesses secrets, without stopping anybody else.

Only wrong guesses count: of one secret's owner from one address, and of all of
them from one address (a /64 for IPv6, since a client has at least that many to
choose from). The counts are in the database, so that all processes and nodes
share them, and under keyed digests, so that it holds neither addresses nor
serial numbers. The total over all places raises an alarm and refuses nobody:
otherwise one attacker could stop a whole fleet (protocol, section 2).

Windows are fixed. At the turn of one, twice the limit can be guessed in short
order; against secrets of 60 bits and more that is no difference. Guesses that
arrive at the same instant may likewise be read although they end up beyond the
limit: at most as many as there are threads.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import IPv6Address, IPv6Network
from typing import cast

from flask import Flask, current_app
from sqlalchemy import Connection, Engine, bindparam, delete, select, tuple_
from sqlalchemy.dialects import postgresql, sqlite

from fleet.commits import padded
from fleet.database import db, writing
from fleet.errors import TooMany
from fleet.keys.keyring import VersionedKey, keyed_digest
from fleet.settings import plain_address
from fleet.web.metrics import GUESSES_REFUSED, GUESSING_ALARMS, WRONG_GUESSES
from fleet.web.models import GuessCount

log = logging.getLogger(__name__)

WINDOW = timedelta(minutes=10)
IPV6_CLIENT_PREFIX = 64
MOST_FORGOTTEN_TOGETHER = 1_000

_TABLE = GuessCount.__table__
_COUNTS = select(_TABLE.c.place, _TABLE.c.wrong).where(
    _TABLE.c.place.in_(bindparam("places", expanding=True)),
    _TABLE.c.window_began_at == bindparam("window"),
)


@dataclass(frozen=True)
class Guessing:
    """A kind of secret that can be guessed, and how often in one window.

    ``per_serial`` bounds the guesses for one PBX from one address: enough for a
    person who mistypes, too few to search. ``per_address`` bounds them for all
    PBXs behind one address: a dealer's workshop sets up many at a time.
    ``alarm_at`` is the number from all places at which somebody should look.
    """

    kind: str
    per_serial: int = 10
    per_address: int = 30
    alarm_at: int = 1_000


# The secret from the factory list, 80 bits and more, proves a PBX at first start.
DEVICE_SECRET = Guessing("device-secret")


def check(
    guessing: Guessing, address: str, *, serial: str | None = None, now: datetime
) -> None:
    """Raise ``TooMany`` if no more guesses are read from here in this window.

    To be called before the secret is looked at. An unknown ``address`` ("") has
    no limit of its own: it is everybody's behind some proxy.
    """
    _throttle().check(guessing, address, serial, now)


def check_many(
    connection: Connection,
    guessing: Guessing,
    clients: Sequence[tuple[str, str | None]],
    *,
    now: datetime,
) -> list[TooMany | None]:
    """Return for each of many clients what ``check`` would raise, by one query.

    A client is an address and a serial number.
    """
    return _throttle().check_many(connection, guessing, clients, now)


def wrong(
    guessing: Guessing, address: str, *, serial: str | None = None, now: datetime
) -> None:
    """Count a wrong guess, in a transaction of its own.

    Raises ``TooMany`` where the count has passed the limit meanwhile, and
    ``RuntimeError`` inside a transaction: its rollback must not undo the count.
    """
    if db.session().info.get("in_transaction"):
        raise RuntimeError("a wrong guess is counted outside any transaction")
    _throttle().wrong(guessing, address, serial, now)


def forget(now: datetime) -> int:
    """Delete the counts of windows that are over; return how many (a job)."""
    return _throttle().forget(now)


def register(app: Flask, key: Callable[[], VersionedKey]) -> None:
    """Give ``app`` its counts; ``key`` is asked for when it is first needed."""
    with app.app_context():
        app.extensions["throttle"] = Throttle(db.engine, key)


def _throttle() -> "Throttle":
    return cast("Throttle", current_app.extensions["throttle"])


@dataclass(frozen=True)
class Throttle:
    """The counts in one database, under digests with one key."""

    engine: Engine
    key: Callable[[], VersionedKey]

    def check(
        self, guessing: Guessing, address: str, serial: str | None, now: datetime
    ) -> None:
        """Raise ``TooMany`` if a limit is reached."""
        with self.engine.connect() as connection:
            [refused] = self.check_many(connection, guessing, [(address, serial)], now)
        if refused is not None:
            raise refused

    def check_many(
        self,
        connection: Connection,
        guessing: Guessing,
        clients: Sequence[tuple[str, str | None]],
        now: datetime,
    ) -> list[TooMany | None]:
        """Return a refusal for each client that has reached a limit."""
        limits = [self._limits(guessing, *client) for client in clients]
        places = {place for each in limits for place in each}
        if not places:
            return [None] * len(limits)
        asked = {"places": padded(places), "window": window_of(now)}
        rows = connection.execute(_COUNTS, asked)
        counted = {bytes(place): count for place, count in rows}
        return [
            _refusal(guessing, now)
            if any(counted.get(place, 0) >= limit for place, limit in each.items())
            else None
            for each in limits
        ]

    def wrong(
        self, guessing: Guessing, address: str, serial: str | None, now: datetime
    ) -> None:
        """Count, then raise ``TooMany`` if a limit is passed."""
        WRONG_GUESSES.labels(guessing.kind).inc()
        limits = self._limits(guessing, address, serial)
        everywhere = self._place(guessing, "everywhere")
        counts = self._add([*limits, everywhere], window_of(now))
        # Exactly one of all processes and nodes brings the total to this number.
        if counts[everywhere] == guessing.alarm_at:
            GUESSING_ALARMS.labels(guessing.kind).inc()
            log.warning(
                "%s was guessed wrongly %d times in one window",
                guessing.kind,
                guessing.alarm_at,
            )
        if any(counts[place] > limit for place, limit in limits.items()):
            raise _refusal(guessing, now)

    def forget(self, now: datetime) -> int:
        """Delete the counts of windows that are over, a few at a time."""
        row = tuple_(_TABLE.c.place, _TABLE.c.window_began_at)
        some = (
            select(_TABLE.c.place, _TABLE.c.window_began_at)
            .where(_TABLE.c.window_began_at < window_of(now))
            .limit(MOST_FORGOTTEN_TOGETHER)
        )
        forgotten = 0
        while True:
            with self._writing() as connection:
                gone = connection.execute(delete(GuessCount).where(row.in_(some)))
            forgotten += gone.rowcount
            if gone.rowcount < MOST_FORGOTTEN_TOGETHER:
                return forgotten

    def _add(self, places: list[bytes], window: datetime) -> dict[bytes, int]:
        """Count one more at each place, at once, and return the new counts."""
        dialect = sqlite if self.engine.dialect.name == "sqlite" else postgresql
        # In one order everywhere, so that two of these cannot wait for each other.
        rows = [
            {"place": place, "window_began_at": window, "wrong": 1}
            for place in sorted(places)
        ]
        statement = (
            dialect.insert(GuessCount)
            .values(rows)
            .on_conflict_do_update(
                index_elements=["place", "window_began_at"],
                set_={"wrong": _TABLE.c.wrong + 1},
            )
            .returning(GuessCount.place, GuessCount.wrong)
        )
        with self._writing() as connection:
            counted = connection.execute(statement).all()
        return {bytes(place): count for place, count in counted}

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        with writing(self.engine) as connection:
            yield connection

    def _limits(
        self, guessing: Guessing, address: str, serial: str | None
    ) -> dict[bytes, int]:
        """Return the places that a guess counts at, each with its limit."""
        client = client_network(address)
        limits = {}
        if client:
            limits[self._place(guessing, "address", client)] = guessing.per_address
        if serial is not None:
            place = self._place(guessing, "serial", serial, client)
            limits[place] = guessing.per_serial
        return limits

    def _place(self, guessing: Guessing, *parts: str) -> bytes:
        told = (part.encode("utf-8", "replace") for part in (guessing.kind, *parts))
        return keyed_digest(self.key(), *told)


def window_of(now: datetime) -> datetime:
    """Return when the window that ``now`` lies in began."""
    seconds = int(WINDOW.total_seconds())
    return datetime.fromtimestamp(int(now.timestamp()) // seconds * seconds, UTC)


def client_network(address: str) -> str:
    """Return what counts as one client: an IPv4 address, or a /64 of IPv6."""
    parsed = plain_address(address)
    if isinstance(parsed, IPv6Address):
        return str(IPv6Network((int(parsed), IPV6_CLIENT_PREFIX), strict=False))
    return "" if parsed is None else str(parsed)


def _refusal(guessing: Guessing, now: datetime) -> TooMany:
    GUESSES_REFUSED.labels(guessing.kind).inc()
    left = window_of(now) + WINDOW - now
    return TooMany(retry_after=int(left.total_seconds()) + 1)

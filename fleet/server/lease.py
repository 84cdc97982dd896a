# SPDX-License-Identifier: Apache-2.0
"""Which of several processes works: the one that holds the lease.

The lease is a row with an end. Its holder renews it; if the holder dies, it runs
out and another takes it, with a higher ``token``. A holder that was only slow
finds its token outdated at the next renewal and stops.

A renewal inside the transaction of the work itself (``fence``) is proof against a
holder that was paused at the worst moment: its work is only committed together
with a renewal, and that comes to nothing once another has the lease.
"""

import secrets
import time
from datetime import UTC, datetime, timedelta
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, Engine, insert, select, update
from sqlalchemy.exc import IntegrityError

from fleet.database import writing
from fleet.server.models import JobLease

LEASE_LIFE = timedelta(seconds=30)
RENEW_EVERY = timedelta(seconds=10)

_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)

# What any claimant of this process saw of a lease last, and when by a clock that
# never leaps.
_Seen = dict[str, tuple[tuple[str, int, datetime], float]]
_seen: "WeakKeyDictionary[Engine, _Seen]" = WeakKeyDictionary()


class LeaseLost(Exception):  # noqa: N818 -- an outcome that the holder must expect
    """Another process has the lease; what this one was about to do is its own now."""


class Lease:
    """One process's claim to the lease ``name``."""

    def __init__(self, engine: Engine, name: str) -> None:
        """Claim nothing yet."""
        self._engine = engine
        self._name = name
        self._holder = secrets.token_hex(8)
        self._until: datetime | None = None
        self.token: int | None = None

    def held(self, now: datetime) -> bool:
        """Whether this process may work at ``now``, by what it last heard."""
        return self._until is not None and now < self._until

    def claim(self, now: datetime) -> bool:
        """Take or renew the lease; say whether this process holds it.

        A process that asks again and again is also given a lease that it has seen
        unchanged for a lease's life: a dead holder whose clock ran a year ahead must
        not have it for a year. Raises SQLAlchemy's error where the database does not
        answer.
        """
        until = now + LEASE_LIFE
        with writing(self._engine) as connection:
            found = connection.execute(
                select(JobLease.holder, JobLease.token, JobLease.expires_at)
                .where(JobLease.name == self._name)
                .with_for_update()
            ).one_or_none()
            if found is None:
                token = self._add(connection, until)
            elif found.holder == self._holder:
                token = self._set(connection, found.token, until)
            elif found.expires_at <= now or self._is_stale(*found):
                token = self._set(connection, found.token + 1, until)
            else:
                token = None
        self.token = token
        self._until = until if token is not None else None
        return token is not None

    def fence(self, connection: Connection, now: datetime) -> None:
        """Renew the lease in the caller's transaction, before anything else in it.

        Raises ``LeaseLost`` where another has taken it; the caller rolls back.
        Nobody can take it before that transaction has ended.
        """
        until = now + LEASE_LIFE
        renewed = connection.execute(
            update(JobLease)
            .where(
                JobLease.name == self._name,
                JobLease.holder == self._holder,
                JobLease.token == self.token,
            )
            .values(expires_at=until)
        )
        if renewed.rowcount != 1:
            self.token = self._until = None
            raise LeaseLost(self._name)
        self._until = until

    def give_up(self) -> None:
        """Let another process have the lease at once, whatever its clock says."""
        if self.token is None:
            return
        with writing(self._engine) as connection:
            connection.execute(
                update(JobLease)
                .where(JobLease.name == self._name, JobLease.holder == self._holder)
                .values(expires_at=_LONG_AGO)
            )
        self.token = self._until = None

    def _is_stale(self, holder: str, token: int, expires_at: datetime) -> bool:
        """Whether this process has seen the row unchanged for a lease's life."""
        rows = _seen.setdefault(self._engine, {})
        row, now = (holder, token, expires_at), time.monotonic()
        before = rows.get(self._name)
        if before is None or before[0] != row:
            rows[self._name] = (row, now)
            return False
        return now - before[1] >= LEASE_LIFE.total_seconds()

    def _add(self, connection: Connection, until: datetime) -> int | None:
        try:
            with connection.begin_nested():
                connection.execute(
                    insert(JobLease).values(
                        name=self._name, holder=self._holder, token=1, expires_at=until
                    )
                )
        except IntegrityError:
            return None  # another process came first
        return 1

    def _set(self, connection: Connection, token: int, until: datetime) -> int:
        connection.execute(
            update(JobLease)
            .where(JobLease.name == self._name)
            .values(holder=self._holder, token=token, expires_at=until)
        )
        return token

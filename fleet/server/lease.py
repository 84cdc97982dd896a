# SPDX-License-Identifier: Apache-2.0
"""Which of several jobs processes works: the one that holds the lease.

The lease is a row with an end. Its holder renews it; if the holder dies, it runs
out and another takes it, with a higher ``token``. A holder that was only slow
finds its token outdated at the next renewal and stops.
"""

import secrets
from datetime import datetime, timedelta

from sqlalchemy import Connection, Engine, insert, select, update
from sqlalchemy.exc import IntegrityError

from fleet.database import writing
from fleet.server.models import JobLease

LEASE_LIFE = timedelta(seconds=30)
RENEW_EVERY = timedelta(seconds=10)


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

        Raises SQLAlchemy's error where the database does not answer.
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
            elif found.expires_at <= now:
                token = self._set(connection, found.token + 1, until)
            else:
                token = None
        self.token = token
        self._until = until if token is not None else None
        return token is not None

    def give_up(self, now: datetime) -> None:
        """Let another process have the lease at once, as this one ends."""
        if not self.held(now):
            return
        with writing(self._engine) as connection:
            connection.execute(
                update(JobLease)
                .where(JobLease.name == self._name, JobLease.holder == self._holder)
                .values(expires_at=now)
            )
        self._until = None

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

# SPDX-License-Identifier: Apache-2.0
"""What the licence check reads and writes, for a whole batch at once, as text SQL.

The one place that goes past SQLAlchemy's statements, and measured to be worth it:
for a batch of sixteen they took three times as long as what the database and
the driver do. So a batch is two statements here, found and recorded, whose texts
are made once for each database, and the driver executes them. Still inside
SQLAlchemy's connection: the transaction and the errors are the same as everywhere.

SQLite is handed rows, which its driver writes in C. PostgreSQL is handed one
JSON text with all of them, which spares a message for each.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any, NamedTuple, Protocol

from sqlalchemy import Connection

from fleet.database import driver_sql
from fleet.web.access_log import Access, access_log


class Memory(NamedTuple):
    """What a check may change of a PBX; the fields are columns of ``activation``."""

    silent_since: datetime | None
    last_success_at: datetime | None
    last_check_at: datetime | None
    clone_suspected_at: datetime | None
    last_verdict: str
    software_version: str
    failed_attempts: int
    clock_skew_seconds: int | None
    continuation: str
    previous_continuation: str
    continuation_nonce: str


class Held(NamedTuple):
    """A certificate and the PBX it was issued to, as the database has them."""

    fingerprint: bytes
    not_after: datetime
    retires_at: datetime | None
    revoked_at: datetime | None
    serial_number: str
    device_id: int
    device_type: str
    hold: str
    grace_days: int
    generation: int
    # Whether no access record is written (``fleet.devices.models.Device.left_out``).
    left_out: bool
    memory: Memory


class Found(NamedTuple):
    """The held certificates by fingerprint, and the version of the policy."""

    held: Mapping[bytes, Held]
    policy_version: int


# A row as a driver hands it over.
Row = Sequence[Any]


class Shelf(Protocol):
    """One kind of database, as the licence check uses it."""

    def find(self, connection: Connection, fingerprints: Sequence[bytes]) -> Found:
        """Read what is held of certificates, and lock those PBXs' activations."""

    def record(
        self,
        connection: Connection,
        memories: Mapping[int, Memory],
        accesses: Sequence[Access],
    ) -> None:
        """Write the changed memories, by device id, and the access records."""


def shelf_for(dialect: str) -> Shelf:
    """Return the shelf for a database by SQLAlchemy's name of its dialect."""
    return _PostgresShelf() if dialect == "postgresql" else _SqliteShelf()


_CHANGED = ", ".join(Memory._fields)

# In the order of the fields above; the version of the policy is in every row. The
# rows come in one order everywhere, so that two nodes cannot wait for each other.
# PostgreSQL asks for the generation again of a row that it had to wait for: who
# re-initialised meanwhile is of another one.
_FIND = f"""
    SELECT (SELECT policy_version FROM pulse WHERE id = 1),
      c.fingerprint, c.not_after, c.retires_at, c.revoked_at, d.serial_number,
      a.device_id, a.device_type, a.hold, a.grace_days, a.generation,
      (d.objected_at IS NOT NULL OR d.restricted_at IS NOT NULL),
      {", ".join(f"a.{name}" for name in Memory._fields)}
    FROM device_certificate AS c
    JOIN device AS d ON d.id = c.device_id
    JOIN activation AS a ON a.device_id = c.device_id
    WHERE c.fingerprint {{among}} AND c.generation = a.generation
    ORDER BY a.device_id
"""  # noqa: S608 -- names of columns only
_FIRST_CHANGED = 12  # where the columns of ``Memory`` begin
_INSTANTS = 4  # how many of them, from the first, are instants


class _SqliteShelf:
    """SQLite has no time zones: an instant is UTC, as text of one fixed shape."""

    _update = (
        f"UPDATE activation SET {', '.join(f'{each} = ?' for each in Memory._fields)}"  # noqa: S608 -- names of columns only
        " WHERE device_id = ?"
    )
    _insert = (
        f"INSERT INTO access_record ({', '.join(Access._fields)})"  # noqa: S608 -- names of columns only
        f" VALUES ({', '.join('?' * len(Access._fields))})"
    )

    def find(self, connection: Connection, fingerprints: Sequence[bytes]) -> Found:
        # In sizes of powers of two, so that there are few texts to be prepared.
        size = 1 << (len(fingerprints) - 1).bit_length()
        shown = (*fingerprints, *[fingerprints[0]] * (size - len(fingerprints)))
        rows = driver_sql(connection, _find_among(size), shown).fetchall()
        return _found([self._read(row) for row in rows])

    def record(
        self,
        connection: Connection,
        memories: Mapping[int, Memory],
        accesses: Sequence[Access],
    ) -> None:
        driver_sql(
            connection,
            self._update,
            [(*_spelled(memory), device_id) for device_id, memory in memories.items()],
            many=True,
        )
        driver_sql(
            connection,
            self._insert,
            [
                (each.service, _as_text(each.accessed_at), *each[2:])
                for each in accesses
            ],
            many=True,
        )

    @staticmethod
    def _read(row: Row) -> Row:
        version, fingerprint, *instants = row[:5]
        return (
            version,
            fingerprint,
            *map(_from_text, instants),
            *row[5:_FIRST_CHANGED],
            *map(_from_text, row[_FIRST_CHANGED : _FIRST_CHANGED + _INSTANTS]),
            *row[_FIRST_CHANGED + _INSTANTS :],
        )


class _PostgresShelf:
    """PostgreSQL takes all rows as one JSON text, and both tables in one message."""

    _find = _FIND.format(among="= ANY(%s)") + " FOR UPDATE OF a"
    _record = f"""
        WITH recorded AS (
          UPDATE activation AS a
          SET ({_CHANGED}) = ROW ({", ".join(f"new.{each}" for each in Memory._fields)})
          FROM json_to_recordset(%s) AS new (
            device_id bigint, silent_since timestamptz, last_success_at timestamptz,
            last_check_at timestamptz, clone_suspected_at timestamptz,
            last_verdict text, software_version text, failed_attempts integer,
            clock_skew_seconds integer, continuation text,
            previous_continuation text, continuation_nonce text)
          WHERE a.device_id = new.device_id
        )
        SELECT access_record_add(%s::json)
    """  # noqa: S608 -- names of columns only

    def find(self, connection: Connection, fingerprints: Sequence[bytes]) -> Found:
        shown = (list(fingerprints),)
        return _found(driver_sql(connection, self._find, shown).fetchall())

    def record(
        self,
        connection: Connection,
        memories: Mapping[int, Memory],
        accesses: Sequence[Access],
    ) -> None:
        changed = [
            {"device_id": device_id} | memory._asdict()
            for device_id, memory in memories.items()
        ]
        seen = [each._asdict() for each in accesses]
        told = driver_sql(connection, self._record, (_encode(changed), _encode(seen)))
        [there_was_room] = told.fetchone() or (False,)
        if not there_was_room:
            # Where one has to be made, no licence check waits for it.
            access_log().add_later(accesses)


@cache
def _find_among(size: int) -> str:
    return _FIND.format(among=f"IN ({', '.join('?' * size)})")


def _found(rows: Sequence[Row]) -> Found:
    held = {
        row[1]: Held._make([*row[1:_FIRST_CHANGED], Memory._make(row[_FIRST_CHANGED:])])
        for row in rows
    }
    return Found(held, (rows[0][0] or 0) if rows else 0)


def _spelled(memory: Memory) -> Row:
    columns: Row = memory
    return (*map(_as_text, columns[:_INSTANTS]), *columns[_INSTANTS:])


def _as_text(instant: datetime | None) -> str | None:
    """Spell an instant as SQLAlchemy does on SQLite: ``2026-11-22 16:40:00.000000``."""
    if instant is None:
        return None
    return instant.astimezone(UTC).isoformat(" ", "microseconds")[:26]


def _from_text(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text + "+00:00")


_encode = json.JSONEncoder(default=datetime.isoformat).encode

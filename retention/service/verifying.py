# SPDX-License-Identifier: Apache-2.0
"""Proves that what was promised was kept: by the counters, the ledger, the schema.

Each finding is a sentence that says what is wrong, without any data of anybody.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Row, Select, TextClause, func, inspect, select, text
from sqlalchemy.exc import DBAPIError

from fleet.database import db, reading
from fleet.ground import ground
from fleet.web.access_rooms import GREATEST_AGE
from fleet.web.models import AccessRecord
from retention import policies
from retention.models import DaySeal
from retention.service import conservation, ledger, periods
from retention.service.status import MARGIN

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)

# As PostgreSQL spells the bounds of a room, in the time zone of our sessions.
BOUND = "%Y-%m-%d %H:%M:%S+00"


# A room of the hour that its name says (migration 0005), whole and young enough.
ROOMS = text("""
    SELECT child.relname AS name,
           pg_get_expr(child.relpartbound, child.oid) AS bounds,
           (SELECT attstattarget FROM pg_attribute
            WHERE attrelid = child.oid AND attname = 'address') AS statistics
    FROM pg_inherits JOIN pg_class AS child ON child.oid = inhrelid
    WHERE inhparent = 'access_record'::regclass ORDER BY 1
""")
STRAYS = text("""
    SELECT relname FROM pg_class
    WHERE relname LIKE 'access\\_record\\_%' AND relkind = 'r' AND NOT relispartition
      AND relnamespace = (SELECT relnamespace FROM pg_class
                          WHERE oid = 'access_record'::regclass)
    ORDER BY 1
""")
STATISTICS = text("""
    SELECT DISTINCT tablename FROM pg_stats
    WHERE tablename LIKE 'access\\_record%' AND attname = 'address'
      AND (most_common_vals IS NOT NULL OR histogram_bounds IS NOT NULL)
    ORDER BY 1
""")
ROOM_NAME = "access_record_%Y%m%d%H"


@dataclass(frozen=True)
class Fault:
    """One thing that is not as it was promised; ``about`` is what was looked at."""

    about: str
    says: str


def verify(now: datetime) -> list[Fault]:
    """Look at all of it, but for the bytes on the disk (``byte_search``)."""
    chained = [*_ledger()]
    with reading() as session:
        connection = session.connection()
        return [
            *chained,
            *_conserved(connection, now),
            *_stored_columns(connection),
            *_rooms(connection, now),
        ]


def places() -> list[Path]:
    """Return where this installation keeps bytes, as far as this machine can know.

    The data directory with its logs and files, the database wherever it is, with its
    write-ahead log; of PostgreSQL its own directory, where it is on this machine.
    """
    found = [ground().settings.data_dir]
    if db.engine.dialect.name == "sqlite":
        file = Path(db.engine.url.database or "")
        return [*found, *sorted(file.parent.glob(f"{file.name}*"))]
    folder = _setting("data_directory")
    return [*found, Path(folder)] if folder and os.path.isdir(folder) else found  # noqa: PTH112 -- does not raise where it may not look


def _conserved(connection: Connection, now: datetime) -> Iterator[Fault]:
    for each in conservation.imbalances(connection):
        when = f"week of {each.week}"
        if each.week == periods.EVER_BEGINS:
            when = "beyond all weeks"
        yield Fault(
            "counters",
            f"{each.service}, {when}: {each.sealed} records were sealed, "
            f"{each.counted} are counted",
        )
    over = (now - GREATEST_AGE - DAY).date()  # the last of that day is over its age
    short = select(DaySeal).where(
        DaySeal.day <= over, DaySeal.deleted < DaySeal.records + DaySeal.lost
    )
    for seal in connection.execute(short.order_by(DaySeal.day)):
        left = connection.scalar(_records_of(seal.day, seal.service)) or 0
        gone = seal.records + seal.lost - seal.deleted - left
        if gone > 0:
            yield Fault(
                "deletion",
                f"{seal.service}, {seal.day}: {gone} records are gone, and no run has "
                "deleted them",
            )


def _records_of(day: date, service: str) -> Select[int]:
    begins = datetime.combine(day, time(), UTC)
    return select(func.count()).where(
        AccessRecord.service == service,
        AccessRecord.accessed_at >= begins,
        AccessRecord.accessed_at < begins + DAY,
    )


def _ledger() -> Iterator[Fault]:
    chain = ledger.verify_chain()
    if not chain.whole:
        yield Fault("ledger", f"entry {chain.broken_at}: {chain.fault}")


def _stored_columns(connection: Connection) -> Iterator[Fault]:
    """Yield what is stored although no category says why, and the other way round."""
    inspector = inspect(connection)
    rooms = {each.name for each in _rows(connection, ROOMS)}
    stored = {
        f"{table}.{column['name']}"
        for table in inspector.get_table_names()
        if table not in rooms
        for column in inspector.get_columns(table)
    }
    named = policies.load().by_column.keys()
    for column in sorted(stored - named):
        yield Fault("schema", f"{column} is stored, and no category says why")
    for column in sorted(named - stored):
        yield Fault("schema", f"{column} is in a category, and is not stored")


def _rooms(connection: Connection, now: datetime) -> Iterator[Fault]:
    """Yield rooms of access records in which one could be forgotten (PostgreSQL)."""
    for room in _rows(connection, ROOMS):
        try:
            begins = datetime.strptime(room.name, ROOM_NAME).replace(tzinfo=UTC)
        except ValueError:
            yield Fault("rooms", f"{room.name} is of no hour: {room.bounds}")
            continue
        ends = begins + HOUR
        if room.bounds != f"FOR VALUES FROM ('{begins:{BOUND}}') TO ('{ends:{BOUND}}')":
            yield Fault("rooms", f"{room.name} is of another hour: {room.bounds}")
        if ends <= now - GREATEST_AGE - MARGIN:
            yield Fault("rooms", f"{room.name} is over its age, and is still there")
        if room.statistics != 0:
            yield Fault("rooms", f"{room.name} has statistics gathered of addresses")
    for stray in _rows(connection, STRAYS):
        yield Fault("rooms", f"{stray.relname} is a room that nothing is deleted from")
    for table in _rows(connection, STATISTICS):
        yield Fault("rooms", f"pg_stats tells addresses of {table.tablename}")


def _rows(connection: Connection, statement: TextClause) -> Sequence[Row[Any]]:
    """Return the rows of a statement that only PostgreSQL understands."""
    if connection.dialect.name != "postgresql":
        return ()
    return connection.execute(statement).all()


def _setting(name: str) -> str | None:
    """Return a setting of PostgreSQL, where this role may see it."""
    try:
        with db.engine.connect() as connection:
            return connection.scalar(select(func.current_setting(name)))
    except DBAPIError:
        return None

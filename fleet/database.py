# SPDX-License-Identifier: Apache-2.0
"""Where things are kept: one database, one way to change it.

SQLite (write-ahead log, every commit flushed) is the embedded default;
PostgreSQL through psycopg 3 is for fleets. Both are used in the same way: reads
inside ``reading()``, changes inside ``transaction()``, one for each use case.
Models inherit from ``Base`` here rather than ``db.Model``, which keeps them
typed.
"""

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, cast

from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import (
    BigInteger,
    DateTime,
    Dialect,
    Engine,
    Integer,
    MetaData,
    TypeDecorator,
    create_engine,
    event,
)
from sqlalchemy.engine import Connection
from sqlalchemy.engine.interfaces import DBAPIConnection, DBAPICursor
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import DeclarativeBase, MappedAsDataclass, Session

from fleet.settings import Settings

# On SQLite one connection writes at a time; the others wait this long for it.
WRITER_WAIT_SECONDS = 20

# The longest that PostgreSQL may work on one statement, or wait for one row,
# for a request: a stuck neighbour must not use up every thread.
STATEMENT_LIMIT_MS = 20_000
LOCK_LIMIT_MS = 8_000

# Marks a transaction that will write: SQLite then takes the write lock at once.
# A lock taken later, by upgrade, can fail with "database is locked" at any wait.
WRITES = {"callhome_writes": True}

# Where a session keeps what is done after its commit.
_WAITING = "afterwards"


class UTCDateTime(TypeDecorator[datetime]):
    """An instant: aware and in UTC in Python, whatever the database keeps.

    SQLite has no time zones, so an aware value is moved to UTC on its way in
    and marked as UTC on its way out. A naive value is refused: nobody knows
    what it means.
    """

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(
        self, value: datetime | None, dialect: Dialect
    ) -> datetime | None:
        """Move an aware instant to UTC; raise ``ValueError`` for a naive one."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("an instant without a time zone cannot be stored")
        utc = value.astimezone(UTC)
        return utc.replace(tzinfo=None) if dialect.name == "sqlite" else utc

    def process_result_value(
        self, value: datetime | None, dialect: Dialect
    ) -> datetime | None:
        """Return the instant aware, in UTC."""
        if value is None:
            return None
        if dialect.name == "sqlite":
            return value.replace(tzinfo=UTC)
        return value.astimezone(UTC)


# SQLite counts up by itself only in a column whose type is exactly INTEGER.
RowId = BigInteger().with_variant(Integer(), "sqlite")


class Base(MappedAsDataclass, DeclarativeBase, kw_only=True, repr=False):
    """The ancestor of every model: a keyword-only dataclass, silent in ``repr``.

    Silent, because a row in a traceback would put a serial number, an address
    or a digest into the log.
    """

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {datetime: UTCDateTime}  # noqa: RUF012 -- read by SQLAlchemy


db = SQLAlchemy(
    metadata=Base.metadata,
    session_options={"expire_on_commit": False},
    disable_autonaming=True,
)


def register(app: Flask, settings: Settings) -> None:
    """Give ``app`` its database; nothing is connected to before it is needed."""
    app.config["SQLALCHEMY_DATABASE_URI"] = settings.effective_database_url
    app.config["SQLALCHEMY_ENGINE_OPTIONS"] = engine_options(settings)
    db.init_app(app)
    with app.app_context():
        prepare(db.engine)


def engine_options(settings: Settings) -> dict[str, Any]:
    """Return what ``create_engine`` needs for the configured database."""
    if settings.sqlite:
        return {
            "hide_parameters": True,
            "connect_args": {
                "timeout": WRITER_WAIT_SECONDS,
                "check_same_thread": False,
                "isolation_level": None,
            },
            "pool_size": settings.web_threads + settings.bulk_threads,
        }
    return {
        "hide_parameters": True,
        "pool_pre_ping": True,
        "pool_size": 8,
        "max_overflow": settings.web_threads + settings.bulk_threads,
        "pool_timeout": 5,
        "connect_args": {
            "connect_timeout": 5,
            "application_name": "callhome",
            "options": (
                f"-c statement_timeout={STATEMENT_LIMIT_MS}"
                f" -c lock_timeout={LOCK_LIMIT_MS} -c timezone=UTC"
            ),
        },
    }


def stand_alone_engine(settings: Settings) -> Engine:
    """Return an engine outside any Flask application, for migrations and tools."""
    engine = create_engine(settings.effective_database_url, **engine_options(settings))
    prepare(engine)
    return engine


def prepare(engine: Engine) -> None:
    """Teach a SQLite ``engine`` our pragmas and when to take the write lock."""
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _set_pragmas)
        event.listen(engine, "begin", _begin)


def _set_pragmas(connection: DBAPIConnection, _record: object) -> None:
    if not isinstance(connection, sqlite3.Connection):
        return
    for pragma in (
        "journal_mode = WAL",
        "synchronous = FULL",  # what was acknowledged survives a power cut
        "foreign_keys = ON",
        "secure_delete = ON",  # what was deleted is gone from the file, too
        "cache_size = -65536",  # 64 MiB
        "temp_store = MEMORY",
        "wal_autocheckpoint = 2000",  # pages: 8 MiB
        "journal_size_limit = 67108864",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _begin(connection: Connection) -> None:
    # The driver's own transactions are off (isolation_level None): it would
    # begin a read and upgrade it later.
    writes = connection.get_execution_options().get("callhome_writes")
    driver_sql(connection, "BEGIN IMMEDIATE" if writes else "BEGIN")


def driver_sql(
    connection: Connection,
    statement: str,
    parameters: Sequence[Any] = (),
    *,
    many: bool = False,
) -> DBAPICursor:
    """Execute by the driver alone; raise what SQLAlchemy would.

    For what is done all the time: ``exec_driver_sql`` describes the columns of each
    result anew, which takes longer than a small statement. ``many`` is for several
    rows of parameters.
    """
    line = connection.connection
    cursor = line.cursor()
    try:
        (cursor.executemany if many else cursor.execute)(statement, parameters)
    except Exception as fault:
        dialect = connection.dialect
        lost = dialect.is_disconnect(fault, line, cursor)  # type: ignore[arg-type] # any fault is looked at
        if lost:
            connection.invalidate(fault)
        raise DBAPIError.instance(
            statement,
            None,
            fault,
            dialect.loaded_dbapi.Error,
            hide_parameters=True,
            connection_invalidated=lost,
            dialect=dialect,
        ) from fault
    return cursor


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """Write without the session: for tools, and for what runs beside requests.

    Commits on success and rolls back on any exception, like ``transaction``.
    """
    with (
        engine.connect().execution_options(**WRITES) as connection,
        connection.begin(),
    ):
        yield connection


@contextmanager
def transaction() -> Iterator[Session]:
    """Commit on success, roll back on any exception.

    Inside another transaction it simply joins: the outermost decides, so one
    service may call another and both happen or neither.
    """
    session = db.session()
    if session.info.get("in_transaction"):
        yield session
        return
    session.rollback()  # ends a read that went before: SQLite cannot upgrade one
    session.info["in_transaction"] = True
    try:
        session.connection(execution_options=WRITES)
        yield session
        session.commit()
        waiting = cast("list[Callable[[], object]]", session.info.pop(_WAITING, []))
    except BaseException:
        session.rollback()
        session.info.pop(_WAITING, None)
        raise
    finally:
        session.info["in_transaction"] = False
        session.close()
    for work in waiting:
        work()


def afterwards(session: Session, work: Callable[[], object]) -> None:
    """Do ``work`` once the transaction is committed, in order; never if it is not.

    Before anybody is answered: whoever opened the transaction gets what it raises. The
    transaction stays committed all the same.
    """
    session.info.setdefault(_WAITING, []).append(work)


@contextmanager
def reading() -> Iterator[Session]:
    """Read a consistent state, and hold no connection afterwards.

    Inside a transaction it joins it, and sees what it has changed.
    """
    session = db.session()
    if session.info.get("in_transaction"):
        yield session
        return
    try:
        yield session
    finally:
        session.close()

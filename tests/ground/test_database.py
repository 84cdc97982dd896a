# SPDX-License-Identifier: Apache-2.0
"""One transaction for each use case; readers hold nothing; instants are UTC."""

import sqlite3
import threading
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
import sqlalchemy as sa
from flask import Flask

from cic.models import Amnesty
from fleet.database import db, reading, transaction

pytestmark = pytest.mark.usefixtures("app")

NOON = datetime(2027, 3, 1, 12, tzinfo=UTC)


def make_amnesty(reason: str = "test", until: datetime = NOON) -> Amnesty:
    return Amnesty(until=until, reason=reason, granted_by="test", granted_at=NOON)


def reasons() -> list[str]:
    with reading() as session:
        return list(session.scalars(sa.select(Amnesty.reason).order_by(Amnesty.id)))


def test_what_was_done_is_committed_at_the_end() -> None:
    with transaction() as session:
        session.add(make_amnesty("kept"))

    assert reasons() == ["kept"]


def test_an_exception_undoes_everything() -> None:
    def fail() -> None:
        with transaction() as session:
            session.add(make_amnesty("lost"))
            session.flush()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()

    assert reasons() == []


def test_an_inner_transaction_joins_and_the_outermost_decides() -> None:
    def fail() -> None:
        with transaction() as outer:
            outer.add(make_amnesty("outer"))
            with transaction() as inner:
                inner.add(make_amnesty("inner"))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()

    assert reasons() == []


def test_reading_inside_a_transaction_sees_what_it_changed() -> None:
    with transaction() as session:
        session.add(make_amnesty("new"))
        session.flush()
        assert reasons() == ["new"]


def test_a_reader_holds_no_connection_afterwards() -> None:
    for _ in range(3):
        reasons()

    assert db.engine.pool.status().endswith("Current Checked out connections: 0")


def test_instants_come_back_in_utc_whatever_went_in() -> None:
    elsewhere = timezone(timedelta(hours=2))
    with transaction() as session:
        session.add(make_amnesty(until=datetime(2027, 3, 1, 14, tzinfo=elsewhere)))

    with reading() as session:
        assert session.scalars(sa.select(Amnesty.until)).one() == NOON
        assert session.scalars(sa.select(Amnesty.until)).one().tzinfo is UTC


def test_an_instant_without_a_time_zone_is_refused() -> None:
    with pytest.raises(sa.exc.StatementError), transaction() as session:
        session.add(make_amnesty(until=datetime(2027, 3, 1)))  # noqa: DTZ001 -- the point


def test_many_writers_at_once_all_get_their_turn(app: Flask) -> None:
    """On SQLite nobody hears "database is locked": each waits for the writer."""

    def write(number: int) -> None:
        with app.app_context():
            reasons()  # a read first, which SQLite could not upgrade
            with transaction() as session:
                session.add(make_amnesty(f"{number}"))

    threads = [threading.Thread(target=write, args=(each,)) for each in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(map(int, reasons())) == list(range(24))


def test_sqlite_flushes_every_commit_and_overwrites_what_it_deletes(
    database_kind: str, tmp_path: Path
) -> None:
    if database_kind != "sqlite":
        return
    with db.engine.connect() as connection:

        def pragma(name: str) -> object:
            return connection.execute(sa.text(f"PRAGMA {name}")).scalar_one()

        assert pragma("journal_mode") == "wal"
        assert pragma("synchronous") == 2  # FULL
        assert pragma("foreign_keys") == 1
        assert pragma("secure_delete") == 1
    assert sqlite3.connect(tmp_path / "callhome.sqlite3")


def test_the_text_of_a_database_error_holds_no_values() -> None:
    secret = "a very secret note"
    with pytest.raises(sa.exc.DBAPIError) as failed, transaction() as session:
        session.execute(
            sa.text("INSERT INTO amnesty (reason) VALUES (:reason)"), {"reason": secret}
        )

    assert secret not in str(failed.value).partition("[SQL")[2]

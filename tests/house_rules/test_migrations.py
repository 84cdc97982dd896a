# SPDX-License-Identifier: Apache-2.0
"""One linear history of the schema, there and back, and equal to the models."""

from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from postgres import Postgres

from fleet import migrations
from fleet.database import Base, UTCDateTime, stand_alone_engine
from fleet.settings import Settings


@pytest.fixture
def empty(
    database_kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> sa.Engine:
    """An empty database of either kind."""
    if database_kind == "sqlite":
        url = f"sqlite:///{tmp_path / 'empty.sqlite3'}"
        return stand_alone_engine(Settings(database_url=url))
    server: Postgres = request.getfixturevalue("postgres")
    name = f"empty_{tmp_path.name}".lower().replace("[", "").replace("]", "")[:60]
    server.create_database(name)
    return stand_alone_engine(Settings(database_url=server.url(name)))


def test_the_history_is_one_line() -> None:
    history = ScriptDirectory(str(migrations.HISTORY))

    assert len(history.get_heads()) == 1
    assert all(not each.is_branch_point for each in history.walk_revisions())


def test_a_migrated_database_equals_the_models(empty: sa.Engine) -> None:
    migrations.upgrade(empty)

    def same_type(
        _context: object,
        _column: object,
        _metadata_column: object,
        _found: object,
        described: object,
    ) -> bool | None:
        return False if isinstance(described, UTCDateTime) else None

    with empty.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": same_type}
        )
        assert compare_metadata(context, Base.metadata) == []
    empty.dispose()


def test_up_and_down_again_leaves_an_empty_database(empty: sa.Engine) -> None:
    migrations.upgrade(empty)
    migrations.upgrade(empty)  # again, changes nothing
    migrations.downgrade(empty, "base")

    with empty.connect() as connection:
        left = set(sa.inspect(connection).get_table_names())
        if connection.dialect.name == "postgresql":
            functions = connection.execute(
                sa.text(
                    "SELECT proname FROM pg_proc JOIN pg_namespace n"
                    " ON n.oid = pronamespace WHERE nspname = 'public'"
                )
            ).all()
            assert functions == []
    assert left == {"alembic_version"}
    migrations.upgrade(empty)
    empty.dispose()


def test_a_migration_that_fails_halfway_leaves_no_trace(empty: sa.Engine) -> None:
    with empty.begin() as connection:
        connection.execute(sa.text("CREATE TABLE staff_token (oops INTEGER)"))

    with pytest.raises(sa.exc.DBAPIError):
        migrations.upgrade(empty)

    with empty.connect() as connection:
        left = set(sa.inspect(connection).get_table_names())
    assert left <= {"staff_token"}
    empty.dispose()


def test_rooms_are_for_those_who_may_write_records(postgres: Postgres) -> None:
    """A service that owns no table, and somebody who may only connect."""
    postgres.create_database("rooms_of_others")
    engine = stand_alone_engine(Settings(database_url=postgres.url("rooms_of_others")))
    with engine.begin() as connection:
        for role in ("room_service", "room_stranger"):
            connection.execute(sa.text(f"CREATE ROLE {role}"))
        connection.execute(
            sa.text(
                "ALTER DEFAULT PRIVILEGES IN SCHEMA public"
                " GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO room_service"
            )
        )

    migrations.upgrade(engine)

    may = sa.text("""
        SELECT has_function_privilege(
            :role, 'access_record_room(timestamptz)', 'EXECUTE')
          AND has_function_privilege(:role,
            'access_record_expire(timestamptz, timestamptz, timestamptz)', 'EXECUTE')
          AND has_table_privilege(:role, 'access_record', 'INSERT')
    """)
    with engine.connect() as connection:
        assert connection.scalar(may, {"role": "room_service"})
        assert not connection.scalar(may, {"role": "room_stranger"})
    engine.dispose()

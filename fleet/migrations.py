# SPDX-License-Identifier: Apache-2.0
"""Brings a database to the schema of this version, and says how far it is.

The history itself is one line of numbered files in ``deploy/migrations``.
Each works with the code before it, so that web processes go on while it runs.
"""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, Engine, text

from fleet.database import writing

HISTORY = Path(__file__).resolve().parent.parent / "deploy" / "migrations"

# Any number will do that nobody else uses: two nodes that start at once must
# not migrate at once (PostgreSQL; SQLite has its write lock).
MIGRATION_LOCK = 0x63616C6C


class UnknownRevision(Exception):  # noqa: N818 -- named by what is at fault
    """No revision of this name is in the history."""


def upgrade(engine: Engine, revision: str = "head") -> None:
    """Bring the database to ``revision``; safe to repeat and to run twice at once."""
    with writing(engine) as connection:
        _lock(connection)
        command.upgrade(_config(connection), revision)


def downgrade(engine: Engine, revision: str) -> None:
    """Take the database back to ``revision`` ("base" for an empty one)."""
    with writing(engine) as connection:
        _lock(connection)
        command.downgrade(_config(connection), revision)


def head() -> str:
    """Return the newest revision that this version knows."""
    return ScriptDirectory.from_config(_config(None)).get_current_head() or ""


def resolved(revision: str) -> str:
    """Return the full name of a revision; "" for "base".

    Raises ``UnknownRevision`` for one that this version does not know.
    """
    if revision == "base":
        return ""
    try:
        script = ScriptDirectory.from_config(_config(None)).get_revision(revision)
    except CommandError:
        raise UnknownRevision(f"this version has no revision {revision!r}") from None
    return script.revision


def current(connection: Connection) -> str:
    """Return the revision that the database is at; "" for an empty one."""
    return MigrationContext.configure(connection).get_current_revision() or ""


def _lock(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(text("SET LOCAL statement_timeout = 0"))
        connection.execute(text("SET LOCAL lock_timeout = '60s'"))
        connection.execute(
            text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK}
        )


def _config(connection: Connection | None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(HISTORY).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config

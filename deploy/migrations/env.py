# SPDX-License-Identifier: Apache-2.0
"""Runs migrations on the configured database, or on a connection that is handed in.

Migrations never import our types: they must mean tomorrow what they meant when
they were written, so ``render_item`` spells ours as SQLAlchemy's own.
"""

import os
from typing import Any

import sqlalchemy as sa
from alembic import context
from sqlalchemy import Connection

import wsgi  # noqa: F401 -- imports every feature, and with it every model
from fleet.database import Base, UTCDateTime, stand_alone_engine, writing
from fleet.settings import Settings


def render_item(kind: str, item: object, _autogen: object) -> str | bool:
    """Write an instant as what it is in the database."""
    if kind == "type" and isinstance(item, UTCDateTime):
        return "sa.DateTime(timezone=True)"
    return False


def same_type(
    _context: object,
    _column: object,
    _metadata_column: object,
    inspected: sa.types.TypeEngine[Any],
    described: sa.types.TypeEngine[Any],
) -> bool | None:
    """Say that an instant has not changed; leave the rest to alembic."""
    if isinstance(described, UTCDateTime) and isinstance(inspected, sa.DateTime):
        return False
    return None


def migrate(connection: Connection) -> None:
    """Run in one transaction: a migration that fails halfway leaves no trace."""
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        render_item=render_item,
        compare_type=same_type,
    )
    with context.begin_transaction():
        context.run_migrations()


handed_in = context.config.attributes.get("connection")
if handed_in is not None:
    migrate(handed_in)
else:
    engine = stand_alone_engine(Settings.read(os.environ))
    with writing(engine) as own:
        migrate(own)
